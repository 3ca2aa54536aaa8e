"""The mallocs that run.py compares: what they are called, which Debian package brings each, where it
is found on this machine. `glibc` is the program as it is, without a preload."""

import dataclasses
import hashlib
import pathlib

FOLDERS = ("/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib")
PACKAGED = {
    "jemalloc": ("libjemalloc.so.2", "libjemalloc2"),
    "tcmalloc": ("libtcmalloc_minimal.so.4", "libtcmalloc-minimal4"),
    "mimalloc": ("libmimalloc.so.2", "libmimalloc2.0"),
}
DEFAULT = ("glibc", *PACKAGED, "graft")


class Missing(Exception):
    """The message says what to install or which option to give."""


@dataclasses.dataclass(frozen=True)
class Library:
    name: str
    path: str  # empty: no preload

    def digest(self):
        """Tells two builds of a library apart; runs of different builds must not be mixed."""
        if not self.path:
            return ""
        return hashlib.sha256(pathlib.Path(self.path).read_bytes()).hexdigest()[:16]


def find(name, build, overrides):
    """`overrides` maps names to paths; names that only stand there are fine too."""
    if name in overrides:
        path = pathlib.Path(overrides[name])
        if not path.is_file():
            raise Missing(f"{name}: {path} does not exist")
        return Library(name, str(path.resolve()))
    if name in ("glibc", "none"):
        return Library("glibc", "")
    if name == "graft":
        path = pathlib.Path(build) / "libgraft.so"
        if not path.is_file():
            raise Missing(f"graft: {path} is not built")
        return Library(name, str(path.resolve()))
    if name not in PACKAGED:
        raise Missing(f"{name}: not a known malloc; give --lib {name}=PATH")
    soname, package = PACKAGED[name]
    for folder in FOLDERS:
        path = pathlib.Path(folder) / soname
        if path.is_file():
            return Library(name, str(path))
    raise Missing(f"{name}: {soname} not found; apt-get install {package}")
