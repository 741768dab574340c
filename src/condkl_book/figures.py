"""Parts of the figures that show recorded runs."""

import pandas as pd
from matplotlib.axes import Axes

from condkl_book.style import colour_of, name_of


def band(axis: Axes, curve: pd.DataFrame, label: str, colour: str, style: str = "-") -> None:
    """Draw means over seeds with their intervals, as `results.bands` gives them."""
    axis.plot(curve["epoch"], curve["mean"], style, color=colour, label=label)
    axis.fill_between(curve["epoch"], curve["low"], curve["high"], color=colour, alpha=0.2, lw=0)


def method_band(axis: Axes, curve: pd.DataFrame, method: str, style: str = "-") -> None:
    """Draw such a band in the name and the colour of a way to train."""
    band(axis, curve, name_of(method), colour_of(method), style)


def each_seed(axis: Axes, curves: pd.DataFrame, column: str, method: str) -> None:
    """Draw a thin line for every seed, as `results.curves` gives them."""
    for _, one in curves.groupby("seed"):
        axis.plot(one["epoch"], one[column], color=colour_of(method), lw=0.6, alpha=0.6)
