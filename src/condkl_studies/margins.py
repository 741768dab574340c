"""How far a number is from its bound, on which side: what judges return in place of a bare yes or no where they can."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import ArrayLike

from condkl_studies.results import Interval


@dataclass(frozen=True)
class Margin:
    """Whether a bound is met, and the distance to it, above zero where it is.

    The unit is the size of the bound, or half the interval where the bound is that an interval lies on one side of
    zero. Of several bounds the nearest counts, `one & other`.
    """

    held: bool
    size: float

    def __bool__(self) -> bool:
        return self.held

    def __and__(self, other: "Margin") -> "Margin":
        return Margin(self.held and other.held, min(self.size, other.size))

    def __invert__(self) -> "Margin":
        return Margin(not self.held, -self.size)


def every(margins: Iterable[Margin]) -> Margin:
    """All of them: held if each is, as near as the nearest."""
    return reduce(Margin.__and__, margins)


def below(values: ArrayLike, bound: float, unit: float | None = None) -> Margin:
    """All values are below a bound. The unit is the size of the bound, unless another one is given.

    Example:
        >>> below([0.02, 0.05], 0.1)
        Margin(held=True, size=0.5)
    """
    largest = float(np.max(np.asarray(values, float)))
    return Margin(bool(largest < bound), _in_units(bound - largest, abs(bound) if unit is None else unit))


def above(values: ArrayLike, bound: float) -> Margin:
    """All values are above a bound."""
    return below(-np.asarray(values, float), -bound)


def between(values: ArrayLike, low: float, high: float) -> Margin:
    """All values are between two bounds, or at one; the unit is half of what lies between them."""
    found = np.asarray(values, float)
    nearest = float(min(np.min(found) - low, high - np.max(found)))
    return Margin(nearest >= 0, nearest / ((high - low) / 2))


def at_least(count: float, wanted: int) -> Margin:
    """A count reaches a bound of 1 or more, which lies half of one below it."""
    return Margin(bool(count >= wanted), (float(count) - wanted + 0.5) / wanted)


def at_most(count: float, allowed: int) -> Margin:
    """A count does not exceed a bound, which lies half of one above it."""
    return Margin(bool(count <= allowed), (allowed + 0.5 - float(count)) / max(allowed, 1))


def none(counts: ArrayLike) -> Margin:
    """All counts are zero: there is no nearer or farther, unless one is not."""
    largest = float(np.max(np.asarray(counts, float)))
    return Margin(largest == 0, math.inf if largest == 0 else -largest)


def lower(gap: Interval) -> Margin:
    """An interval lies below zero."""
    return Margin(bool(gap.high < 0), _in_units(-gap.high, gap.half))


def higher(gap: Interval) -> Margin:
    """An interval lies above zero."""
    return Margin(bool(gap.low > 0), _in_units(gap.low, gap.half))


def _in_units(distance: float, unit: float) -> float:
    if not unit:  # seeds that all agree: as far as can be, on the one side or the other
        return math.inf if distance > 0 else -math.inf
    return float(distance / unit)
