"""Files that are whole, or not there."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_json(path: Path, contents: Mapping[str, Any]) -> None:
    """Write `contents` as JSON beside `path`, then move it there: a file of that name is always whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(contents, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    partial.replace(path)
