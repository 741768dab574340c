"""The model follows each conditional KL faster than the posterior does: stop-gradients inside the KL."""

from dataclasses import dataclass

from torch import Tensor

from condkl._checks import unit_interval
from condkl.objectives import Objective
from condkl.switch import scale_gradient
from condkl.vae import Gaussian, HierarchicalVAE, Tensors, Terms


@dataclass(frozen=True)
class KLBalancing(Objective):
    """All parameters follow ∇(R - A - Σ_l (α KL[sg(q_l) || p_l] + (1 - α) KL[q_l || sg(p_l)])).

    Its two arguments meet a conditional KL with different weights, and layers above reach it through both. A has no
    second argument that learns, and is left as it is. At α = ½ this is the gradient of the ELBO with C at half weight.

    Source:
        Hafner et al. (2021), with their α = 0.8 (DreamerV2). What Vahdat & Kautz (2020) call KL balancing is another
        thing: weights of whole layers during a warm-up.

    Example:
        >>> import torch
        >>> model = HierarchicalVAE(latents=(2, 3), hidden=8)
        >>> KLBalancing(alpha=0.0)(model, torch.zeros(5, 784)).elbo.sum().backward()
        >>> any(p.grad is not None and bool(p.grad.any()) for p in model.p_u.parameters())  # only q is trained by C
        False
    """

    alpha: float = 0.8

    def __post_init__(self) -> None:
        unit_interval("alpha", self.alpha)

    def follow(self, model: HierarchicalVAE, x: Tensor, noise: Tensors, weight: Tensor | None) -> Terms:
        """As `Objective.follow` says; nothing is scheduled."""
        return model(x, noise=noise, kl=self._balanced)

    def _balanced(self, q: Gaussian, p: Gaussian) -> Tensor:
        return _scaled(q, 1 - self.alpha).kl_from(_scaled(p, self.alpha))


def _scaled(g: Gaussian, weight: float) -> Gaussian:
    return Gaussian(scale_gradient(g.mean, weight), scale_gradient(g.log_scale, weight))


objective = KLBalancing()
