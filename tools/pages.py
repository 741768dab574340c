"""Which files are the book, and which notebooks its chapters."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml


def files(book: Path) -> Iterator[Path]:
    """Find the files of the book, without what tools left there."""
    for folder, inner, found in os.walk(book, followlinks=True):
        inner[:] = sorted(name for name in inner if not name.startswith(".") and name not in ("_build", "__pycache__"))
        yield from (Path(folder, name) for name in sorted(found) if not name.startswith("."))


def named(toc: Any) -> Iterator[str]:
    """Find the pages that a table of contents names."""
    for name, value in toc.items() if isinstance(toc, dict) else enumerate(toc):
        if name in ("root", "file"):
            yield str(value).removesuffix(".ipynb")
        elif isinstance(value, (dict, list)):
            yield from named(value)


def chapters(book: Path, pages: list[Path]) -> list[str]:
    """Name the notebooks of the book, without suffix; say which notebooks are none of it, as JupyterLab leaves some."""
    toc = set(named(yaml.safe_load((book / "_toc.yml").read_text("utf-8"))))
    found = [page.relative_to(book).with_suffix("") for page in pages if page.suffix == ".ipynb"]
    found = [name for name in found if not any(part.startswith("_") for part in name.parts)]
    for name in found:
        if name.as_posix() not in toc:
            print(f"{book / name}.ipynb is in no _toc.yml, so it is left out: add it there, or delete it", flush=True)
    return [name.as_posix() for name in found if name.as_posix() in toc]
