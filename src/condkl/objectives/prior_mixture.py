"""phi is trained on v from the prior too."""

from dataclasses import dataclass

from torch import Tensor

from condkl.objectives import Objective
from condkl.vae import HierarchicalVAE, Tensors, Terms


@dataclass(frozen=True)
class PriorMixture(Objective):
    """phi follows ∇(R - C) at v from q(v|x) and at v from p(v) in equal parts; theta and omega follow the ELBO.

    phi's gradient is the sum of the two parts, not their mean: twice the gradient of the mixture, which Adam, that
    divides each coordinate by its own scale, does not see.

    Example:
        >>> import torch
        >>> model, x = HierarchicalVAE(latents=(2, 3), hidden=8), torch.zeros(5, 784)
        >>> noise = model.noise(x)
        >>> torch.equal(PriorMixture()(model, x, noise=noise).elbo, model(x, noise=noise).elbo)  # values stay
        True
    """

    def follow(self, model: HierarchicalVAE, x: Tensor, noise: Tensors, weight: Tensor | None) -> Terms:
        """As `Objective.follow` says; nothing is scheduled."""
        terms = model(x, noise=noise)
        # A standard normal draw is a draw from p(v). It is the one behind v as well: means do not see that.
        R, C = model.below(x, noise[0], noise[1:], freeze_model=True)
        return Terms(terms.R + (R - R.detach()), terms.A, terms.C + (C - C.detach()))


objective = PriorMixture()
