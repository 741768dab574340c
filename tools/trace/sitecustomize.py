"""Writes down what of the project a Python process reads, and a digest of it at that moment.

Python imports a module of this name when it starts, in the kernel of a chapter and in each process that the chapter
starts. Where `BOOK_TRACE` names a file, every file and folder of the project that is opened, listed or asked for
becomes a line there. A line is written at once, so that a killed process loses none.
"""

import hashlib
import json
import os
import stat
import sys
import threading
from collections.abc import Callable, Iterable
from importlib.machinery import PathFinder, SourceFileLoader
from importlib.util import module_from_spec, source_from_cache
from types import FrameType
from typing import Any

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
# What tools write. The versions of the packages are compared elsewhere.
SKIPPED = {".venv", ".git", ".cache", "_build", "node_modules", "site-packages"}
SKIPPED_ENDS = (".egg-info", ".dist-info")


def content(path: str) -> str | None:
    """Return the SHA-256 of a file's bytes, or None where there is no such file."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # to open a pipe would wait for its other end
            return None
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    except OSError:
        return None


def names(path: str) -> str | None:
    """Return the SHA-256 of the names in a folder, or None where there is no such folder."""
    try:
        found = sorted(name for name in os.listdir(path) if name != "__pycache__" and not name.startswith("."))
    except OSError:
        return None
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()


def exists(path: str) -> str | None:
    """Say whether something is there: many a chapter asks for a record before it reads it."""
    return "yes" if os.path.exists(path) else None


DIGESTS = {"content": content, "names": names, "exists": exists}


def key(path: str, roots: Iterable[str] = (ROOT,)) -> str | None:
    """Name a path of the project as a record does, relative to its root; None for any other path.

    A link counts as the file that it leads to, from wherever it leads into the project.
    """
    for candidate in (os.path.abspath(path), os.path.realpath(path)):
        for root in roots:
            if candidate != root and not candidate.startswith(root + os.sep):
                continue
            inside = os.path.relpath(candidate, root)
            parts = inside.split(os.sep)
            if not SKIPPED.intersection(parts) and not any(part.endswith(SKIPPED_ENDS) for part in parts):
                return inside if root == ROOT else candidate
    return None


def _reads(mode: str | None, flags: int) -> bool:
    """Whether a file so opened can give what was in it before."""
    if mode is not None:
        return "r" in mode or ("a" in mode and "+" in mode)
    return not flags & (os.O_WRONLY | os.O_TRUNC) and not (flags & os.O_CREAT and flags & os.O_EXCL)


def install(trace: str) -> None:
    """Write what this process reads from now on to the file `trace`."""
    roots = [ROOT]
    if "CONDKL_DATA" in os.environ:  # a data folder that lies elsewhere
        roots.append(os.path.realpath(os.environ["CONDKL_DATA"]))
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
            name = key(path, roots)
            if name is None or (kind, name) in seen:
                return
            seen.add((kind, name))
            line = json.dumps([kind, name, DIGESTS[kind](path)]) + "\n"
            file = os.open(trace, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(file, line.encode())
            finally:
                os.close(file)
        except (TypeError, ValueError):  # no path: the call itself says so
            return
        finally:
            here.busy = False

    def imports(frame: FrameType) -> bool:
        """To find one module, an import lists the folder: the modules beside it are no matter."""
        return str(frame.f_globals.get("__name__")).startswith("importlib")

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            if _reads(arguments[1], arguments[2]):
                note("content", arguments[0])
        elif event in ("os.listdir", "os.scandir") and not imports(sys._getframe(1)):
            note("names", arguments[0])

    def watched(original: Callable[..., os.stat_result]) -> Callable[..., os.stat_result]:
        def ask(path: Any, **options: Any) -> os.stat_result:
            if options.get("dir_fd") is None:
                note("exists", path)
            return original(path, **options)

        for able in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks):
            if original in able:
                able.add(ask)
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


def run_the_next() -> None:
    """Run the module of this name that this one hides, if there is one."""
    own = os.path.dirname(os.path.realpath(__file__))
    sys.path[:] = [folder for folder in sys.path if os.path.realpath(folder) != own]
    spec = PathFinder.find_spec("sitecustomize", sys.path)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(module_from_spec(spec))


if __name__ == "sitecustomize":
    if "BOOK_TRACE" in os.environ:
        install(os.environ["BOOK_TRACE"])
    run_the_next()
