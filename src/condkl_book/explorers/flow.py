"""The explorer of starvation: the flow of the KL alone, chapter 3, under four ways to train."""

import math
from functools import cache
from itertools import product

import numpy as np
from scipy.integrate import odeint
from scipy.optimize import brentq

from condkl._checks import positive, unit_interval
from condkl.linear import starvation_law
from condkl_book.explorers.tables import Array, Axis, Control, Explorer, Panel, Series, slider

R_VALUES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4)
LAMBDA_VALUES = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
BEGINNINGS = ("the start", "misfit 1")
LEVEL = 1e-3
TIMES = np.logspace(-4, 4, 241)
_TENTHS = {"10⁻⁴": 1e-4, "10⁻²": 1e-2, "1": 1.0, "10²": 1e2, "10⁴": 1e4}
TIME_AXIS = Axis("time τ", 1e-4, 1e4, _TENTHS, log=True)
VARIANCE_AXIS = Axis("variance t² of q(v)", 3e-5, 3.0, {k: v for k, v in _TENTHS.items() if v <= 1}, log=True)
KL_AXIS = Axis("KL (nats)", 1e-4, 1e4, _TENTHS, log=True)


def trajectory(r: float, lam: float, time: Array) -> Array:
    """(log y, log E) at chosen times from y = 1, E = r for β = 1: (log y)' = 2 - 2y - 2λyE, (log E)' = -2y.

    The page needs well over a hundred of these. `dynamics.flow` takes about a second for each, this a hundredth of it.
    `time`, of shape (n,), increases from above 0; the result has shape (n, 2).
    """
    r, lam = float(positive("r", r)), unit_interval("lam", lam)

    def rates(_: float, z: Array) -> list[float]:
        y, yE = math.exp(z[0]), math.exp(z[0] + z[1])
        return [2 - 2 * y - 2 * lam * yE, -2 * y]

    start, until = [0.0, math.log(r)], np.append(0.0, time)
    return np.asarray(odeint(rates, start, until, tfirst=True, rtol=1e-9, atol=1e-9, mxstep=5000)[1:])


def after_misfit_one(r: float, lam: float, time: Array) -> Array:
    """`trajectory` with λ = 0 until the misfit is 1, at ½ log r, and the given λ from there."""
    switch = 0.5 * math.log(r)
    path = np.column_stack([np.zeros_like(time), math.log(r) - 2 * time])  # with λ = 0, y stays 1
    if (late := time > switch).any():
        path[late] = trajectory(1.0, lam, time[late] - switch)
    return path


def fisher_step(r: float, time: Array) -> Array:
    """(log y, log E) under a Fisher step for φ and the full gradient for θ: 1/y = 1 + 2rτ exp(-2τ), E = r exp(-2τ)."""
    return np.column_stack([-np.log1p(2 * r * time * np.exp(-2 * time)), math.log(r) - 2 * time])


def kl(path: Array) -> Array:
    """The KL in nats, ½(y - 1 - log y) + ½yE, along a path of (log y, log E)."""
    log_y, log_E = path.T
    return np.asarray(0.5 * (np.expm1(log_y) - log_y + np.exp(log_y + log_E)))


_law = cache(lambda r, lam: float(starvation_law(r, lam, LEVEL)))


def times_to_level(r: float, lam: float, switched: bool) -> dict[str, float]:
    """The time until the KL is below `LEVEL`, for each way to train by its name."""
    return {
        "full gradient": _law(r, 1.0),
        "eq. (9)": _law(r, 0.0),
        "Fisher step for φ": float(brentq(lambda tau: kl(fisher_step(r, np.array([tau])))[0] - LEVEL, 0, 50)),
        "your λ": 0.5 * math.log(r) + _law(1.0, lam) if switched else _law(r, lam),
    }


def flow() -> Explorer:
    """The variance of q(v) and the KL over the flow's time, under the misfit r at the start and a λ of choice."""
    positions = list(product(R_VALUES, LAMBDA_VALUES, range(len(BEGINNINGS))))
    own = [(after_misfit_one if begin else trajectory)(r, lam, TIMES) for r, lam, begin in positions]
    paths = {
        ("full gradient", "full", "line", ("r",)): [trajectory(r, 1.0, TIMES) for r in R_VALUES],
        ("eq. (9)", "modified", "line", ("r",)): [trajectory(r, 0.0, TIMES) for r in R_VALUES],
        ("Fisher step for φ", "exact", "dotted", ("r",)): [fisher_step(r, TIMES) for r in R_VALUES],
        ("your λ", "interpolated", "dashed", ("r", "lam", "begin")): own,
    }
    variances = tuple(
        Series(*look, tuple(np.column_stack([TIMES, np.exp(z[:, 0])]) for z in path)) for look, path in paths.items()
    )
    kls = tuple(  # the floor keeps a KL that rounds to 0 on a logarithmic axis
        Series("", *look[1:], tuple(np.column_stack([TIMES, np.maximum(kl(z), 1e-30)]) for z in path))
        for look, path in paths.items()
    )
    controls = (
        slider("r", "misfit r at the start", R_VALUES, opens=100.0, form=",.0f"),
        slider("lam", "your λ", LAMBDA_VALUES, opens=1.0),
        Control("begin", "your λ acts from", BEGINNINGS, 1, choice=True),
    )
    panels = (
        Panel("Variance of q(v) over time on logarithmic axes, four ways.", TIME_AXIS, VARIANCE_AXIS, variances),
        Panel("KL over time on logarithmic axes, the same four ways.", TIME_AXIS, KL_AXIS, kls),
    )
    return Explorer(controls, panels, tuple(_sentence(*position) for position in positions))


def _sentence(r: float, lam: float, begin: int) -> str:
    times = times_to_level(r, lam, switched=begin == 1)
    listed = ", ".join(f"{name} {time:,.{1 if time >= 10 else 2}f}" for name, time in times.items())
    return f"r = {r:,.0f}, λ = {lam:g} from {BEGINNINGS[begin]}. Time until the KL is below {LEVEL:g} nats: {listed}."
