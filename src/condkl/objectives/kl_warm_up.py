"""The weight of all KL terms rises from 0 to 1 over the first quarter of the training."""

from dataclasses import dataclass

from torch import Tensor

from condkl._checks import share, unit_interval
from condkl.objectives import Interpolated, Objective
from condkl.switch import scale_gradient
from condkl.vae import HierarchicalVAE, Tensors, Terms


@dataclass(frozen=True)
class KLWarmUp(Objective):
    """All parameters follow ∇(R - w(A + C)), w rising linearly from 0 to 1 at the share `until` of the training.

    With `lam`, λ, theta follows ∇(R - w(A + λC)), and layers between are as in `Interpolated`.

    Source:
        Sønderby et al. (2016).

    Example:
        >>> [KLWarmUp(until=0.5).weight(progress) for progress in (0.0, 0.25, 0.5, 1.0)]
        [0.0, 0.5, 1.0, 1.0]
    """

    until: float = 0.25
    lam: float = 1.0

    def __post_init__(self) -> None:
        share("until", self.until)
        unit_interval("lam", self.lam)

    def follow(self, model: HierarchicalVAE, x: Tensor, noise: Tensors, weight: Tensor | None) -> Terms:
        """As `Objective.follow` says; the weight is w."""
        terms = Interpolated(self.lam).follow(model, x, noise, None)
        if weight is None:
            return terms
        return Terms(terms.R, scale_gradient(terms.A, weight), scale_gradient(terms.C, weight))

    def weight(self, progress: float) -> float:
        """The weight of the KL terms."""
        return min(1.0, progress / self.until)


objective = KLWarmUp()
