"""How steady training was: what broke, what spiked, when a level was reached, how clear theta's gradient was.

Each is a number for every run, by its id, from its windows as `results.curves` gives them.
"""

import math
from collections.abc import Sequence

import pandas as pd


def broken(ends: pd.DataFrame, curves: pd.DataFrame, pixels: int = 784) -> pd.Series:
    """Whether a run diverged, or in a window's mean fell below guessing; `ends` is `results.frame` of the same runs.

    Guessing is the ELBO of a decoder that knows nothing, and gives each of so many pixels an even chance. A run that
    diverged in its first window has no row in the curves.
    """
    least = curves.groupby("run")["elbo"].min().reindex(ends["run"])
    low = (least < -pixels * math.log(2)).to_numpy()
    return pd.Series(ends["diverged_at"].notna().to_numpy() | low, ends["run"])


def first_place(ends: pd.DataFrame, rates: Sequence[float]) -> int:
    """The place among these learning rates of the first with a run that is `broken`, a column; their number if none."""
    places = [place for place, rate in enumerate(rates) if ends.loc[ends["learning_rate"] == rate, "broken"].any()]
    return min(places, default=len(rates))


def spikes(curves: pd.DataFrame, nats: float = 20.0, after: float = 1.0) -> pd.Series:
    """How many windows have a batch whose mean ELBO is that many nats below the window's, once `after` epochs are over.

    A batch of 100 images varies by 2 to 3 nats.
    """
    late = curves[curves["epoch"] > after]
    return (late["elbo"] - late["elbo_least"] > nats).groupby(late["run"]).sum()


def steps_to(curves: pd.DataFrame, level: float) -> pd.Series:
    """The last step of the first window whose mean ELBO reaches a level in nats; NaN where none does."""
    reached = curves[curves["elbo"] >= level].groupby("run")["step"].min()
    return reached.reindex(curves["run"].unique())


def noise(curves: pd.DataFrame, gradient: str) -> pd.Series:
    """The trace of the covariance of theta's gradient from one batch, a mean over windows.

    `gradient` is "full" or "modified": ∇(R - A - C), or that of eq. (9), ∇(R - A), at the same weights.
    """
    return curves.groupby("run")[f"noise_{gradient}"].mean()


def signal_to_noise(curves: pd.DataFrame, gradient: str) -> pd.Series:
    """The square of the mean gradient's norm over the trace of one batch's covariance, both as means over windows."""
    return curves.groupby("run")[f"signal_{gradient}"].mean() / noise(curves, gradient)


def signal_to_noise_of_n(curves: pd.DataFrame, gradient: str) -> pd.Series:
    """The mean square of the norm of theta's gradient over the mean variance that one sample of n adds to it.

    For runs that count by one sample of n, without a baseline.
    """
    squares = (curves[[f"pull_{gradient}", f"noise_n_{gradient}"]] ** 2).groupby(curves["run"]).mean()
    return squares[f"pull_{gradient}"] / squares[f"noise_n_{gradient}"]


def by_seed(curves: pd.DataFrame, values: pd.Series) -> pd.Series:
    """What is a number for each of these runs by its id, by its seed instead; each seed has one run."""
    return values.set_axis(curves.groupby("run")["seed"].first()[values.index]).sort_index()
