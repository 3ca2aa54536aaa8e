"""What the integration cases share: building the test programs, running them natively and under the
preload with a time limit, reading the run summaries, comparing. A case is a function that takes a
Context and raises Failed or Skip; what it returns, if anything, is printed as a note."""

import dataclasses
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import threading

PROGRAMS = pathlib.Path(__file__).resolve().parent / "prog"
FLAGS = ["-O1", "-g", "-fno-builtin", "-Wall", "-Wextra", "-Wno-deprecated-declarations",
         "-pthread", f"-I{PROGRAMS}"]
TIME_LIMIT = 60
SHOWN = 1500  # characters of output in a failure


class Failed(Exception):
    pass


class Skip(Exception):
    pass


@dataclasses.dataclass
class Case:
    name: str
    run: object
    alone: bool = False


class Cases(list):
    """The list that a module of cases fills: as a decorator, or by add()."""

    def __call__(self, name, **options):
        def register(function):
            self.add(name, function, **options)
            return function
        return register

    def add(self, name, function, **options):
        self.append(Case(name, function, **options))


def check(condition, text):
    if not condition:
        raise Failed(text)


def need(*programs):
    """Paths of the installed programs; skips the case if one is missing."""
    paths = [shutil.which(p, path=SEARCH) for p in programs]
    for name, path in zip(programs, paths):
        if path is None:
            raise Skip(f"{name} is not installed")
    return paths[0] if len(paths) == 1 else paths


SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def system_library(name):
    """Full path of a shared library of the system, or Skip."""
    for folder in ("/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib"):
        if os.path.exists(f"{folder}/{name}"):
            return f"{folder}/{name}"
    raise Skip(f"{name} is not installed")


@dataclasses.dataclass
class Result:
    command: list
    status: int  # exit status, or minus the signal
    out: str
    err: str
    pid: int
    summaries: dict  # pid -> parsed GRAFT_SUMMARY
    setting: str = ""  # what of the environment the case chose

    @property
    def summary(self):
        check(self.pid in self.summaries, f"no run summary was written\n{self.text()}")
        return self.summaries[self.pid]

    def text(self):
        words = " ".join(map(str, self.command))
        how = f"exit {self.status}" if self.status >= 0 else signal.Signals(-self.status).name
        return (f"{self.setting}{words[:300]}: {how}\n--- output\n{self.out[-SHOWN:]}"
                f"\n--- errors\n{self.err[-SHOWN:]}")


class Workshop:
    """One per run: the scratch directory, the library under test and the programs built so far."""

    def __init__(self, scratch, lib, cli):
        self.scratch, self.lib, self.cli = scratch, lib, cli
        self.bin = scratch / "bin"
        self.bin.mkdir()
        self._lock = threading.Lock()
        self._building = {}
        self._broken = set()

    def build(self, source, output, flags):
        """Compiles once; a second caller waits for the first."""
        target = self.bin / output
        with self._lock:
            lock = self._building.setdefault(output, threading.Lock())
        with lock:
            if target.exists():
                return target
            check(output not in self._broken, f"{source} does not build, see above")
            self._broken.add(output)
            target.parent.mkdir(parents=True, exist_ok=True)
            compiler = need("g++" if source.endswith(".cc") else "gcc")
            partial = target.with_name(target.name + ".new")
            command = [compiler, *FLAGS, *(["-std=c++17"] if source.endswith(".cc") else []),
                       str(PROGRAMS / source), "-o", str(partial), *flags]
            run = subprocess.run(command, capture_output=True, text=True, timeout=120,
                                 env=dict(os.environ, LC_ALL="C.UTF-8", PATH=SEARCH))
            check(run.returncode == 0, f"{source} does not build\n{run.stderr[:SHOWN]}")
            if run.stderr:
                raise Failed(f"{source} builds with warnings\n{run.stderr[:SHOWN]}")
            partial.rename(target)
            self._broken.remove(output)
        return target


class Context:
    """What one case works with: a directory of its own, and its processes."""

    def __init__(self, shop, name):
        self.shop, self.name = shop, name
        self.lib, self.cli = str(shop.lib), shop.cli
        self.dir = shop.scratch / "run" / re.sub(r"\W+", "_", name)
        self._runs = 0
        self._live = []

    def path(self, *parts):
        self.dir.mkdir(parents=True, exist_ok=True)
        return self.dir.joinpath(*parts)

    def write(self, name, text):
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return str(path)

    def program(self, source, flags=(), output=None):
        output = output or source.rpartition(".")[0]
        return str(self.shop.build(source, output, list(flags)))

    def library(self, source, flags=(), output=None):
        output = output or f"lib{source.rpartition('.')[0]}.so"
        return str(self.shop.build(source, output, ["-shared", "-fPIC", *flags]))

    def environment(self, extra=None):
        env = {"PATH": SEARCH, "HOME": str(self.path()), "TMPDIR": str(self.path()),
               "LC_ALL": "C.UTF-8", "TZ": "UTC", "USER": "graft", "LOGNAME": "graft"}
        env.update(extra or {})
        return {k: v for k, v in env.items() if v is not None}

    def start(self, command, env=None, stdin=subprocess.DEVNULL, limits=(), core_limit=0, **more):
        """A child in a session of its own, ended with the case. `limits`: (resource, value)."""
        def prepare():
            resource.setrlimit(resource.RLIMIT_CORE, (core_limit, core_limit))
            for what, value in limits:
                resource.setrlimit(what, (value, value))
        more.setdefault("cwd", str(self.path()))
        child = subprocess.Popen(list(map(str, command)), env=self.environment(env), stdin=stdin,
                                 start_new_session=True, preexec_fn=prepare, **more)
        self._live.append(child)
        return child

    def stop(self, child):
        """Ends the session of one child that start() made, by the ids it made."""
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
        child.wait()
        if child in self._live:
            self._live.remove(child)

    def stop_everything(self):
        for child in list(self._live):
            self.stop(child)

    def run(self, command, env=None, limit=TIME_LIMIT, text=None, **more):
        stdin = subprocess.DEVNULL if text is None else subprocess.PIPE
        more.setdefault("stdout", subprocess.PIPE)
        more.setdefault("stderr", subprocess.PIPE)
        child = self.start(command, env, stdin, **more)
        try:
            out, err = child.communicate(None if text is None else text.encode(), timeout=limit)
        except subprocess.TimeoutExpired:
            where = stacks_of(child.pid)
            self.stop(child)
            raise Failed(f"{' '.join(map(str, command))[:300]}: not finished after {limit} s"
                         f"\n{where}") from None
        self.stop(child)
        def decode(data):
            return "" if data is None else data.decode(errors="replace")
        return Result(list(command), child.returncode, decode(out), decode(err), child.pid, {},
                      "".join(f"{k}={v} " for k, v in (env or {}).items() if k != "GRAFT_SUMMARY"))

    def native(self, command, env=None, **more):
        return self.run(command, env, **more)

    def graft(self, command, env=None, preload=None, **more):
        """Under the preload, with the run summaries of all its processes read back."""
        self._runs += 1
        folder = self.path(f"summary{self._runs}")
        folder.mkdir()
        folder.chmod(0o777)
        given = {"LD_PRELOAD": preload or self.lib, "GRAFT_SUMMARY": f"{folder}/%p"}
        given.update(env or {})
        result = self.run(command, given, **more)
        for file in folder.iterdir():
            try:
                result.summaries[int(file.name)] = json.loads(file.read_text())
            except ValueError as error:
                raise Failed(f"summary of process {file.name} is not JSON: {error}\n"
                             f"{file.read_text()[:SHOWN]}") from None
        return result

    def same(self, command, env=None, graft_env=None, on=True, status=0, **more):
        """Native and preloaded runs must agree, with the expected exit status, and the summary of
        the preloaded one must say that graft was on and saw no misuse (on=None: not asked)."""
        native = self.native(command, env, **more)
        check(native.status == status, f"natively: {native.text()}")
        graft = self.graft(command, {**(env or {}), **(graft_env or {})}, **more)
        agree(native, graft)
        if on is not None:
            on_and_clean(graft, on)
        return native, graft


def agree(native, graft):
    check(graft.status == native.status, f"status differs (native {native.status}): {graft.text()}")
    check(graft.out == native.out,
          f"output differs: {difference(native.out, graft.out)}\n{graft.text()}")
    check(graft.err == native.err,
          f"stderr differs: {difference(native.err, graft.err)}\n{graft.text()}")


def on_and_clean(result, on=True):
    state = result.summary["graft"]
    check(state["enabled"] is on, f"enabled is {state['enabled']}: {state['why_off']}")
    if on:
        check(result.summary["heap"]["misuse"] == 0, f"misuse was reported\n{result.text()}")


def difference(a, b):
    for number, (left, right) in enumerate(zip(a.splitlines(), b.splitlines()), 1):
        if left != right:
            return f"line {number}: native {left[:200]!r}, graft {right[:200]!r}"
    return f"native {len(a)} characters, graft {len(b)}"


def stacks_of(pid):
    """Where a process that does not end is, for the report."""
    gdb = shutil.which("gdb", path=SEARCH)
    if gdb is None:
        return ""
    try:
        words = [gdb, "-nx", "-batch", "-p", str(pid), "-ex", "thread apply all bt 12"]
        run = subprocess.run(words, capture_output=True, text=True, timeout=60,
                             stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return ""
    lines = [line for line in run.stdout.splitlines() if re.match(r"#|Thread", line)]
    return "\n".join(lines[:60])


def figures(text):
    """`figure NAME VALUE` lines that a program prints for its case."""
    return {m[1]: int(m[2]) for m in re.finditer(r"^figure (\S+) (-?\d+)$", text, re.M)}
