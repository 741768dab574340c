"""What was built from what: the record of a build, whether it still holds, and the environment of one."""

import functools
import json
import os
import platform
import re
import sys
from importlib import metadata
from pathlib import Path

from tools.trace.sitecustomize import ROOT, digest

RECORDS = Path(ROOT, "book/_build/records")
SETTINGS = os.path.join(ROOT, ".cache", "settings")
# The reader's own settings, but not where the packages are.
OWN = re.compile("PYTHON(?!NOUSERSITE|USERBASE)|PYTEST|PYDEVD|JUPYTER|IPYTHON|MPL|MATPLOTLIB|SOURCE_DATE_EPOCH")

Inputs = dict[str, str | None]
_now = functools.cache(digest)  # many chapters read the same files


def surroundings() -> list[str]:
    """List what every build depends on besides files: Python, the versions of all packages, settings of the library."""
    packages = {_named(found) for found in metadata.distributions()}
    settings = [f"{name}={value}" for name, value in os.environ.items() if name.startswith("CONDKL_")]
    return [sys.version, platform.machine(), *sorted(packages), *sorted(settings)]


def _named(found: metadata.Distribution) -> str:
    """Name and version of a package, as `some==1.0`; for each, importlib would parse all of its description."""
    text = found.read_text("METADATA") or found.read_text("PKG-INFO") or ""
    return "==".join(re.findall("^(?:Name|Version): *(.+?) *$", text.partition("\n\n")[0], re.MULTILINE))


def environment() -> dict[str, str]:
    """Return the environment of a build, without the reader's own settings."""
    kept = {name: value for name, value in os.environ.items() if not OWN.match(name)}
    # The own library stands before one that is installed: an environment may belong to another copy of the project.
    paths = [os.path.join(ROOT, "tools", "trace"), os.path.join(ROOT, "src"), os.environ.get("PYTHONPATH")]
    return kept | {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # its notice would stand in every chapter's log
        "MATPLOTLIBRC": os.devnull,
        "MPLCONFIGDIR": os.path.join(SETTINGS, "matplotlib"),
        "JUPYTER_PATH": os.path.join(ROOT, "tools"),  # its kernel is traced, but not what starts it
        **dict.fromkeys(("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR"), SETTINGS),
    }


def forget(name: str) -> str:
    """Take back that something was built, before it is built again; return where to trace that."""
    RECORDS.joinpath(name).parent.mkdir(parents=True, exist_ok=True)
    for end in ("json", "trace"):
        (RECORDS / f"{name}.{end}").unlink(missing_ok=True)
    return str(RECORDS / f"{name}.trace")


def keep(name: str, target: Path, inputs: Inputs, state: list[str]) -> None:
    """Record that `target` was built from those inputs and what was traced; a record of that name is always whole."""
    found: Inputs = {}
    for line in (RECORDS / f"{name}.trace").read_text("ascii").splitlines():
        kind, path, value = json.loads(line)
        # What was read twice and differed counts as changed since.
        if found.setdefault(f"{kind} {path}", value) != value:
            found[f"{kind} {path}"] = "changed during the build"
    record = {"target": digest("content", str(target)), "state": state, "inputs": found | inputs}
    partial = RECORDS / f"{name}.partial"
    partial.write_text(json.dumps(record, indent=1))
    partial.replace(RECORDS / f"{name}.json")


def fresh(name: str, target: Path, state: list[str]) -> bool:
    """Whether the record of `target` still holds. Contents decide; no date is read."""
    try:
        record = json.loads((RECORDS / f"{name}.json").read_text())
    except (OSError, ValueError):
        return False
    if record["state"] != state or record["target"] is None or record["target"] != digest("content", str(target)):
        return False
    return all(_now(*of.split(" ", 1)) == value for of, value in record["inputs"].items())
