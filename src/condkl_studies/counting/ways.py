"""The ways of training: which weight each parameter gives to each term, and when."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, cast

from condkl._checks import share
from condkl.objectives import Interpolated, canonical, objective


class Weights(NamedTuple):
    """What the terms weigh at some moment of the training: 1 is the gradient of the ELBO.

    theta follows ∇(R - a_theta · A - c_theta · C), with its learning rate times `rate_theta`; phi and omega follow
    ∇(R - c_phi · C).
    """

    c_theta: float = 1.0
    c_phi: float = 1.0
    a_theta: float = 1.0
    rate_theta: float = 1.0


#: What the scheduled ways give by the share of their own time that is over, from 0 to 1.
SCHEDULED: dict[str, Callable[[float], Weights]] = {
    "lambda_warm_up": lambda risen: Weights(c_theta=risen),
    "modified_start": lambda risen: Weights(c_theta=float(risen == 1)),
    "kl_warm_up": lambda risen: Weights(risen, risen, risen),
    "conditional_warm_up": lambda risen: Weights(risen, risen),
    "frozen_count": lambda risen: Weights(rate_theta=float(risen == 1)),
}


@dataclass(frozen=True)
class Way:
    """A way of training by name.

    "full" is the gradient of the ELBO, "modified" eq. (9) and "lambda=0.5" what lies between them: theta sees C with
    weight λ. Of the others each comes to the full gradient at the share `until` of the training:

    - "lambda_warm_up": λ rises from 0 to 1;
    - "modified_start": λ is 0 until then;
    - "kl_warm_up": the weight of A and C for all parameters rises from 0 to 1;
    - "conditional_warm_up": that of C alone does;
    - "frozen_count": q(n|x) stays where it starts, at p(n), until then.

    A ValueError says that there is no such way, or that `until`, in (0, 1], is missing or of no use.
    """

    name: str
    until: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", canonical(self.name))
        if self.name in SCHEDULED:
            if self.until is None:
                raise ValueError(f"until: expected a share of the training for {self.name!r}, got None.")
            share("until", self.until)
        elif self.until is not None:
            raise ValueError(f"until: expected None for {self.name!r}, which has no schedule, got {self.until!r}.")
        elif _fixed(self.name) is None:
            known = ", ".join(["full", "modified", "lambda=0.5 and the like", *SCHEDULED])
            raise ValueError(f"objective: expected one of {known}, got {self.name!r}.")

    def at(self, progress: float) -> Weights:
        """The weights when the share `progress` of the training is over."""
        if self.until is not None:
            return SCHEDULED[self.name](min(1.0, progress / self.until))
        return Weights(cast(float, _fixed(self.name)))


def _fixed(name: str) -> float | None:
    """λ of the objective of that name, or None if it is none that has a fixed λ alone."""
    try:
        found = objective(name)
    except ValueError:
        return None
    return found.lam if isinstance(found, Interpolated) else None
