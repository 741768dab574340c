"""What each parameter follows: the full gradient of the ELBO, eq. (9), all that lies between, and the cures.

An objective leaves every value of the ELBO's terms as it is and changes only their gradients: with eq. (9) theta,
the parameters of q(v|x), follows ∇(R - A) instead of ∇(R - A - C), while phi and omega follow the ELBO. Losing a
gradient without losing the value is what `scale_path` does, on the path on which the conditional KL, C, reaches
theta through v. With more than two layers every posterior is in theta's place for the conditional KLs of the layers
below it: they reach it with weight λ, and its own with 1.
"""

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from condkl._checks import share, unit_interval
from condkl.vae import HierarchicalVAE, Terms


def scale_path(v: Tensor, lam: float | Tensor) -> Tensor:
    """v_λ = sg(v) + λ(v - sg(v)): the value of v to the last bit, λ times its gradient.

    λv + (1 - λ)sg(v) has the same gradient, but rounds the value.

    Args:
        v: any shape.
        lam: λ in [0, 1]; a tensor where λ changes while a compiled step stays as it is.

    Example:
        >>> v = torch.tensor(3.0, requires_grad=True)
        >>> (scale_path(v, 0.5) ** 2).backward()
        >>> v.grad  # half of 6
        tensor(3.)
    """
    stopped = v.detach()
    if not isinstance(lam, Tensor) and lam == 0:  # a cut path, rather than zeros to carry along it
        return stopped
    return stopped + lam * (v - stopped)


class Objective(ABC):
    """One way of training: a subclass says how the terms get their gradient, and what is scheduled.

    Example:
        >>> class Reconstruction(Objective):
        ...     def follow(self, model, x, noise, weight):
        ...         terms = model(x, noise=noise)
        ...         return Terms(terms.R, terms.A.detach(), terms.C.detach())
        >>> Reconstruction()(HierarchicalVAE(latents=(2, 3), hidden=8), torch.zeros(5, 784)).elbo.shape
        torch.Size([5])
    """

    def __call__(
        self,
        model: HierarchicalVAE,
        x: Tensor,
        generator: torch.Generator | None = None,
        noise: Sequence[Tensor] | None = None,
        weight: Tensor | None = None,
    ) -> Terms:
        """The terms of the ELBO of `model` on x, shape (n, pixels), with this objective's gradient.

        Args:
            model: the model.
            x: binary images as floats.
            generator, noise: as `HierarchicalVAE.forward` takes them.
            weight: the scheduled number, a tensor without dimensions; None stands for its value at the end.
        """
        return self.follow(model, x, model.noise(x, generator) if noise is None else noise, weight)

    @abstractmethod
    def follow(self, model: HierarchicalVAE, x: Tensor, noise: Sequence[Tensor], weight: Tensor | None) -> Terms:
        """What a call returns, at given noise."""

    def weight(self, progress: float) -> float:
        """The scheduled number when the share `progress` of the training is over; 1 where nothing is scheduled."""
        return 1.0


@dataclass(frozen=True)
class Interpolated(Objective):
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

    def follow(self, model: HierarchicalVAE, x: Tensor, noise: Sequence[Tensor], weight: Tensor | None) -> Terms:
        """As `Objective.follow` says; nothing is scheduled."""
        if self.lam == 1:
            return model(x, noise=noise)
        return model(x, noise=noise, path=lambda v: scale_path(v, self.lam))


@dataclass(frozen=True)
class LambdaSchedule(Objective):
    """theta follows ∇(R - A - λC) with λ moving linearly, as from 0, eq. (9), to 1, the full gradient.

    Args:
        first: λ at the start.
        last: λ from the share `until` of the training on.
        until: in (0, 1].

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

    def follow(self, model: HierarchicalVAE, x: Tensor, noise: Sequence[Tensor], weight: Tensor | None) -> Terms:
        """As `Objective.follow` says; the weight is λ."""
        lam = self.last if weight is None else weight
        return model(x, noise=noise, path=lambda v: scale_path(v, lam))

    def weight(self, progress: float) -> float:
        """λ."""
        risen = _ramp(progress, self.until)
        return (1 - risen) * self.first + risen * self.last


@dataclass(frozen=True)
class KLWarmUp(Objective):
    """All parameters follow ∇(R - w(A + C)) with w rising linearly from 0 to 1.

    Args:
        until: the share of the training after which w is 1, in (0, 1].

    Source:
        Sønderby et al. (2016).

    Example:
        >>> [KLWarmUp(until=0.5).weight(progress) for progress in (0.0, 0.25, 0.5, 1.0)]
        [0.0, 0.5, 1.0, 1.0]
    """

    until: float = 0.25

    def __post_init__(self) -> None:
        share("until", self.until)

    def follow(self, model: HierarchicalVAE, x: Tensor, noise: Sequence[Tensor], weight: Tensor | None) -> Terms:
        """As `Objective.follow` says; the weight is w."""
        terms = model(x, noise=noise)
        return terms if weight is None else Terms(terms.R, scale_path(terms.A, weight), scale_path(terms.C, weight))

    def weight(self, progress: float) -> float:
        """The weight of the KL terms."""
        return _ramp(progress, self.until)


@dataclass(frozen=True)
class FreeBits(Objective):
    """All parameters follow ∇(R - max(A, nats) - Σ_l max(C_l, nats)), with A and C_l as means over the batch.

    Args:
        nats: how much each layer may use without a gradient against it.

    Source:
        Kingma et al. (2016), with one group per layer.

    Example:
        >>> model = HierarchicalVAE(latents=(2, 3), hidden=8)
        >>> FreeBits(nats=1e9)(model, torch.zeros(5, 784)).elbo.sum().backward()
        >>> any(bool(p.grad.any()) for p in model.p_u.parameters())  # no KL is above that: p(u|v) is not trained
        False
    """

    nats: float = 3.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.nats) and self.nats >= 0):
            raise ValueError(
                f"nats: expected a finite number of at least 0, got {self.nats!r}. 0 is the full gradient."
            )

    def follow(self, model: HierarchicalVAE, x: Tensor, noise: Sequence[Tensor], weight: Tensor | None) -> Terms:
        """As `Objective.follow` says; nothing is scheduled."""
        terms = model(x, noise=noise)
        return Terms(terms.R, self._above(terms.A), self._above(terms.C))

    def _above(self, kl: Tensor) -> Tensor:
        return scale_path(kl, (kl.mean(0) > self.nats).to(kl.dtype))


@dataclass(frozen=True)
class PriorMixture(Objective):
    """phi follows ∇(R - C) at v from q(v|x) and at v from p(v) in equal parts; theta and omega follow the ELBO.

    phi's gradient is the sum of the two parts, not their mean: twice the gradient of the mixture, which Adam, that
    divides each coordinate by its own scale, does not see.

    Example:
        >>> model, x = HierarchicalVAE(latents=(2, 3), hidden=8), torch.zeros(5, 784)
        >>> noise = model.noise(x)
        >>> torch.equal(PriorMixture()(model, x, noise=noise).elbo, full(model, x, noise=noise).elbo)  # values stay
        True
    """

    def follow(self, model: HierarchicalVAE, x: Tensor, noise: Sequence[Tensor], weight: Tensor | None) -> Terms:
        """As `Objective.follow` says; nothing is scheduled."""
        terms = model(x, noise=noise)
        # A standard normal draw is a draw from p(v). It is the one behind v as well: means do not see that.
        R, C = model.below(x, noise[0], noise[1:], freeze_model=True)
        return Terms(terms.R + (R - R.detach()), terms.A, terms.C + (C - C.detach()))


def _ramp(progress: float, until: float) -> float:
    """A straight rise from 0 to 1 at `until`, and 1 from there on."""
    return min(1.0, progress / until)


full = Interpolated(1.0)
modified = Interpolated(0.0)
interpolated = Interpolated

OBJECTIVES: dict[str, Objective] = {
    "full": full,
    "modified": modified,
    "half": Interpolated(0.5),
    "lambda_warm_up": LambdaSchedule(),
    "lambda_drop": LambdaSchedule(first=1.0, last=0.0),
    "kl_warm_up": KLWarmUp(),
    "free_bits": FreeBits(),
    "prior_mixture": PriorMixture(),
}


def objective(name: str) -> Objective:
    """The objective of that name: one of `OBJECTIVES`, or "lambda_0.9" and the like for a fixed λ between 0 and 1.

    Raises:
        ValueError: if the name is unknown; the error lists the known ones.

    Example:
        >>> objective("half") == interpolated(0.5)
        True
        >>> objective("lambda_0.9") == interpolated(0.9)
        True
    """
    if name in OBJECTIVES:
        return OBJECTIVES[name]
    if re.fullmatch(r"lambda_0\.\d+", name):
        return Interpolated(float(name.removeprefix("lambda_")))
    raise ValueError(f"objective: expected one of {', '.join(OBJECTIVES)}, or lambda_0.9 and the like, got {name!r}.")
