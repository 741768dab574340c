"""The numbers that a figure of matplotlib's shows, as a table: what its page offers to take away."""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.category import StrCategoryLocator
from matplotlib.collections import Collection, LineCollection, PathCollection, PolyCollection
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator
from matplotlib.transforms import Transform
from numpy.typing import ArrayLike, NDArray

#: Beside the picture in an executed notebook; only the site reads it.
MIME = "application/vnd.condkl.figure+csv"
MOST = 200  # points of a curve: more do not show
Values = NDArray[Any]
Part = tuple[str, str, Values, Values]  # name, kind, x and y


def bundle(figure: Figure) -> dict[str, str]:
    """What a notebook keeps of a figure besides its picture: nothing if the figure shows pixels only."""
    data = table(figure)
    return {} if data.empty else {MIME: data.to_csv(index=False, float_format="%.5g")}


def table(figure: Figure) -> pd.DataFrame:
    """A row for each point: `panel`, `series`, `kind`, `x`, `y`, and the labels of its axes, if anything has them.

    The kind is "line", "points", "bar", "interval" (its two ends, in two rows) or "band" (its outline). Of curves with
    more than 200 points, evenly spaced ones are kept. Where ticks have names, these stand for numbers. Lines across a
    panel have no value on the axis that they cross, and pixels are left out.
    """
    found = []
    for number, axes in enumerate(figure.axes, 1):
        panel = axes.get_title() or (str(number) if len(figure.axes) > 1 else "")
        for series, kind, x, y in _parts(axes):
            columns = {"panel": panel, "series": series, "kind": kind, "x": _with_names(axes.xaxis, x)}
            rest = {"y": _with_names(axes.yaxis, y), "x axis": axes.get_xlabel(), "y axis": axes.get_ylabel()}
            found.append(pd.DataFrame(columns | rest))
    if not found:
        return pd.DataFrame(columns=["x", "y"])
    return pd.concat(found, ignore_index=True).replace("", None).dropna(axis="columns", how="all")


def _parts(axes: Axes) -> Iterator[Part]:
    named: dict[Any, str | None] = {}  # artists whose name is that of what they belong to
    for group in axes.containers:
        if isinstance(group, ErrorbarContainer):
            line, caps, bars = group.lines
            named |= dict.fromkeys((line, *bars), _name(group)) | dict.fromkeys(caps)  # caps repeat the ends of bars
        if isinstance(group, BarContainer):
            boxes = np.array([bar.get_bbox().extents for bar in group.patches])  # from the left, lower corner
            upright = group.orientation != "horizontal"
            x, y = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
            yield _name(group), "bar", x if upright else boxes[:, 2], boxes[:, 3] if upright else y
    for line in axes.lines:
        if (name := named.get(line, _name(line))) is not None and len(np.atleast_1d(line.get_xdata())):
            kind = "points" if line.get_linestyle() == "None" else "line"
            yield name, kind, *_in_data(axes, line.get_transform(), *map(_thin, line.get_data(orig=False)))
    for shape in axes.collections:
        yield from _of_collection(shape, named.get(shape, _name(shape)) or "")


def _of_collection(shape: Collection, name: str) -> Iterator[Part]:
    if isinstance(shape, PathCollection):
        x, y = np.asarray(shape.get_offsets(), float).T
        yield name, "points", x, y
    elif isinstance(shape, LineCollection | PolyCollection):
        kind = "interval" if isinstance(shape, LineCollection) else "band"
        for path in shape.get_paths():
            x, y = map(_thin, np.asarray(path.vertices, float).T)
            yield name, kind, x, y


def _in_data(axes: Axes, transform: Transform, x: Values, y: Values) -> tuple[Values, Values]:
    """Values without those that count in parts of the panel, as for a line all across it."""
    known_x, known_y = transform.contains_branch_seperately(axes.transData)
    return x if known_x else np.full(len(x), np.nan), y if known_y else np.full(len(y), np.nan)


def _thin(values: ArrayLike) -> Values:
    numbers = np.atleast_1d(np.asarray(values))
    if len(numbers) <= MOST:
        return numbers
    return numbers[np.linspace(0, len(numbers) - 1, MOST).round().astype(int)]


def _name(artist: Any) -> str:
    """Its label; what has none is told apart by matplotlib's own count."""
    label = str(artist.get_label())
    number = re.fullmatch(r"_(?:child|container)(\d+)", label)
    return f"no. {int(number[1]) + 1}" if number else "" if label.startswith("_") else label


def _with_names(axis: Axis, values: Values) -> Values:
    """The names of ticks at those values, if the axis has names for all of them."""
    if not isinstance(axis.get_major_locator(), FixedLocator | StrCategoryLocator):
        return values
    ticks = np.asarray(axis.get_majorticklocs(), float)
    names = axis.get_major_formatter().format_ticks(list(ticks))
    if len(ticks) < 2 or not all(any(map(str.isalpha, name)) and "mathdefault" not in name for name in names):
        return values
    away = np.abs(np.asarray(values, float)[:, None] - ticks)  # beside a tick is at it, for what would overlap
    near = away.min(axis=1, initial=np.inf) < 0.45 * np.diff(np.sort(ticks)).min()
    return np.array(names)[away.argmin(axis=1)] if near.all() else values
