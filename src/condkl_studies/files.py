"""Where data lie, and files that are whole, or not there."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

#: How the name of a folder begins that is not whole yet.
PARTIAL = ".partial-"


class DataError(RuntimeError):
    """A data file or folder is missing, truncated or altered."""


def data_folder() -> Path:
    """`CONDKL_DATA` if it is set, else `data/` at the root of the repository; a DataError if there is none."""
    folder = folder_named_by("CONDKL_DATA") or Path(__file__).resolve().parents[2] / "data"
    if not folder.is_dir():
        raise DataError(
            f"{folder}: no such data folder. Install the package from a clone of the repository with "
            "`pip install -e .`, or set CONDKL_DATA to the repository's data folder."
        )
    return folder


def folder_named_by(variable: str) -> Path | None:
    """The folder that this variable of the environment names, made absolute, or None if it is not set."""
    named = os.environ.get(variable)
    return Path(named).expanduser().resolve() if named else None


def write_whole(path: Path, raw: bytes) -> None:
    """Write beside `path`, then move there: a file of that name is always whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(raw)
    partial.replace(path)


def indented(contents: Mapping[str, Any]) -> bytes:
    """`contents` as JSON for people; a ValueError if there is NaN or infinity in it, which JSON does not know."""
    return (json.dumps(contents, indent=1, allow_nan=False) + "\n").encode()


def write_json(path: Path, contents: Mapping[str, Any]) -> None:
    """Write `contents` as JSON, whole."""
    write_whole(path, indented(contents))


def write_folder(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write files into a folder beside `folder`, which then gets its name: a folder of that name is always whole."""
    partial = folder.with_name(f"{PARTIAL}{folder.name}-{os.getpid()}")
    partial.mkdir(parents=True)
    try:
        for name, raw in contents.items():
            (partial / name).write_bytes(raw)
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
