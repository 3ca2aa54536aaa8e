#!/usr/bin/env python3
"""Runs redis-server under the malloc in $PRELOAD, on a Unix socket in the current folder, and one of two
loads that run without it:

  redis.py serve    redis-benchmark: SET, GET, LPUSH, SADD and HSET, pipelined
  redis.py delete   fills 250,000 keys of mixed size, deletes six of seven, idles for two seconds

Prints one line of JSON: seconds of the load, and CPU time, max RSS and PSS of the server alone. The
server's own defragmentation and persistence are off."""

import json
import os
import pathlib
import random
import re
import socket
import subprocess
import sys
import time

SOCKET = "redis.sock"
KEYS = 250_000
BATCH = 1_000
IDLE_SECONDS = 2


def start():
    # Debian's redis-server is linked with libjemalloc: for glibc's malloc, libc has to stand before it.
    environment = dict(os.environ, LD_PRELOAD=os.environ.get("PRELOAD") or "libc.so.6")
    server = subprocess.Popen(
        ["redis-server", "--port", "0", "--unixsocket", SOCKET, "--save", "", "--appendonly", "no",
         "--activedefrag", "no"], env=environment, stdout=subprocess.DEVNULL)
    for _ in range(200):
        try:
            client = socket.socket(socket.AF_UNIX)
            client.connect(SOCKET)
            return server, client
        except OSError:
            client.close()
            if server.poll() is not None:
                sys.exit(f"redis-server ended with status {server.returncode}")
            time.sleep(0.05)
    server.kill()
    sys.exit("redis-server does not answer")


def encode(*words):
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        parts.append(b"$%d\r\n%s\r\n" % (len(word), word))
    return b"".join(parts)


def send(client, requests):
    """All requests in batches; each has a reply of one line, none of which may be an error."""
    for first in range(0, len(requests), BATCH):
        batch = requests[first:first + BATCH]
        client.sendall(b"".join(batch))
        replies, buffer = 0, b""
        while replies < len(batch):
            buffer = client.recv(1 << 20)
            if not buffer or b"-ERR" in buffer:
                sys.exit(f"redis-server answers {buffer[:80]!r}")
            replies += buffer.count(b"\r\n")


def memory(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return {"max_rss_kib": int(re.search(r"VmHWM:\s*(\d+)", status).group(1)),
            "rss_final_kib": int(re.search(r"VmRSS:\s*(\d+)", status).group(1)),
            "pss_final_kib": int(re.search(r"\nPss:\s*(\d+)", rollup).group(1))}


def serve(_):
    started = time.monotonic()
    subprocess.run(["redis-benchmark", "-s", SOCKET, "-n", "200000", "-r", "100000", "-P", "16", "-d",
                    "100", "-t", "set,get,lpush,sadd,hset", "-q"], check=True,
                   stdout=subprocess.DEVNULL)
    return {"seconds": time.monotonic() - started}


def delete(client):
    draw = random.Random(1)
    sizes = [int(16 * 2 ** draw.uniform(0, 7)) for _ in range(KEYS)]
    keys = [b"key:%d" % number for number in range(KEYS)]
    kept = [draw.randrange(7) == 0 for _ in range(KEYS)]
    fill = [encode(b"SET", key, b"v" * size) for key, size in zip(keys, sizes)]
    drop = [encode(b"DEL", key) for key, keep in zip(keys, kept) if not keep]
    started = time.monotonic()
    send(client, fill)
    send(client, drop)
    seconds = time.monotonic() - started
    time.sleep(IDLE_SECONDS)
    live = sum(size + len(key) for size, key, keep in zip(sizes, keys, kept) if keep)
    return {"seconds": seconds, "live_bytes": live}


def main():
    server, client = start()
    try:
        figures = {"serve": serve, "delete": delete}[sys.argv[1]](client)
        figures.update(memory(server.pid))
    finally:
        server.terminate()
        usage = os.wait4(server.pid, 0)[2]
    figures["cpu"] = usage.ru_utime + usage.ru_stime
    print(json.dumps(figures))


main()
