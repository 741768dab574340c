"""What an interactive figure is made of, and the tables that its page looks up."""

import math
import struct
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from matplotlib.path import Path as Line
from numpy.typing import NDArray

#: Numbers, such as points (x, y) of shape (n, 2).
Array = NDArray[np.float64]
Bytes = NDArray[np.uint8]

# The grid of a panel in the page: a quarter of a pixel on a phone.
WIDTH, HEIGHT = 1120, 760
#: Looks that mark each point for itself, large, small, and small and square.
DOTS = ("dot", "point", "square")
EMPTY = "M0 0"
GREYS = 16  # levels that a picture keeps, more than an eye misses at the size of a digit


class Axis(NamedTuple):
    """One axis of a panel, with the value of each tick by its text; if `log`, equal distances are equal ratios."""

    label: str
    low: float
    high: float
    ticks: dict[str, float]
    log: bool = False

    def place(self, values: float | Array) -> Array:
        """Where values lie: 0 at `low`, 1 at `high`."""
        at, low, high = (np.log(x) if self.log else np.asarray(x, float) for x in (values, self.low, self.high))
        return np.asarray((at - low) / (high - low))


def whole_ticks(low: int, high: int, step: int = 1) -> dict[str, float]:
    """Ticks at whole numbers from `low` to `high`, by their text."""
    return {str(k).replace("-", "−"): k for k in range(low, high + 1, step)}


class Series(NamedTuple):
    """A curve, an area or dots at each position of the controls that it depends on.

    An empty name has no entry in the legend. The colour is a key of `condkl_book.style.COLOURS`, the look is "line",
    "dashed", "dotted", "area", or one of `DOTS`. `controls` are names in the explorer's order; `points` are x and y,
    shape (n, 2), at each position, the last control running fastest. A row of NaN parts a line in two.
    """

    name: str
    colour: str
    look: str
    controls: tuple[str, ...]
    points: tuple[Array, ...]


class Picture(NamedTuple):
    """Grey levels, all of one shape (rows, columns), at each position of some controls, as a series has points."""

    controls: tuple[str, ...]
    frames: tuple[Bytes, ...]


class Panel(NamedTuple):
    """A pair of axes with its series, the last on top; `alt` tells what it shows to those who do not see it.

    A `title` stands above it. It is `height` units high, where 280 are its width. With a `picture`, which fills it, it
    has a width of 340, and room for neither ticks nor labels.
    """

    alt: str
    x: Axis
    y: Axis
    series: tuple[Series, ...]
    title: str = ""
    height: int = 190
    picture: Picture | None = None


class Control(NamedTuple):
    """A slider, or a list if `choice`: the texts of its positions, and the position that the page opens with.

    A slider with `seconds` has a button that moves it to its end, which takes so long from the first position.
    """

    name: str
    label: str
    values: tuple[str, ...]
    start: int
    choice: bool = False
    seconds: int = 0


def slider(name: str, label: str, values: tuple[float, ...], opens: float, form: str = "g") -> Control:
    """A slider over numbers, in a format, that opens at one of them."""
    return Control(name, label, tuple(format(value, form) for value in values), values.index(opens))


@dataclass(frozen=True)
class Explorer:
    """An interactive figure; `sentences` tells its numbers at each position, the last control running fastest."""

    controls: tuple[Control, ...]
    panels: tuple[Panel, ...]
    sentences: tuple[str, ...]

    def count(self, names: Collection[str]) -> int:
        """How many positions some of the controls have together."""
        return math.prod(len(control.values) for control in self.controls if control.name in names)

    def start(self, names: Collection[str] | None = None) -> int:
        """The place of the opening position in a table over some of the controls, or over all."""
        row = 0
        for control in self.controls:
            if names is None or control.name in names:
                row = row * len(control.values) + control.start
        return row


def payload(explorer: Explorer) -> dict[str, Any]:
    """What the page looks up: the texts of the controls, the sentences, a path for each curve, a place for each frame.

    A ValueError says which table does not have one entry for each position of its controls.
    """
    names, series, pictures = [control.name for control in explorer.controls], [], []
    _check("sentences", explorer, names, len(explorer.sentences))
    for panel in explorer.panels:
        for s in panel.series:
            _check(f"points of {s.name or s.colour}", explorer, s.controls, len(s.points))
            paths = [svg_path(points, panel.x, panel.y, s.look) for points in s.points]
            series.append({"on": [names.index(name) for name in s.controls], "d": paths})
        if panel.picture:
            on, frames = panel.picture
            _check(f"frames of {panel.title}", explorer, on, len(frames))
            pictures.append({"on": [names.index(name) for name in on], "y": sprite(panel.picture).tops})
    values = [list(control.values) for control in explorer.controls]
    return {"values": values, "sentences": list(explorer.sentences), "series": series, "pictures": pictures}


def _check(what: str, explorer: Explorer, names: Collection[str], got: int) -> None:
    if got != (want := explorer.count(names)):
        each = f"one for each position of {', '.join(names)}, got {got}. Let the last control run fastest."
        raise ValueError(f"{what}: expected {want} entries, {each}")


def svg_path(points: Array, x: Axis, y: Axis, look: str) -> str:
    """An SVG path on the grid of a panel, thinned to what shows; lines are cut to the panel, areas are not.

    Of no points at all it is a path that draws nothing.
    """
    across, down = x.place(points[:, 0]) * WIDTH, (1 - y.place(points[:, 1])) * HEIGHT
    if look in DOTS:
        return "".join(f"M{right:.0f} {below:.0f}h0" for right, below in zip(across, down, strict=True)) or EMPTY
    line = Line(np.column_stack([across, down]))
    line.simplify_threshold = 0.5  # of the grid
    margin = None if look == "area" else (-8, -8, WIDTH + 8, HEIGHT + 8)
    cleaned = line.cleaned(remove_nans=True, clip=margin, simplify=True)
    corners, starts = np.rint(cleaned.vertices).astype(int), np.flatnonzero(np.asarray(cleaned.codes) == Line.MOVETO)
    pieces = np.split(corners[:-1], starts)[1:]  # the last of the corners only says that the path ends
    return "".join(map(_piece, pieces)) + ("z" if look == "area" else "") or EMPTY


def _piece(corners: NDArray[np.int_]) -> str:
    steps = np.diff(corners, axis=0)
    steps = steps[steps.any(1)].ravel()
    # "l" is said once, and a minus sign parts two numbers as well as a space does: the tables are large.
    return "M{} {}".format(*corners[0]) + ("l" + " ".join(map(str, steps)) if len(steps) else "").replace(" -", "-")


class Sprite(NamedTuple):
    """The frames of a picture in one file, each different one once and one below the other.

    `png` is that file, `tops` has for each position how far the file is moved up, on the grid of a panel, so that its
    frame shows, and `height` is how high the file is on that grid.
    """

    png: bytes
    tops: list[int]
    height: int


def sprite(picture: Picture) -> Sprite:
    """The frames of a picture in one file; a ValueError if they differ in shape."""
    if len(shapes := {frame.shape for frame in picture.frames}) != 1:
        raise ValueError(f"frames: expected one shape (rows, columns) for all, got {sorted(shapes)}.")
    step = 255 / (GREYS - 1)
    rounded = [np.rint(np.rint(frame / step) * step).astype(np.uint8) for frame in picture.frames]
    places: dict[bytes, int] = {}
    tops = [-HEIGHT * places.setdefault(frame.tobytes(), len(places)) for frame in rounded]
    different = dict(zip(tops, rounded, strict=True)).values()  # in the order of their places
    return Sprite(png(np.concatenate(list(different))), tops, HEIGHT * len(places))


def png(grey: Bytes) -> bytes:
    """A PNG file of grey levels, shape (rows, columns), with eight bits each."""
    rows, columns = grey.shape

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0)
    lines = np.pad(grey, ((0, 0), (1, 0))).tobytes()  # a 0 before each row: it stands as it is
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(lines, 9)), chunk(b"IEND", b"")]
    )
