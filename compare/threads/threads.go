// The counterpart of threads.cc in Go: the same work with goroutines, channels and sync.
//
//	threads NAME COUNT
package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
)

func together(bodies ...func()) {
	var all sync.WaitGroup
	all.Add(len(bodies))
	for _, body := range bodies {
		body := body
		go func() { body(); all.Done() }()
	}
	all.Wait()
}

func statusKiB(name string) float64 {
	text, _ := os.ReadFile("/proc/self/status")
	for _, line := range strings.Split(string(text), "\n") {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == name+":" {
			value, _ := strconv.ParseFloat(fields[1], 64)
			return value
		}
	}
	return 0
}

func createJoin(n int) {
	done := make(chan struct{})
	for i := 0; i < n; i++ {
		go func() { done <- struct{}{} }()
		<-done
	}
}

func batch(n int) {
	for done := 0; done < n; done += 1000 {
		var all sync.WaitGroup
		all.Add(1000)
		for i := 0; i < 1000; i++ {
			go all.Done()
		}
		all.Wait()
	}
}

func cond(n int) {
	var mutex sync.Mutex
	changed := sync.NewCond(&mutex)
	turn := 0
	player := func(me int) {
		mutex.Lock()
		for turn < n {
			if turn%2 == me {
				turn++
				changed.Signal()
			} else {
				changed.Wait()
			}
		}
		changed.Signal()
		mutex.Unlock()
	}
	together(func() { player(0) }, func() { player(1) })
}

func sem(n int) {
	a, b := make(chan struct{}, 1), make(chan struct{}, 1)
	player := func(mine, other chan struct{}) {
		for i := 0; i < n/2; i++ {
			<-mine
			other <- struct{}{}
		}
	}
	a <- struct{}{}
	together(func() { player(a, b) }, func() { player(b, a) })
}

func ring(n int) {
	const places = 100
	laps := n / places
	var chans [places]chan struct{}
	for i := range chans {
		chans[i] = make(chan struct{}, 1)
	}
	bodies := make([]func(), places)
	for i := range bodies {
		mine, next := chans[i], chans[(i+1)%places]
		bodies[i] = func() {
			for lap := 0; lap < laps; lap++ {
				<-mine
				next <- struct{}{}
			}
		}
	}
	chans[0] <- struct{}{}
	together(bodies...)
}

func yield(n int) {
	var all sync.WaitGroup
	all.Add(4)
	body := func() {
		all.Done()
		all.Wait()
		for i := 0; i < n/4; i++ {
			runtime.Gosched()
		}
	}
	together(body, body, body, body)
}

func uncontended(n int) {
	var mutex sync.Mutex
	end := make(chan struct{})
	together(func() { <-end }, func() {
		for i := 0; i < n; i++ {
			mutex.Lock()
			mutex.Unlock()
		}
		close(end)
	})
}

func contended(n int) {
	var mutex sync.Mutex
	sum := 0
	body := func() {
		for i := 0; i < n/4; i++ {
			mutex.Lock()
			sum++
			mutex.Unlock()
		}
	}
	together(body, body, body, body)
}

func barrier(n int) {
	const members = 8
	var mutex sync.Mutex
	passed := sync.NewCond(&mutex)
	arrived, generation := 0, 0
	body := func() {
		for i := 0; i < n/members; i++ {
			mutex.Lock()
			mine := generation
			if arrived++; arrived == members {
				arrived = 0
				generation++
				passed.Broadcast()
			}
			for mine == generation {
				passed.Wait()
			}
			mutex.Unlock()
		}
	}
	together(body, body, body, body, body, body, body, body)
}

func parked(n int) {
	var mutex sync.Mutex
	changed := sync.NewCond(&mutex)
	waiting, leave := 0, false
	var all sync.WaitGroup
	all.Add(n)
	before := statusKiB("VmRSS") + statusKiB("VmPTE")
	start := time.Now()
	for i := 0; i < n; i++ {
		go func() {
			mutex.Lock()
			if waiting++; waiting == n {
				changed.Broadcast()
			}
			for !leave {
				changed.Wait()
			}
			mutex.Unlock()
			all.Done()
		}()
	}
	mutex.Lock()
	for waiting < n {
		changed.Wait()
	}
	seconds := time.Since(start).Seconds()
	kib := statusKiB("VmRSS") + statusKiB("VmPTE") - before
	leave = true
	changed.Broadcast()
	mutex.Unlock()
	all.Wait()
	fmt.Printf("{\"ns\": %.1f, \"seconds\": %.3f, \"kib_each\": %.2f}\n",
		seconds*1e9/float64(n), seconds, kib/float64(n))
}

func main() {
	timed := map[string]func(int){"create_join": createJoin, "batch": batch, "cond": cond, "sem": sem,
		"ring": ring, "yield": yield, "mutex": uncontended, "contended": contended, "barrier": barrier}
	if len(os.Args) != 3 {
		os.Exit(2)
	}
	name := os.Args[1]
	n, _ := strconv.Atoi(os.Args[2])
	if name == "parked" || name == "parked_small" {
		parked(n)
		return
	}
	run, known := timed[name]
	if !known || n <= 0 {
		os.Exit(2)
	}
	start := time.Now()
	run(n)
	fmt.Printf("{\"ns\": %.1f}\n", float64(time.Since(start).Nanoseconds())/float64(n))
}
