"""What each parameter follows: the full gradient of the ELBO, eq. (9), and all that lies between.

An objective leaves every value of the ELBO's terms as it is and changes only the gradient: theta, the parameters
of q(v|x), follows ∇(R - A - λC) instead of ∇(R - A - C), while phi and omega follow the ELBO. It does so by
scaling the path on which the conditional KL, C, reaches theta through v. With more than two layers every posterior
is in theta's place for the conditional KLs of the layers below it: they reach it with weight λ, and its own with 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from condkl._checks import unit_interval
from condkl.vae import HierarchicalVAE, Terms


def scale_path(v: Tensor, lam: float) -> Tensor:
    """v_λ = sg(v) + λ(v - sg(v)): the value of v to the last bit, λ times its gradient.

    λv + (1 - λ)sg(v) has the same gradient, but rounds the value.

    Args:
        v: any shape.
        lam: λ in [0, 1].
    """
    stopped = v.detach()
    if lam == 0:  # a cut path, rather than zeros to carry along it
        return stopped
    return stopped + lam * (v - stopped)


@dataclass(frozen=True)
class Interpolated:
    """theta follows ∇(R - A - λC): λ = 1 is the full gradient, λ = 0 is eq. (9).

    The plain gradient path is used at λ = 1, and a cut one at λ = 0. With several layers each conditional KL
    scales its direct inputs once, so that every ancestor gets weight λ, and not λ to the number of hops.

    Args:
        lam: λ, from 0 to 1.

    Raises:
        ValueError: if `lam` is not a number in [0, 1].

    Source:
        Kosiorek (2017), eqs. (7) and (9).

    Example:
        >>> model = HierarchicalVAE(latents=(2, 3), hidden=8)
        >>> terms = modified(model, torch.zeros(5, 784))
        >>> loss = -terms.elbo.mean()
    """

    lam: float

    def __post_init__(self) -> None:
        unit_interval("lam", self.lam)

    def __call__(
        self,
        model: HierarchicalVAE,
        x: Tensor,
        generator: torch.Generator | None = None,
        noise: Sequence[Tensor] | None = None,
    ) -> Terms:
        """The terms of the ELBO of `model` on x, shape (n, pixels), with this objective's gradient."""
        if self.lam == 1:
            return model(x, generator, noise)
        return model(x, generator, noise, lambda v: scale_path(v, self.lam))


full = Interpolated(1.0)
modified = Interpolated(0.0)
interpolated = Interpolated

OBJECTIVES: dict[str, Interpolated] = {"full": full, "modified": modified}


def objective(name: str) -> Interpolated:
    """The objective of that name.

    Raises:
        ValueError: if the name is unknown; the error lists the known ones.
    """
    if name not in OBJECTIVES:
        raise ValueError(f"objective: expected one of {', '.join(OBJECTIVES)}, got {name!r}.")
    return OBJECTIVES[name]
