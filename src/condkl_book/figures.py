"""Parts of the figures that show recorded runs."""

import math

import pandas as pd
from matplotlib.axes import Axes

from condkl_book.style import colour_of, name_of


def kl_axis(axis: Axes, top: float, linear: float = 0.1) -> None:
    """Let the vertical axis show KLs in nats from zero: linear where a layer is lost, then logarithmic."""
    axis.set_yscale("symlog", linthresh=linear, linscale=0.6)
    axis.set_ylim(0, top)
    ticks = [0, *(linear * 10**k for k in range(math.ceil(math.log10(top / linear))))]
    axis.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.minorticks_off()


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
