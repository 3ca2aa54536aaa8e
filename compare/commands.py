"""What run.py runs: the workloads of a build tree, the real programs of programs.toml, and files of
commands that somebody has on their machine (--commands), TOML or JSON. Every entry has the same form:

    [name]
    argv = ["program", "{here}/argument"]   # or shell = "a command line for sh"
    cwd = "{here}"              # default: a scratch folder that is emptied before each run
    env = { NAME = "value" }    # added to the environment
    needs = ["program"]         # the entry is left out where one of these is not in PATH
    inputs = ["text"]           # generated before the first run, see programs/inputs.py
    preload = "script"          # the command itself preloads "$PRELOAD" where it should; default "all"
    time = 'time: ([0-9.]+)'    # seconds (or a relative time) printed by the program; default: wall
    timeout = 600               # seconds

{here} is the folder of the file, {inputs} that of the generated inputs, {build} the build tree. If the
last line that a command prints is a JSON object, its numbers are kept with the run; `seconds`, `cpu`
and `max_rss_kib` in it replace what was measured from outside."""

import dataclasses
import json
import pathlib
import shutil
import tomllib

PROGRAMS = pathlib.Path(__file__).resolve().parent / "programs.toml"
KNOWN = {"argv", "shell", "cwd", "env", "needs", "inputs", "preload", "time", "timeout", "what"}


class Wrong(Exception):
    """A table of commands that cannot be used; the message names the file and the entry."""


@dataclasses.dataclass
class Command:
    name: str
    argv: list
    cwd: str = ""
    env: dict = dataclasses.field(default_factory=dict)
    needs: tuple = ()
    inputs: tuple = ()
    preload: str = "all"
    time: str = ""
    timeout: float = 600

    def missing(self):
        return [program for program in self.needs if shutil.which(program) is None]


def workloads(build, scale):
    folder = pathlib.Path(build).resolve() / "compare"
    sources = sorted((PROGRAMS.parent / "workloads").glob("*.cc"))
    return [Command(source.stem, [str(folder / source.stem), str(scale)]) for source in sources]


def _filled(value, places):
    if isinstance(value, str):
        for name, path in places.items():
            value = value.replace("{" + name + "}", str(path))
        return value
    if isinstance(value, list):
        return [_filled(item, places) for item in value]
    if isinstance(value, dict):
        return {key: _filled(item, places) for key, item in value.items()}
    return value


def load(path, build, inputs):
    path = pathlib.Path(path).resolve()
    try:
        text = path.read_text()
        table = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as problem:
        raise Wrong(f"{path}: {problem}") from None
    places = {"here": path.parent, "inputs": pathlib.Path(inputs).resolve(),
              "build": pathlib.Path(build).resolve()}
    commands = []
    for name, entry in table.items():
        unknown = set(entry) - KNOWN
        if unknown or ("argv" in entry) == ("shell" in entry):
            raise Wrong(f"{path}: [{name}]: " + (f"unknown key {sorted(unknown)[0]}" if unknown
                                                else "needs argv or shell, one of them"))
        entry = _filled(entry, places)
        entry.pop("what", None)
        shell = entry.pop("shell", None)
        if shell is not None:
            entry["argv"] = ["sh", "-c", shell]
        commands.append(Command(name, **entry))
    return commands
