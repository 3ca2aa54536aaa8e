"""Looking at a program from outside: `graft stacks`, the control socket under bad input, fork and
exec, the report of a deadlock and the silence where there is none, schedtrace lines, gdb's script."""

import json
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import time

from harness import Cases, Failed, Skip, check, need

CASES = Cases()

MN = {"GRAFT_THREADS": "m:n"}
GDB_SCRIPT = pathlib.Path(__file__).resolve().parents[3] / "tools/graft-gdb.py"


class Program:
    """A program under graft that says `ready` and stays until its stdin ends."""

    def __init__(self, context, words, env, ready="ready"):
        self.context = context
        self.folder = context.path("control")
        self.log = context.path("log")
        given = {"LD_PRELOAD": context.lib, "GRAFT_CONTROL": str(self.folder),
                 "GRAFT_LOG": str(self.log), **env}
        self.child = context.start(words, given, subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT)
        self.pid = self.child.pid
        line = self.child.stdout.readline().decode().strip()
        check(line.startswith(ready), f"the program says {line!r}")
        self.said = line

    def stacks(self, *options):
        if self.context.cli is None:
            raise Skip("no graft command")
        run = subprocess.run([self.context.cli, "stacks", *options, str(self.pid)],
                             capture_output=True, text=True, timeout=60)
        return run

    def connect(self, pid=None):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        s.connect(str(self.folder / f"{pid or self.pid}.sock"))
        s.settimeout(20)
        return s

    def ask(self, request):
        with self.connect() as s:
            s.sendall(request)
            s.shutdown(socket.SHUT_WR)
            data = b""
            while part := s.recv(65536):
                data += part
            return data

    def end(self, status=0):
        self.child.stdin.close()
        rest = self.child.stdout.read().decode()
        got = self.child.wait(30)
        check(got == status and rest == "", f"ends with {got}, says {rest!r}")

    def messages(self):
        return self.log.read_text() if self.log.exists() else ""


def states(context, env, flags=()):
    """With flags: built another way, under another name."""
    output = "gs_states" + "".join(flags)
    return Program(context, [context.program("gs_states.c", flags, output)], env)


def blocks(text):
    """goroutine id -> (what stands in brackets, functions from the top)"""
    found = {}
    for part in text.strip().split("\n\n"):
        lines = part.splitlines()
        head = re.fullmatch(r"goroutine (\d+) \[([^\]]+)\]:", lines[0])
        check(head, f"no head of a goroutine: {lines[0]!r}\n{text}")
        functions = [line.partition("(")[0] for line in lines[1:] if not line.startswith("\t")]
        found[int(head[1])] = (head[2], functions)
    return found


@CASES("observe.stacks")
def stacks(context):
    """Each state with its reason, its name and the functions down to the thread's first."""
    program = states(context, MN)
    run = program.stacks()
    check(run.returncode == 0, run.stderr)
    gs = blocks(run.stdout)
    by_name = {re.search(r'"([^"]+)", tid', head)[1]: (head, functions)
               for head, functions in gs.values()}
    wanted = {"mutex": ("pthread_mutex_lock", "wait_for_mutex"),
              "cond": ("pthread_cond_wait", "wait_for_cond"),
              "sem": ("sem_wait", "wait_for_sem"), "sleep": ("nanosleep", "sleep_long"),
              "pipe": ("syscall", "read_pipe"), "compute": ("running", "compute")}
    for name, (reason, function) in wanted.items():
        check(name in by_name, f"{name} is missing\n{run.stdout}")
        head, functions = by_name[name]
        check(head.startswith(reason + ","), f"{name}: {head}\n{run.stdout}")
        check(functions[-2:] == [function, "f"], f"{name}: {functions}\n{run.stdout}")
        if reason not in ("syscall", "running"):
            check(functions[0] == reason, f"{name}: {functions}")
            check(re.search(r", (\d+\.\d+ s|\d+ minutes),", head), f"{name}: for how long? {head}")
    check("main" in gs[0][1], f"main thread: {gs[0]}")
    one = program.stacks("--g", "0", "--all-frames")
    check(list(blocks(one.stdout)) == [0], one.stdout)
    none = program.stacks("--g", "99999")
    check(none.returncode == 125 and "has no G 99999" in none.stderr, none.stderr)
    for _ in range(20):  # the computing one is stopped for a moment each time, and goes on
        check(program.stacks("--g", "6").returncode == 0, "again")
    program.end()
    check(not list(program.folder.iterdir()), "the socket is still there after the end")
    check(program.messages() == "", program.messages())


@CASES("observe.stacks-frame-pointer")
def frame_pointer(context):
    """Frames that only their frame pointer leads out of, below a sleep in the kernel, where it is
    not known: it is found on the stack."""
    program = states(context, MN, ["-O0"])
    run = program.stacks()
    check(run.returncode == 0, run.stderr)
    gs = blocks(run.stdout)
    check(gs[0][1][:2] == ["read", "main"], run.stdout)
    check(gs[5][1][-2:] == ["read_pipe", "f"], run.stdout)
    program.end()


@CASES("observe.stacks-1:1")
def kernel_threads(context):
    program = states(context, {"GRAFT_THREADS": "1:1"})
    run = program.stacks()
    check(run.returncode == 0, run.stderr)
    names = {name: state for state, name in
             re.findall(r'^thread \d+ \[([\w ]+)\]: "(\w+)"$', run.stdout, re.M)}
    check(names.get("mutex") == "sleeping" and names.get("compute") == "running", run.stdout)
    program.end()


@CASES("observe.stacks-none")
def nobody_to_ask(context):
    """What cannot be asked is answered with one line that says why."""
    if context.cli is None:
        raise Skip("no graft command")
    def refused(words, pid):
        run = subprocess.run([context.cli, "stacks", *words], capture_output=True, text=True)
        check(run.returncode == 125 and run.stderr.count("\n") == 1, run.stderr)
        return run.stderr
    check("is no process id" in refused(["x1"], 0), "x1")
    check("there is no process" in refused(["4194304"], 0), "4194304")
    plain = context.start([need("sleep"), "60"])
    check("does not run on graft" in refused([str(plain.pid)], 0), "sleep")
    program = states(context, {**MN, "GRAFT_CONTROL": None})
    check("has no control socket" in refused([str(program.pid)], 0), "no socket")
    program.end()


@CASES("observe.stacks-torture")
def torture(context):
    """Looked at all the time, a program with many short threads, signals and forks does the same."""
    if context.cli is None:
        raise Skip("no graft command")
    command = [context.program("gs_torture.cc"), "4"]
    native = context.native(command)
    log = context.path("log")
    child = context.start(command, {**MN, "LD_PRELOAD": context.lib, "GRAFT_LOG": str(log),
                                    "GRAFT_CONTROL": str(context.path("control"))},
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    looks, frames, lost = 0, 0, 0
    while child.poll() is None and looks < 200:
        run = subprocess.run([context.cli, "stacks", str(child.pid)], capture_output=True,
                             text=True, timeout=60)
        if run.returncode != 0:  # before its first thread, or after its end
            continue
        looks += 1
        frames += run.stdout.count("\n\t")
        lost += run.stdout.count("does not hold still")
    out, err = child.communicate(timeout=60)
    check(child.returncode == native.status == 0, f"{child.returncode}: {err.decode()}")
    said = log.read_text() if log.exists() else ""
    check(out.decode() == native.out and said == "",
          f"natively: {native.out}looked at: {out.decode()}log: {said}")
    # On a busy machine a look takes a second: Gs that are always on the move are looked at again.
    check(looks >= 1 and frames > 20, f"{looks} looks, {frames} frames")
    return f"{looks} looks, {frames} frames, {lost} Gs that did not hold still"


@CASES("observe.socket")
def bad_input(context):
    """Nonsense gets an error, the next client is served, and the program notices nothing."""
    program = states(context, MN)
    path = program.folder / f"{program.pid}.sock"
    check(path.stat().st_mode & 0o777 == 0o600, oct(path.stat().st_mode))
    check(program.folder.stat().st_mode & 0o777 == 0o700, "folder's mode")
    known = b"; known are process gs stack gc leaks\n"
    for request, answer in ((b"\n", b"error: unknown request ''" + known),
                            (b"hello you\n", b"error: unknown request 'hello you'" + known),
                            (b"\0\xff\x1b[2J\n", None),
                            (b"stack\n", b"error: there is no such G\n"),
                            (b"stack -1\n", b"error: there is no such G\n"),
                            (b"stack 1x\n", b"error: there is no such G\n"),
                            (b"stack 99999999999999999999999999\n", b"error: there is no such G\n"),
                            (b"x" * 5000, b"error: a request is one line of at most 255 bytes\n"),
                            (b"proc", b""), (b"", b"")):
        got = program.ask(request)
        if answer is None:
            check(got.startswith(b"error: ") and b"\x1b" not in got, repr(got))
        else:
            check(got == answer, f"{request[:40]!r}: {got!r}")
    # Several requests in one piece, and one in many.
    got = program.ask(b"process\nnonsense\nprocess\n").splitlines()
    check([line[:5] for line in got] == [b'{"ver', b"ok", b"error", b'{"ver', b"ok"], repr(got))
    with program.connect() as s:
        for byte in b"process\n":
            s.sendall(bytes([byte]))
        answer = json.loads(s.makefile().readline())
        check(answer["mode"] == "m:n" and answer["pid"] == program.pid, str(answer))
    # Clients that go away in the middle of an answer.
    for _ in range(20):
        with program.connect() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            s.sendall(b"gs\nstack 0\n" * 50)
    check(program.ask(b"process\n").endswith(b"ok\n"), "after clients that left")
    check(program.stacks().returncode == 0, "after nonsense")
    program.end()
    check(program.messages() == "", program.messages())


@CASES("observe.socket-folder")
def bad_folder(context):
    """A folder that cannot be used costs one line; the program runs."""
    command = [context.program("gs.cc"), "tls"]
    native = context.native(command)
    open_to_all = context.path("open")
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    file = context.write("file", "")
    for where, why in ((open_to_all, "others can write"), (file, "it is no folder"),
                       ("relative", "expected on, off or an absolute path"),
                       ("/proc/none", "the folder cannot be made"), ("/" + "x" * 200, "too long")):
        graft = context.graft(command, {**MN, "GRAFT_CONTROL": str(where)})
        check(graft.status == native.status and graft.out == native.out, graft.text())
        check(graft.err.count("\n") == 1 and why in graft.err, graft.text())


@CASES("observe.socket-life")
def life(context):
    """fork's child has no socket until it makes a thread, exec's image one of its own, a program
    that closes every descriptor gets it back, and a change of user takes it away."""
    program = Program(context, [context.program("control_life.c")], MN)
    def line(text):
        program.child.stdin.write(text)
        program.child.stdin.flush()
        return program.child.stdout.readline().decode().split()
    def sockets():
        return {p.name for p in program.folder.iterdir()}
    mine = f"{program.pid}.sock"
    check(sockets() == {mine}, sockets())
    _, child = line(b"f")
    check(sockets() == {mine}, f"after fork: {sockets()}")
    check(line(b"t") == ["child-thread"], "child's thread")
    check(sockets() == {mine, f"{child}.sock"}, f"after the child's thread: {sockets()}")
    with program.connect(int(child)) as s:
        s.sendall(b"process\n")
        check(json.loads(s.makefile().readline())["pid"] == int(child), "the child answers")
    check(line(b"e") == ["child-ended"], "child's end")
    check(sockets() == {mine}, f"after the child's end: {sockets()}")
    line(b"f"), line(b"t")
    check(line(b"q") == ["child-ended"] and sockets() == {mine}, f"after _exit: {sockets()}")
    check(line(b"c") == ["closed"], "close")
    for _ in range(200):
        try:
            if program.ask(b"process\n").endswith(b"ok\n"):
                break
        except OSError:
            pass
        time.sleep(0.05)
    else:
        raise Failed("the socket does not come back after closefrom")
    check(line(b"u") == ["setuid"], "setuid")
    check(sockets() == set(), f"after setuid: {sockets()}")
    check(line(b"n") == ["thread"] and sockets() == {mine}, f"after a new thread: {sockets()}")
    check(line(b"x") == ["exec"], "exec")
    check(sockets() == {mine}, f"after exec: {sockets()}")
    check(program.ask(b"process\n").endswith(b"ok\n"), "the new image answers")
    program.child.stdin.close()
    check(program.child.wait(30) == 0, "end")
    check(sockets() == set(), f"after the end: {sockets()}")


@CASES("observe.deadlock")
def deadlock(context):
    """Every thread sleeps: said once, with each thread; the program is left as it is, or ended."""
    command = [context.program("gs_states.c"), "deadlock"]
    log = context.path("deadlock.log")
    env = {**MN, "LD_PRELOAD": context.lib, "GRAFT_LOG": str(log)}
    child = context.start(command, env, stdout=subprocess.PIPE)
    for _ in range(600):
        if log.exists() and log.read_text().count("\n") >= 5:
            break
        time.sleep(0.05)
    time.sleep(0.3)
    text = log.read_text() if log.exists() else ""
    lines = text.splitlines()
    check(len(lines) == 5 and lines[0].startswith("graft: all threads are asleep"), text)
    for number, name in enumerate(["gs_states", "mutex", "cond", "sem"]):
        check(re.match(rf'  G {number} "{name}" waits at 0x[0-9a-f]+, stack 0x', lines[number + 1]),
              text)
    check(child.poll() is None, "the program was ended")
    context.stop(child)
    aborted = context.graft(command, {**MN, "GRAFT_DEADLOCK": "abort"})
    check(aborted.status == -signal.SIGABRT and "asleep" in aborted.err, aborted.text())
    silent = context.start(command, {**env, "GRAFT_DEADLOCK": "off", "GRAFT_LOG": f"{log}2"})
    time.sleep(1)
    check(silent.poll() is None and not os.path.exists(f"{log}2"), "off is not off")
    context.stop(silent)


def no_deadlock(what):
    def run(context):
        """All threads sleep, and something outside wakes one after a while."""
        graft = context.graft([context.program("no_deadlock.c"), what],
                              {**MN, "GRAFT_DEADLOCK": "abort"})
        check(graft.status == 0 and graft.err == "" and graft.out == "woken\n", graft.text())
        check(graft.summary["graft"]["threads"]["mode"] == "m:n", graft.text())
    CASES.add(f"observe.no-deadlock.{what}", run)


for source in ("handler", "timer", "timer-thread", "sigwait", "sleep", "timed", "pipe", "aio",
               "clone", "shared"):
    no_deadlock(source)


@CASES("observe.schedtrace")
def schedtrace(context):
    """Go's lines, at the pace that was asked for, also while everything sleeps."""
    log = context.path("trace")
    for program, least, ps in ((["gs_torture.cc", "1"], 2, 0), (["no_deadlock.c", "timed"], 3, 0),
                               (["no_deadlock.c", "timed"], 3, 5)):
        graft = context.graft([context.program(program[0]), *program[1:]],
                              {**MN, "GRAFT_SCHEDTRACE": "50", "GRAFT_LOG": f"{log}.%p",
                               "GOMAXPROCS": str(ps)})
        check(graft.status == 0, graft.text())
        lines = pathlib.Path(f"{log}.{graft.pid}").read_text().splitlines()
        check(len(lines) >= least, f"{len(lines)} lines")
        last = -1
        for line in lines:
            m = re.fullmatch(r"SCHED (\d+)ms: gomaxprocs=(\d+) idleprocs=(\d+) threads=(\d+) "
                             r"spinningthreads=(\d+) idlethreads=(\d+) runqueue=(\d+) "
                             r"\[(\d+(?: \d+)*)\]", line)
            check(m, line)
            at, procs, idle, threads, _, idle_threads, _ = map(int, m.groups()[:7])
            check(at >= last and idle <= procs and idle_threads < threads, line)
            check(len(m[8].split()) == procs and ps in (0, procs), line)
            last = at


@CASES("observe.gdb")
def gdb(context):
    """The script lists Gs and unwinds a parked one, and the program goes on afterwards."""
    debugger = need("gdb")
    program = states(context, MN)
    words = [debugger, "-nx", "-batch", "-p", str(program.pid), "-ex", f"source {GDB_SCRIPT}",
             "-ex", "graft-gs", "-ex", "graft-bt 1", "-ex", "graft-bt 2", "-ex", "graft-bt 77",
             "-ex", "graft-bt 6"]
    run = subprocess.run(words, capture_output=True, text=True, timeout=120,
                         stdin=subprocess.DEVNULL)
    text = run.stdout + run.stderr
    if "ptrace" in text and "not permitted" in text:
        raise Skip("ptrace is not permitted")
    for number in (1, 2, 3, 4):
        check(re.search(rf"^ *{number} +waiting ", run.stdout, re.M), text)
    check(re.search(r"^ *6 +running .*LWP \d+", run.stdout, re.M), text)
    check(re.search(r"wait_for_mutex.*\n#\d+ .* f ", run.stdout), text)
    check(re.search(r"wait_for_cond.*\n#\d+ .* f ", run.stdout), text)
    check("there is no G 77" in text, text)
    check(re.search(r"G 6 is on LWP \d+", text), text)
    core = context.path("core")
    subprocess.run([debugger, "-nx", "-batch", "-p", str(program.pid), "-ex", f"gcore {core}"],
                   capture_output=True, timeout=120, stdin=subprocess.DEVNULL)
    run = subprocess.run([debugger, "-nx", "-batch", context.program("gs_states.c"), str(core),
                          "-ex", f"source {GDB_SCRIPT}", "-ex", "graft-gs", "-ex", "graft-bt 1"],
                         capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
    check(re.search(r"^ *1 +waiting ", run.stdout, re.M), run.stdout + run.stderr)
    check("graft-bt needs a live process" in run.stderr, run.stderr)
    program.end()
