"""λ rises from 0, eq. (9), to 1, the full gradient, over the first half of the training."""

from dataclasses import dataclass

from torch import Tensor

from condkl._checks import share, unit_interval
from condkl.objectives import Objective
from condkl.switch import scale_gradient
from condkl.vae import HierarchicalVAE, Tensors, Terms


@dataclass(frozen=True)
class LambdaSchedule(Objective):
    """theta follows ∇(R - A - λC) with λ moving linearly, as from 0, eq. (9), to 1, the full gradient.

    λ is `first` at the start and `last` from the share `until` of the training on, in (0, 1].

    Example:
        >>> LambdaSchedule().weight(0.25)  # halfway to `until`
        0.5
    """

    first: float = 0.0
    last: float = 1.0
    until: float = 0.5

    def __post_init__(self) -> None:
        for name in ("first", "last"):
            unit_interval(name, getattr(self, name))
        share("until", self.until)

    def follow(self, model: HierarchicalVAE, x: Tensor, noise: Tensors, weight: Tensor | None) -> Terms:
        """As `Objective.follow` says; the weight is λ."""
        lam = self.last if weight is None else weight
        return model(x, noise=noise, path=lambda v: scale_gradient(v, lam))

    def weight(self, progress: float) -> float:
        """λ."""
        risen = min(1.0, progress / self.until)
        return (1 - risen) * self.first + risen * self.last


objective = LambdaSchedule()
