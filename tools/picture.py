"""Takes a figure, by its cell's name for it, out of an executed chapter: `python tools/picture.py CHAPTER NAME PNG`."""

import base64
import json
import sys
from pathlib import Path

chapter, name, png = sys.argv[1:]
cells = json.loads(Path(chapter).read_text("utf-8"))["cells"]
cell = next(c for c in cells if c["metadata"].get("mystnb", {}).get("figure", {}).get("name") == name)
image = next(o["data"]["image/png"] for o in cell["outputs"] if "image/png" in o.get("data", {}))
Path(png).write_bytes(base64.b64decode(image))
