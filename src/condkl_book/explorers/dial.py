"""The explorer of λ: what is left of the upper layer, and what it costs, in linear theory and in the recorded runs."""

import math

import numpy as np
import torch

from condkl.learned import log_evidence, upper_kl
from condkl.linear import elbo_gap, fixed_point_F2
from condkl_book.explorers.tables import Array, Axis, Explorer, Panel, Series, slider
from condkl_studies.results import Interval, frame, interval, minus, where

LAMBDA_VALUES = tuple(k / 20 for k in range(21))
#: The linear model has so many equal units, each with its own direction of x, of variance S.
UNITS, S, BETA, SIGMA2 = 20, 1.6, 0.5, 0.5
#: Recorded weights λ by the method's name, in the order of λ.
METHODS = {"modified": 0.0, "lambda=0.5": 0.5, "lambda=0.7": 0.7, "lambda=0.9": 0.9, "full": 1.0}
DECODERS = {"p(x|u)": ("exact", "point", -0.008), "p(x|u,v)": ("muted", "square", 0.008)}  # with a shift to the side
Found = dict[tuple[str, str], Interval]  # by decoder and method
_TICKS = {"0": 0.0, "0.5": 0.5, "1": 1.0}
LAMBDA_AXIS = Axis("λ", -0.03, 1.03, _TICKS)
SHARE_AXIS = Axis("A, share of the full gradient's", -0.05, 1.2, _TICKS)
ELBO_AXIS = Axis("ELBO minus full gradient's (nats)", -2.4, 0.3, {"−2": -2.0, "−1": -1.0, "0": 0.0})


def dial() -> Explorer:
    """The upper layer's A and the ELBO against λ, both beside the full gradient's, with dots at your λ."""
    share, cost = fixed_decoder(torch.tensor(LAMBDA_VALUES, dtype=torch.float64))
    fine = torch.linspace(0, 1, 201, dtype=torch.float64)
    shares, costs = recorded()
    # A learned decoder: no layer below 1, any part of it at 1, and the evidence of the best Gaussian throughout.
    lost, same = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]), np.array([[0.0, 0.0], [1.0, 0.0]])
    left = _series(lost, _curve(fine, fixed_decoder(fine)[0]), _curve(LAMBDA_VALUES, share), shares)
    right = _series(same, _curve(fine, fixed_decoder(fine)[1]), _curve(LAMBDA_VALUES, cost), costs)
    shown = "against λ: two linear theories as lines, two decoders on MNIST as points with intervals."
    panels = (
        Panel(f"What is left of A {shown}", LAMBDA_AXIS, SHARE_AXIS, left),
        # The legend of the left panel stands for both.
        Panel(f"The ELBO lost {shown}", LAMBDA_AXIS, ELBO_AXIS, tuple(one._replace(name="") for one in right)),
    )
    positions = zip(LAMBDA_VALUES, share, cost, strict=True)
    sentences = tuple(_sentence(*position, shares, costs) for position in positions)
    return Explorer((slider("lam", "λ", LAMBDA_VALUES, opens=0.5),), panels, sentences)


def _series(learned: Array, fixed: Array, here: Array, found: Found) -> tuple[Series, ...]:
    """The two theories, the recorded points with their intervals, and a dot on the theory at each position."""
    series = [
        Series("linear, learned decoder", "other", "dashed", (), (learned,)),
        Series("linear, fixed decoder", "interpolated", "line", (), (fixed,)),
    ]
    for decoder, (colour, look, shift) in DECODERS.items():
        values = {lam + shift: found[decoder, method] for method, lam in METHODS.items()}
        bars = [row for x, one in values.items() for row in ((x, one.low), (x, one.high), (math.nan, math.nan))]
        means = np.array([(x, one.mean) for x, one in values.items()])
        series.append(Series("", colour, "line", (), (np.array(bars),)))
        series.append(Series(f"recorded, {decoder}", colour, look, (), (means,)))
    return *series, Series("", "interpolated", "dot", ("lam",), tuple(dot[None] for dot in here))


def fixed_decoder(lam: torch.Tensor) -> tuple[Array, Array]:
    """What the linear layer of `UNITS` keeps of A, as a share, and its ELBO minus that at λ = 1 in nats, at each λ.

    The decoder is fixed to the identity, and F is where it ends for that λ.
    """
    A, elbo = zip(*(_unit(float(one)) for one in [*lam, 1.0]), strict=True)
    return np.array(A[:-1]) / A[-1], UNITS * (np.array(elbo[:-1]) - elbo[-1])


def _unit(lam: float) -> tuple[float, float]:
    """A and the ELBO of one unit at its fixed point, means over x of variance S."""
    one = torch.ones(1, 1, dtype=torch.float64)
    F = fixed_point_F2(S * one, BETA, SIGMA2, lam).sqrt()
    gap = elbo_gap(math.sqrt(S), F, BETA, SIGMA2, lam)  # of second degree in x, so that its mean is this
    return float(upper_kl(F, one, BETA, SIGMA2, S * one, lam)), float(log_evidence(F, one, BETA, SIGMA2, S * one) - gap)


def recorded() -> tuple[Found, Found]:
    """For each decoder and method the share of the full gradient's A, and the ELBO minus its, on the test images.

    Both are means over five seeds, each beside the run of the same seed, with 95% intervals. A RecordError names the
    command that makes the runs.
    """
    table = frame("main", "weights")
    table = table[table.data == "mnist"]
    shares: Found = {}
    costs: Found = {}
    for decoder in DECODERS:
        full = where(table, decoder=decoder, method="full").set_index("seed").A
        for method in METHODS:
            A = where(table, decoder=decoder, method=method).set_index("seed").A
            shares[decoder, method] = interval(A / full)
            costs[decoder, method] = minus(table, "elbo", method, decoder=decoder)
    return shares, costs


def _curve(x: object, y: Array) -> Array:
    return np.column_stack([np.asarray(x, float), y])


def _sentence(lam: float, share: float, cost: float, shares: Found, costs: Found) -> str:
    learned = "nothing stays" if lam < 1 else "any part may stay"
    theory = f"Linear, fixed decoder: {share:.0%} of A stays, ELBO {cost:z.2f} nats; learned: {learned}."
    runs = [
        f"{decoder} {100 * shares[decoder, method].mean:.0f} ± {100 * shares[decoder, method].half:.0f}%, "
        f"{costs[decoder, method]:.2f} nats"
        for method, weight in METHODS.items()
        if weight == lam < 1
        for decoder in DECODERS
    ]
    told = f" Recorded: {'; '.join(runs)}." if runs else ""
    return f"λ = {lam:g}. {theory}{told}".replace("-", "−")
