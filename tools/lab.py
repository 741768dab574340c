"""Copies the plain notebooks of the built site into a folder, but for those that are there already."""

import shutil
import sys
from pathlib import Path


def copy(site: Path, folder: Path) -> list[str]:
    """Copy, and return the names of what was not there."""
    missing = []
    for notebook in sorted(site.rglob("*.ipynb")):
        name = notebook.relative_to(site)
        if not (folder / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(notebook, folder / name)
            missing.append(name.as_posix())
    return missing


if __name__ == "__main__":
    copy(*map(Path, sys.argv[1:]))
