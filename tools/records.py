"""What was built from what: the record of a build, whether it still holds, and the environment of one."""

import fcntl
import hashlib
import json
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import IO

from tools.trace.sitecustomize import DIGESTS, ROOT, content

RECORDS = Path("book/_build/records")
SETTINGS = Path(ROOT, ".cache/settings")
KERNEL = "kernel-of-this-book"
KERNEL_COMMAND = "-m ipykernel_launcher --HistoryManager.enabled=False -f {connection_file}"
THREADS = [f"{name}_NUM_THREADS" for name in ("OMP", "MKL", "OPENBLAS", "NUMEXPR")]
DROPPED = ("PYTHON", "PYTEST", "PYDEVD", "JUPYTER", "IPYTHON", "MPL", "MATPLOTLIB", "SOURCE_DATE_EPOCH")
KEPT = {"PYTHONPATH", "PYTHONNOUSERSITE", "PYTHONUSERBASE"}  # where the packages are

Inputs = dict[str, str | None]
_known: Inputs = {}


def surroundings() -> list[str]:
    """List what every build depends on besides files: Python, the versions of all packages, settings of the library."""
    packages = {f"{found.name}=={found.version}" for found in metadata.distributions()}
    settings = [f"{name}={value}" for name, value in os.environ.items() if name.startswith("CONDKL_")]
    return [sys.version, platform.machine(), *sorted(packages), *sorted(settings)]


def commit() -> str:
    """Return the commit that the status page names, or nothing outside a repository."""
    command = ["git", "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


def environment() -> dict[str, str]:
    """Return the environment of a build, without the reader's own settings, and make the folders that it names.

    The own library stands before one that is installed: an environment may belong to another copy of the project.
    """
    kernel = {
        "argv": [sys.executable, *KERNEL_COMMAND.split()],
        "display_name": "Python of this book",
        "language": "python",
        "env": {"BOOK_TRACE": "${CHAPTER_TRACE}"},  # the kernel is traced, not what starts it
    }
    (SETTINGS / "kernels" / KERNEL).mkdir(parents=True, exist_ok=True)
    (SETTINGS / "kernels" / KERNEL / "kernel.json").write_text(json.dumps(kernel))
    (SETTINGS / "matplotlibrc").write_text("")
    kept = {name: value for name, value in os.environ.items() if name in KEPT or not name.startswith(DROPPED)}
    paths = [os.path.join(ROOT, "tools", "trace"), os.path.join(ROOT, "src"), os.environ.get("PYTHONPATH", "")]
    return {
        **dict.fromkeys(THREADS, "1"),
        **kept,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # its notice would stand in every chapter's log
        "MATPLOTLIBRC": str(SETTINGS / "matplotlibrc"),
        "MPLCONFIGDIR": str(SETTINGS / "matplotlib"),
        "IPYTHONDIR": str(SETTINGS / "ipython"),
        "JUPYTER_PATH": str(SETTINGS),
        "JUPYTER_CONFIG_DIR": str(SETTINGS / "jupyter"),
        "JUPYTER_DATA_DIR": str(SETTINGS / "data"),
    }


def traced(trace: Path) -> Inputs:
    """Read a trace. What was read twice and differed counts as changed since."""
    found: Inputs = {}
    for line in trace.read_text("ascii").splitlines():
        kind, name, digest = json.loads(line)
        if found.setdefault(f"{kind} {name}", digest) != digest:
            found[f"{kind} {name}"] = "changed during the build"
    return found


def keep(name: str, target: Path, inputs: Inputs, state: list[str]) -> None:
    """Record that `target` was built from those inputs. The record gets its name when it is whole."""
    record = RECORDS / f"{name}.json"
    partial = RECORDS / f"{name}.partial"
    partial.parent.mkdir(parents=True, exist_ok=True)
    partial.write_text(json.dumps({"target": content(str(target)), "state": state, "inputs": inputs}, indent=1))
    partial.replace(record)


def forget(name: str) -> None:
    """Take back that a target was built, before it is built again."""
    (RECORDS / f"{name}.json").unlink(missing_ok=True)


def _now(of: str) -> str | None:
    if of not in _known:
        kind, name = of.split(" ", 1)
        _known[of] = DIGESTS[kind](os.path.join(ROOT, name))
    return _known[of]


def fresh(name: str, target: Path, state: list[str]) -> bool:
    """Whether the record of `target` still holds. Contents decide; no date is read."""
    try:
        record = json.loads((RECORDS / f"{name}.json").read_text())
    except (OSError, ValueError):
        return False
    if record["state"] != state or record["target"] is None or record["target"] != content(str(target)):
        return False
    return all(_now(of) == digest for of, digest in record["inputs"].items())


def sha256(raw: bytes) -> str:
    """Return the digest that `content` gives for a file of these bytes."""
    return hashlib.sha256(raw).hexdigest()


def only_one() -> IO[str]:
    """Wait until no other build runs in this folder: two would write the same files."""
    lock = open(os.path.join(ROOT, ".cache", "build.lock"), "w")  # noqa: SIM115 - held as long as this process lives
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("waiting for another build in this folder", flush=True)
        fcntl.flock(lock, fcntl.LOCK_EX)
    return lock
