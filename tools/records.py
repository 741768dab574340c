"""What was built from what: the record of a build, whether it still holds, and the environment of one."""

import functools
import json
import os
import platform
import sys
from importlib import metadata
from pathlib import Path

from tools.trace.sitecustomize import ROOT, digest

RECORDS = Path("book/_build/records")
SETTINGS = Path(ROOT, ".cache/settings")
KERNEL = "kernel-of-this-book"
KERNEL_COMMAND = "-m ipykernel_launcher --HistoryManager.enabled=False -f {connection_file}"
THREADS = [f"{name}_NUM_THREADS" for name in ("OMP", "MKL", "OPENBLAS", "NUMEXPR")]
DROPPED = ("PYTHON", "PYTEST", "PYDEVD", "JUPYTER", "IPYTHON", "MPL", "MATPLOTLIB", "SOURCE_DATE_EPOCH")
KEPT = {"PYTHONPATH", "PYTHONNOUSERSITE", "PYTHONUSERBASE"}  # where the packages are

Inputs = dict[str, str | None]


def surroundings() -> list[str]:
    """List what every build depends on besides files: Python, the versions of all packages, settings of the library."""
    packages = {f"{found.name}=={found.version}" for found in metadata.distributions()}
    settings = [f"{name}={value}" for name, value in os.environ.items() if name.startswith("CONDKL_")]
    return [sys.version, platform.machine(), *sorted(packages), *sorted(settings)]


def environment() -> dict[str, str]:
    """Return the environment of a build, without the reader's own settings, and make the kernel that runs in it.

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
    kept = {name: value for name, value in os.environ.items() if name in KEPT or not name.startswith(DROPPED)}
    paths = [os.path.join(ROOT, "tools", "trace"), os.path.join(ROOT, "src"), os.environ.get("PYTHONPATH")]
    own = dict.fromkeys(("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR"), str(SETTINGS))
    return dict.fromkeys(THREADS, "1") | kept | own | {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # its notice would stand in every chapter's log
        "MATPLOTLIBRC": os.devnull,
        "MPLCONFIGDIR": str(SETTINGS / "matplotlib"),
    }  # fmt: skip


def traced(trace: Path) -> Inputs:
    """Read a trace. What was read twice and differed counts as changed since."""
    found: Inputs = {}
    for line in trace.read_text("ascii").splitlines():
        kind, name, value = json.loads(line)
        if found.setdefault(f"{kind} {name}", value) != value:
            found[f"{kind} {name}"] = "changed during the build"
    return found


def keep(name: str, target: Path, inputs: Inputs, state: list[str]) -> None:
    """Record that `target` was built from those inputs. The record gets its name when it is whole."""
    partial = RECORDS / f"{name}.partial"
    partial.parent.mkdir(parents=True, exist_ok=True)
    record = {"target": digest("content", str(target)), "state": state, "inputs": inputs}
    partial.write_text(json.dumps(record, indent=1))
    partial.replace(RECORDS / f"{name}.json")


def forget(name: str) -> None:
    """Take back that a target was built, before it is built again."""
    (RECORDS / f"{name}.json").unlink(missing_ok=True)


@functools.cache
def _now(of: str) -> str | None:
    kind, name = of.split(" ", 1)
    return digest(kind, os.path.join(ROOT, name))


def fresh(name: str, target: Path, state: list[str]) -> bool:
    """Whether the record of `target` still holds. Contents decide; no date is read."""
    try:
        record = json.loads((RECORDS / f"{name}.json").read_text())
    except (OSError, ValueError):
        return False
    if record["state"] != state or record["target"] is None or record["target"] != digest("content", str(target)):
        return False
    return all(_now(of) == value for of, value in record["inputs"].items())
