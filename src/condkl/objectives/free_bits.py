"""A layer uses some nats without a gradient against it."""

import math
from dataclasses import dataclass

from torch import Tensor

from condkl._checks import unit_interval
from condkl.objectives import Interpolated, Objective
from condkl.switch import scale_gradient
from condkl.vae import HierarchicalVAE, Tensors, Terms


@dataclass(frozen=True)
class FreeBits(Objective):
    """All parameters follow ∇(R - max(A, nats) - Σ_l max(C_l, nats)), with A and C_l as means over the batch.

    Without `below` only A has free nats. With `lam`, λ, posteriors meet the C_l of layers below theirs as in
    `Interpolated`.

    Source:
        Kingma et al. (2016), with one group per layer.

    Example:
        >>> import torch
        >>> model = HierarchicalVAE(latents=(2, 3), hidden=8)
        >>> FreeBits(nats=1e9)(model, torch.zeros(5, 784)).elbo.sum().backward()
        >>> any(bool(p.grad.any()) for p in model.p_u.parameters())  # no KL is above that: p(u|v) is not trained
        False
    """

    nats: float = 3.0
    below: bool = True
    lam: float = 1.0

    def __post_init__(self) -> None:
        unit_interval("lam", self.lam)
        if not (math.isfinite(self.nats) and self.nats >= 0):
            raise ValueError(f"nats: expected a finite number of at least 0, got {self.nats}. 0 is the full gradient.")

    def follow(self, model: HierarchicalVAE, x: Tensor, noise: Tensors, weight: Tensor | None) -> Terms:
        """As `Objective.follow` says; nothing is scheduled."""
        terms = Interpolated(self.lam).follow(model, x, noise, None)
        return Terms(terms.R, self._above(terms.A), self._above(terms.C) if self.below else terms.C)

    def _above(self, kl: Tensor) -> Tensor:
        return scale_gradient(kl, (kl.mean(0) > self.nats).to(kl.dtype))


objective = FreeBits()
