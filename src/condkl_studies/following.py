"""What a step follows in a hierarchical VAE, and what the record has of it."""

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from condkl.gradients import term_gradients
from condkl.objectives import Objective
from condkl.vae import HierarchicalVAE, Terms
from condkl_studies import batches
from condkl_studies.models import Trainable


class Following(Trainable):
    """A hierarchical VAE that follows an objective; phi's learning rate is `phi_rate` times that of the others."""

    def __init__(self, objective: Objective, phi_rate: float = 1.0) -> None:
        self.objective, self.phi_rate = objective, phi_rate

    def columns(self, model: nn.Module) -> tuple[str, ...]:
        """Those of `columns`."""
        return ("elbo", "R", "A", *(f"C{i}" for i in range(1, len(hierarchical(model).latents))))

    def row(self, model: nn.Module, means: Tensor) -> dict[str, float]:
        """As `summary` has it."""
        return _named(means)

    def turned(self, model: nn.Module) -> list[nn.Parameter]:
        """The first matrices of q(v|x) and q(u|x,v)."""
        own = hierarchical(model)
        return [net.parts[0].weight for net in (own.q_v, *own.q_u)]

    def draws(self, model: nn.Module, shape: tuple[int, int], generator: torch.Generator) -> tuple[Tensor, ...]:
        """Noise for each layer, on the generator's device."""
        return batches.normal(shape, hierarchical(model).latents, generator, next(model.parameters()).dtype)

    def weights(self, progress: float) -> list[float]:
        """The objective's scheduled number."""
        return [self.objective.weight(progress)]

    def multiples(self, model: nn.Module) -> list[tuple[float, int | None]]:
        """Phi's is `phi_rate`."""
        phi = {id(p) for p in hierarchical(model).phi()}
        return [(self.phi_rate if id(p) in phi else 1.0, None) for p in model.parameters()]

    def loss(self, model: nn.Module, x: Tensor, drawn: Sequence[Tensor], weights: Tensor) -> tuple[Tensor, Tensor]:
        """The negative mean ELBO, with the objective's gradient."""
        terms = self.objective(hierarchical(model), x, noise=drawn, weight=weights[0])
        return -terms.elbo.mean(), columns(terms).detach()

    def pulls(self, model: nn.Module, x: Tensor, generator: torch.Generator) -> dict[str, float]:
        """What `gradient_record` gives; a ValueError if theta is frozen."""
        _check_theta("gradient_batches", hierarchical(model))
        return gradient_record(hierarchical(model), x, generator)

    def noise(self, model: nn.Module, batches: Sequence[Tensor], generator: torch.Generator) -> dict[str, float]:
        """What `noise_record` gives; a ValueError if theta is frozen."""
        _check_theta("noise_batches", hierarchical(model))
        return noise_record(hierarchical(model), batches, generator)


def hierarchical(model: nn.Module) -> HierarchicalVAE:
    """The model as what it is."""
    return cast(HierarchicalVAE, model)


def _check_theta(name: str, model: HierarchicalVAE) -> None:
    if not all(p.requires_grad for p in model.theta()):
        raise ValueError(f"{name}: expected 0 where parameters of theta are frozen. They have no gradient to record.")


def columns(terms: Terms) -> Tensor:
    """Means over the images of elbo, R, A and each C_l, shape (2 + L,)."""
    return torch.cat([torch.stack([terms.elbo, terms.R, terms.A]).mean(-1), terms.C.mean(0)])


def summary(terms: Terms) -> dict[str, float]:
    """Means over the images, in nats: elbo, R, A, C, and C1, C2, … where there are several conditional KLs."""
    return _named(columns(terms))


def gradient_record(model: HierarchicalVAE, x: Tensor, generator: torch.Generator) -> dict[str, float]:
    """What pulls on theta at this batch, x of shape (n, pixels).

    The norms `norm_R`, … of the gradients of the mean terms, the cosines `cos_RA`, … between them, and `gain_modified`,
    the first-order change of the batch ELBO along theta's direction under eq. (9).
    """
    pulls = term_gradients(model, x, generator)
    norms = {f"norm_{name}": value for name, value in pulls.norms().items()}
    cosines = {f"cos_{name}": value for name, value in pulls.cosines().items()}
    return norms | cosines | {"gain_modified": pulls.first_order_gain(0.0)}


def noise_record(model: HierarchicalVAE, batches: Sequence[Tensor], generator: torch.Generator) -> dict[str, float]:
    """How clear a batch makes theta's gradient, under the full gradient and under eq. (9), from k batches, k > 1.

    `noise_full` is the trace of the covariance of one batch's gradient of R - A - C, and `signal_full` the square of
    its mean's norm without bias, ‖mean‖² - noise/k, which noise may make negative. `noise_modified` and
    `signal_modified` are those of R - A. Each of the batches has shape (n, pixels).
    """
    pulls = [term_gradients(model, x, generator) for x in batches]
    R, A, C = (torch.stack([getattr(one, name) for one in pulls]) for name in ("R", "A", "C"))
    found: dict[str, float] = {}
    for name, each in (("full", R - A - C), ("modified", R - A)):
        noise = float(each.var(0).sum())
        found |= {f"signal_{name}": float(each.mean(0).square().sum()) - noise / len(each), f"noise_{name}": noise}
    return found


def _named(columns: Tensor) -> dict[str, float]:
    elbo, R, A, *C = columns.detach().tolist()
    means = {"elbo": elbo, "R": R, "A": A, "C": math.fsum(C)}
    return means | ({f"C{i}": c for i, c in enumerate(C, 1)} if len(C) > 1 else {})
