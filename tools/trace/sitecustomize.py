"""Writes down what of the project a Python process reads, and a digest of it at that moment.

Python imports a module of this name when it starts, in the kernel of a chapter and in each process that the chapter
starts. Where `BOOK_TRACE` names a file, every file and folder of the project that is opened, listed or asked for
becomes a line there. A line is written at once, so that a killed process loses none.
"""

import hashlib
import json
import os
import re
import sys
import threading
from importlib.machinery import PathFinder, SourceFileLoader
from importlib.util import module_from_spec, source_from_cache
from typing import Any

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
# The data folder may lie elsewhere.
ROOTS = ROOT, os.path.realpath(os.path.expanduser(os.environ.get("CONDKL_DATA") or ROOT))
# What lies outside, and what tools write, but for executed chapters. The versions of packages are compared elsewhere.
SKIPPED = re.compile(
    r"(^|/)(\.\.|\.venv|\.git|\.cache|_build(?!/executed/)|node_modules|site-packages|[^/]*\.(egg|dist)-info)(/|$)"
)
NEW = os.O_CREAT | os.O_EXCL  # a file that must not be there before


def digest(kind: str, path: str) -> str | None:
    """Return the SHA-256 of a file ("content") or of a folder's "names", or whether something "exists"; None if not."""
    try:
        if kind == "exists":  # many a chapter asks for a record before it reads it
            return "yes" if os.path.exists(path) else None
        if kind == "names":
            found = sorted(name for name in os.listdir(path) if name != "__pycache__" and not name.startswith("."))
            return hashlib.sha256(json.dumps(found).encode()).hexdigest()
        if not os.path.isfile(path):  # to open a pipe would wait for its other end
            return None
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    except OSError:
        return None


def key(path: str) -> str | None:
    """Name a path of the project as a record does, relative to its root; None for any other path.

    A link counts as the file that it leads to, from wherever it leads into the project.
    """
    for candidate in (os.path.abspath(path), os.path.realpath(path)):
        for root in ROOTS:
            inside = os.path.relpath(candidate, root)
            if not SKIPPED.search(inside):
                return inside if root == ROOT else candidate
    return None


def install(trace: str) -> None:
    """Write what this process reads from now on to the file `trace`."""
    seen: set[tuple[str, str]] = set()
    here = threading.local()

    def note(kind: str, path: Any) -> None:
        if isinstance(path, int) or getattr(here, "busy", False):  # a descriptor, or this function's own reading
            return
        here.busy = True
        try:
            path = os.fsdecode("." if path is None else path)
            if os.path.basename(os.path.dirname(path)) == "__pycache__" and path.endswith(".pyc"):
                path = source_from_cache(path)
            name = key(path)
            if name is not None and (kind, name) not in seen:
                seen.add((kind, name))
                with open(trace, "ab", buffering=0) as file:
                    file.write(json.dumps([kind, name, digest(kind, path)]).encode() + b"\n")
        except (TypeError, ValueError):  # no path: the call itself says so
            return
        finally:
            here.busy = False

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            # Whether the file, so opened, can give what was in it before.
            if not arguments[2] & (os.O_WRONLY | os.O_TRUNC) and arguments[2] & NEW != NEW:
                note("content", arguments[0])
        # To find one module, an import lists the folder: the modules beside it are no matter.
        elif event in ("os.listdir", "os.scandir") and not str(sys._getframe(1).f_globals.get("__name__")).startswith(
            "importlib"
        ):
            note("names", arguments[0])

    def watched(original: Any) -> Any:
        def ask(path: Any, **options: Any) -> os.stat_result:
            if options.get("dir_fd") is None:
                note("exists", path)
            return original(path, **options)

        for able in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks):
            able.update({ask} if original in able else ())
        return ask

    # No audit event tells of a question whether a file exists, so the functions behind all of them are wrapped.
    os.stat, os.lstat = watched(os.stat), watched(os.lstat)

    # Python trusts bytecode by the date and the size of its source. The project's own modules are compiled anew.
    path_stats = SourceFileLoader.path_stats

    def stats(self: SourceFileLoader, path: str) -> Any:
        if key(path) is not None:
            raise OSError("the bytecode of the project's modules is not used here")
        return path_stats(self, path)

    SourceFileLoader.path_stats = stats  # type: ignore[method-assign]
    note("content", __file__)
    sys.addaudithook(hook)


if __name__ == "sitecustomize":
    if "BOOK_TRACE" in os.environ:
        install(os.environ["BOOK_TRACE"])
    # This module hides the next one of its name on the path; that one runs too.
    own = os.path.dirname(os.path.realpath(__file__))
    sys.path[:] = [folder for folder in sys.path if os.path.realpath(folder) != own]
    if (spec := PathFinder.find_spec(__name__)) and spec.loader:
        spec.loader.exec_module(module_from_spec(spec))
