// The counterpart of io.cc in Go.
package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"
	"time"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func pipes(count int) {
	thereR, thereW, err := os.Pipe()
	check(err)
	backR, backW, err := os.Pipe()
	check(err)
	go func() {
		b := make([]byte, 1)
		for i := 0; i < count; i++ {
			_, err := thereR.Read(b)
			check(err)
			_, err = backW.Write(b)
			check(err)
		}
	}()
	begin := time.Now()
	b := []byte{1}
	for i := 0; i < count; i++ {
		_, err := thereW.Write(b)
		check(err)
		_, err = backR.Read(b)
		check(err)
	}
	fmt.Printf("{\"ns\": %.1f}\n", float64(time.Since(begin).Nanoseconds())/float64(count)/2)
}

func connection(c net.Conn) {
	defer c.Close()
	b := make([]byte, 4096)
	for {
		n, err := c.Read(b)
		if err != nil {
			return
		}
		if _, err = c.Write(b[:n]); err != nil {
			return
		}
	}
}

func echo() {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	check(err)
	fmt.Printf("{\"port\": %d}\n", l.Addr().(*net.TCPAddr).Port)
	go func() {
		for {
			c, err := l.Accept()
			check(err)
			go connection(c)
		}
	}()
	in := bufio.NewReader(os.Stdin)
	for {
		if _, err := in.ReadByte(); err != nil {
			break
		}
	}
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	cpu := float64(u.Utime.Sec+u.Stime.Sec) + float64(u.Utime.Usec+u.Stime.Usec)*1e-6
	fmt.Printf("{\"cpu_s\": %.3f}\n", cpu)
}

func main() {
	if len(os.Args) == 3 && os.Args[1] == "pipe" {
		n, err := strconv.Atoi(os.Args[2])
		check(err)
		pipes(n)
		return
	}
	echo()
}
