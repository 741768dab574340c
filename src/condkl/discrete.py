"""Starvation where v is discrete: two values, exactly, and the laws that it follows.

v is 0 or 1, with p(v=1) = p₁ and q(v=1) = q. Given v = 1, u ~ N(b, β) under q and N(F, β) under p; given v = 0 both
agree. With ℓ = log q/(1 - q), ℓ₀ = log p₁/(1 - p₁) and the misfit E = (b - F)²/β, whose half is c(1),

    KL = KL[q(v) || p(v)] + ½qE,    E' = -(2/β) q E,    ℓ' = -m q(1 - q) (ℓ - ℓ₀ + ½λE),

where λ weighs the conditional KL in theta's gradient: m = 1 if theta is the logit ℓ, 2 if it is one logit for each
value (softmax). The natural gradient has ℓ' = -(ℓ - ℓ₀ + ½λE). A continuous v waits for a time linear in the misfit at
the start (`condkl.linear.starvation_law`), a discrete one for an exponential.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

import numpy as np
from scipy.integrate import quad, solve_ivp
from scipy.special import expi, lambertw

from condkl._checks import unit_interval

#: What theta follows, that is one logit, one for each value, or the Fisher metric.
Flow = Literal["logit", "softmax", "natural"]
_SPEED = {"logit": 1.0, "softmax": 2.0}
_ROUNDED = 70.0


def two_state_time(
    r: float, lam: float, level: float, beta: float = 1.0, p1: float = 0.5, flow: Flow = "softmax"
) -> float:
    """The time until the misfit E has fallen from r to `level`, from q = ½, by integration of the flow.

    Args:
        r: E at the start, (F - b)²/β, above 0.
        lam: λ, the weight of the conditional KL in theta's gradient; 1 is the full gradient, 0 eq. (9).
        level: of E, below r.
        beta: β, the variance of u given v.
        p1: p(v=1).
        flow: a name from `Flow`.

    A ValueError says which argument is out of its range, or that λr is above 70 for the natural gradient, whose q at
    its balance is below the rounding of ℓ then.

    Example:
        >>> round(two_state_time(20.0, lam=1.0, level=0.2), 2), round(two_state_time(20.0, lam=0.0, level=0.2), 2)
        (25.26, 4.61)
    """
    _check(r, lam, level, beta, p1, flow)
    if flow == "natural" and lam * r > _ROUNDED:
        raise ValueError(f"r: expected lam * r up to {_ROUNDED:g} for 'natural', got {lam * r:g}. Use two_state_law.")
    start = math.log(p1 / (1 - p1))

    def change(s: float, state: np.ndarray) -> list[float]:
        """Of the logit and the time, in the clock ds = q dt, in which E is known and the end too."""
        q = 1 / (1 + math.exp(-state[0]))
        pull = state[0] - start + lam * r * math.exp(-2 * s / beta) / 2
        return [-pull * (1 / q if flow == "natural" else _SPEED[flow] * (1 - q)), 1 / q]

    end = beta / 2 * math.log(r / level)
    with _in_range(r):
        found = solve_ivp(change, (0.0, end), (0.0, 0.0), "LSODA", rtol=1e-9, atol=1e-11)
        assert found.success, found.message
        return float(found.y[1, -1])


def two_state_law(
    r: float, lam: float, level: float, beta: float = 1.0, p1: float = 0.5, flow: Flow = "softmax"
) -> float:
    r"""The time of `two_state_time` as a formula, for λr of 1 or more: its ratio to that tends to 1 as 1/r.

    For a flow of logits take the clock s in which phi moves freely, ds = q dt. There E = r e^(-2s/β), and L = ℓ + e^ℓ
    follows a linear equation, but for an e^ℓ that is small as soon as theta has left the start:

        L(s) = ℓ₀ + (1 - ℓ₀) e^(-ms) - ½λr m (e^(-2s/β) - e^(-ms)) / (m - 2/β),    T = ∫ (1 + e^(-ℓ(s))) ds.

    The natural gradient keeps q at its balance, which lies at ℓ₀ - ½λE, once it got there. On its way E falls by
    4 log 2 / (βλ) to r₀:

        T = ½β [log(r/level) + (Ei(½λr₀) - Ei(½λ level)) (1 - p₁)/p₁].

    Arguments as for `two_state_time`. Eq. (9) needs no law: q goes to p₁, and T to ½β log(r/level)/p₁.

    Example:
        >>> [round(two_state_law(r, lam=1.0, level=0.2) / two_state_time(r, lam=1.0, level=0.2), 3) for r in (20, 40)]
        [1.087, 1.031]
    """
    _check(r, lam, level, beta, p1, flow)
    start, end = math.log(p1 / (1 - p1)), beta / 2 * math.log(r / level)
    if lam * r < 1:
        raise ValueError(f"r: expected lam * r of 1 or more, where there is starvation, got {lam * r:g}.")
    if flow == "natural":
        late = r - 4 * math.log(2) / (beta * lam)
        if late <= level:
            raise ValueError(
                f"r: expected r - 4 log 2/(beta * lam) above level = {level:g} for 'natural', got {late:g}: q is not "
                "at its balance by then. Use two_state_time."
            )
        with _in_range(r):
            return end + beta / 2 * (1 - p1) / p1 * _finite(float(expi(lam * late / 2) - expi(lam * level / 2)))
    speed = _SPEED[flow]

    def wait(s: float) -> float:
        shifted = start + (1 - start) * math.exp(-speed * s) - lam * r / 2 * _kernel(s, speed, beta)
        return 1 + math.exp(-shifted + float(lambertw(math.exp(shifted)).real))  # e^(-ℓ), as ℓ = L - W(e^L)

    with _in_range(r):
        return float(quad(wait, 0, end, points=[end * share for share in (0.01, 0.1, 0.5)], limit=500)[0])


def starvation_exponent(beta: float = 1.0, flow: Flow = "softmax") -> float:
    """By which share of c(1) = ½r the log of the time grows: T ~ exp(share · ½λr), up to powers of r.

    1 for the natural gradient. For logits κ^(-κ/(κ-1)) with κ = 2/(βm), the speed of phi over that of theta: ¼ at 2,
    1/e at 1, and towards 1 where phi is slow.

    Example:
        >>> [round(starvation_exponent(flow=flow), 4) for flow in ("logit", "softmax", "natural")]
        [0.25, 0.3679, 1.0]
    """
    _check(2.0, 1.0, 1.0, beta, 0.5, flow)
    if flow == "natural":
        return 1.0
    ratio = 2 / (beta * _SPEED[flow])
    return math.exp(-1) if ratio == 1 else ratio ** (-ratio / (ratio - 1))


def _kernel(s: float, speed: float, beta: float) -> float:
    """M (e^(-κs) - e^(-ms)) / (m - κ) with κ = 2/β: how much of ½λr has reached the logit at s."""
    own = 2 / beta
    if math.isclose(own, speed, rel_tol=1e-9):
        return speed * s * math.exp(-speed * s)
    return speed * (math.exp(-own * s) - math.exp(-speed * s)) / (speed - own)


@contextmanager
def _in_range(r: float) -> Iterator[None]:
    """A ValueError where a time is beyond float64."""
    try:
        yield
    except OverflowError as error:
        raise ValueError(f"r: expected a misfit whose time float64 can hold, got {r:g}. Lower it.") from error


def _finite(value: float) -> float:
    if math.isinf(value):
        raise OverflowError
    return value


def _check(r: float, lam: float, level: float, beta: float, p1: float, flow: str) -> None:
    if flow not in get_args(Flow):
        raise ValueError(f"flow: expected one of {', '.join(get_args(Flow))}, got {flow!r}.")
    unit_interval("lam", lam)
    if not 0 < p1 < 1:
        raise ValueError(f"p1: expected a probability between 0 and 1, got {p1!r}.")
    if not (0 < beta < math.inf and 0 < level < r < math.inf):
        raise ValueError(f"r, level, beta: expected 0 < level < r and beta above 0, got {r!r}, {level!r}, {beta!r}.")
