"""How long and how fast to train."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from condkl._checks import at_least_one, at_least_zero


def _in_stages(count: int) -> Callable[[float], float]:
    """Stage i = 0, 1, … of so many lasts 3^i epochs at 10^(-i/7) of the rate: Burda, Grosse & Salakhutdinov (2015)."""
    ends = [(3 ** (stage + 1) - 1) // 2 for stage in range(count)]  # in epochs: 1, 4, 13, 40, 121, 364, 1,093, 3,280

    def share(progress: float) -> float:
        over = round(progress * ends[-1], 6)  # a step of the longest is 1e-4 epochs, what rounding adds 1e-12
        return float(10 ** (-sum(over >= end for end in ends[:-1]) / 7))

    return share


#: The learning rate as a share of the one at the start, by the share of the training that is over. Those in stages are
#: the published protocol, eight, and its first six and seven, which are a ninth and a third as long.
SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda progress: 1.0,
    "cosine": lambda progress: 0.5 * (1 + math.cos(math.pi * progress)),
    "six_stages": _in_stages(6),
    "seven_stages": _in_stages(7),
    "eight_stages": _in_stages(8),
}


@dataclass(frozen=True)
class TrainingConfig:
    """How long and how fast to train.

    Attributes:
        steps: how many batches.
        batch_size: images a batch; the rest of an epoch that does not fill a batch is left out.
        learning_rate: Adam's, at the start.
        schedule: how the learning rate goes on, a name from `SCHEDULES`.
        phi_rate: phi's learning rate as a multiple of that of the other parameters.
        every: steps in a window: a row of the record each. The randomness is drawn by windows, so that another number
            makes another run.
        gradient_batches: how many of a window's last batches, joined to one, the record's gradients of R, A and C on
            theta are taken on; 0 for none. They use noise of their own, so that the training is the same.
        noise_batches: how many of a window's last batches, each alone, the record's signal and noise of theta's
            gradient are taken on, as `noise_record` gives them; 0 for none. A row then has its worst batch too.

    An unknown schedule or a number that does not make sense is a ValueError.
    """

    steps: int
    batch_size: int = 100
    learning_rate: float = 1e-3
    schedule: str = "constant"
    phi_rate: float = 1.0
    every: int = 50
    gradient_batches: int = 0
    noise_batches: int = 0

    def __post_init__(self) -> None:
        for name, count in (
            *dict.fromkeys(("steps", "batch_size", "every"), at_least_one).items(),
            *dict.fromkeys(("gradient_batches", "noise_batches"), at_least_zero).items(),
        ):
            object.__setattr__(self, name, count(name, getattr(self, name)))  # NumPy's numbers become Python's
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule: expected one of {', '.join(SCHEDULES)}, got {self.schedule!r}.")
        for name in ("learning_rate", "phi_rate"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ValueError(f"{name}: expected a number above 0, got {getattr(self, name)!r}.")
            object.__setattr__(self, name, float(getattr(self, name)))
        if (batches := self.gradient_batches) > self.every:
            raise ValueError(f"gradient_batches: expected 0 to every={self.every} batches, got {batches!r}.")
        if (batches := self.noise_batches) != 0 and not 2 <= batches <= self.every:
            raise ValueError(f"noise_batches: expected 0, or 2 to every={self.every} batches, got {batches!r}.")

    @property
    def kept(self) -> int:
        """How many of a window's last batches the record's gradients need."""
        return max(self.gradient_batches, self.noise_batches)

    def window(self, start: int) -> range:
        """The steps of the window that begins at step `start`; the last one may be short."""
        return range(start, min(start + self.every, self.steps))

    def rate(self, progress: float) -> float:
        """The learning rate when the share `progress` of the training is over."""
        return self.learning_rate * SCHEDULES[self.schedule](progress)
