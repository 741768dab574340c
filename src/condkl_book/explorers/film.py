"""The explorer of starvation as a film: q(v) and the misfit that it sees, in three ways of training side by side."""

import math
from itertools import product

import numpy as np

from condkl_book.explorers.flow import KL_AXIS, fisher_step, kl, trajectory
from condkl_book.explorers.tables import Array, Axis, Control, Explorer, Panel, Series, whole_ticks

R_VALUES = (10.0, 100.0, 1000.0)
TIMES = np.logspace(-5, 3, 41)
V = np.linspace(-3, 3, 121)
V_AXIS = Axis("v", -3, 3, whole_ticks(-3, 3))
HEIGHT_AXIS = Axis("relative height", 0, 1.1, {"0": 0.0, "0.5": 0.5, "1": 1.0})
TIME_AXIS = Axis("time τ", 1e-5, 1e3, {"10⁻⁵": 1e-5, "10⁻³": 1e-3, "0.1": 0.1, "10": 10.0, "10³": 1e3}, log=True)
#: The ways of training with their colours, and the path of (log y, log E) from y = 1, E = r at chosen times.
WAYS = {
    "full gradient": ("full", lambda r, time: trajectory(r, 1.0, time)),
    "eq. (9)": ("modified", lambda r, time: trajectory(r, 0.0, time)),
    "Fisher step for φ": ("exact", fisher_step),
}


def film() -> Explorer:
    """The density of q(v) and the misfit c(v) under three ways of training, and their KL, over the flow's time."""
    both = ("r", "time")
    paths = {name: {r: path(r, TIMES) for r in R_VALUES} for name, (_, path) in WAYS.items()}
    prior = Series("prior p(v)", "muted", "dotted", (), (density(1.0),))
    panels = []
    for i, (name, (colour, _)) in enumerate(WAYS.items()):
        named = i == 0  # one entry of the legend stands for all three
        z = [(r, *paths[name][r][k]) for r, k in product(R_VALUES, range(len(TIMES)))]
        q = tuple(density(math.exp(log_y)) for _, log_y, _ in z)
        c = tuple(misfit(math.exp(log_E) / r) for r, _, log_E in z)
        series = (
            prior if named else prior._replace(name=""),
            Series("q(v)" if named else "", colour, "area", both, q),
            Series("misfit c(v)" if named else "", "muted", "line", both, c),
        )
        alt = f"{name[:1].upper()}{name[1:]}: the density of q(v) over v, and the misfit c(v)."
        panels.append(Panel(alt, V_AXIS, HEIGHT_AXIS, series, title=name, height=110))
    lines, dots = [], []
    for name, (colour, _) in WAYS.items():
        curves = tuple(np.column_stack([TIMES, np.maximum(kl(paths[name][r]), 1e-30)]) for r in R_VALUES)
        look = "dotted" if colour == "exact" else "line"
        lines.append(Series(name, colour, look, ("r",), curves))
        dots.append(Series("", colour, "dot", both, tuple(at[None] for curve in curves for at in curve)))
    alt = "KL over time on logarithmic axes under the three ways, with a dot at the time shown."
    panels.append(Panel(alt, TIME_AXIS, KL_AXIS, (*lines, *dots), title="KL over time", height=110))
    texts = tuple(np.format_float_positional(t, 2, fractional=False, trim="-") for t in TIMES)
    controls = (
        Control("r", "misfit r at the start", tuple(f"{r:,.0f}" for r in R_VALUES), 2, choice=True),
        Control("time", "time τ", texts, 28, seconds=8),
    )
    sentences = tuple(_sentence(r, k, texts[k], paths) for r, k in product(R_VALUES, range(len(TIMES))))
    return Explorer(controls, tuple(panels), sentences)


def density(y: float) -> Array:
    """The density of N(0, y) over v, shape (n, 2), as a share of its peak."""
    v = np.unique(np.concatenate([V, np.clip(math.sqrt(y) * V, -3, 3)]))  # also as fine as the density is narrow
    return np.column_stack([v, np.exp(-0.5 * v**2 / y)])


def misfit(share: float) -> Array:
    """c(v) = ½Ev² over v, shape (n, 2), as a share of what it is at the start at v = 3; `share` is E/r."""
    return np.column_stack([V, share * (V / 3) ** 2])


def _sentence(r: float, k: int, time: str, paths: dict[str, dict[float, Array]]) -> str:
    def told(name: str) -> str:
        path = paths[name][r][k : k + 1]
        numbers = *np.exp(path[0]), *kl(path)
        return f"{name[:1].upper()}{name[1:]}: {', '.join(map(_short, numbers))}."

    return f"r = {r:,.0f}, time {time}. Variance, misfit and KL (nats). {' '.join(map(told, WAYS))}"


def _short(value: float) -> str:
    """Two digits, or whole numbers; what is below 0.001 is told as that."""
    if value < 1e-3:
        return "below 0.001"
    return f"{value:,.0f}" if value >= 100 else np.format_float_positional(value, 2, fractional=False, trim="-")
