"""What each parameter follows: the full gradient of the ELBO, eq. (9), all that lies between, and the remedies.

An objective leaves every value of the ELBO's terms as it is and changes only their gradients: with eq. (9) theta,
the parameters of q(v|x), follows ∇(R - A) instead of ∇(R - A - C), while phi and omega follow the ELBO. Losing a
gradient without losing the value is what `switch.scale_gradient` does, on the path on which the conditional KL, C,
reaches theta through v. With more than two layers every posterior is in theta's place for the conditional KLs of the
layers below it: they reach it with weight λ, and its own with 1.

Each module of this package is an objective of the module's name, which it keeps as `objective`. A name is found by
importing its module, so that a new objective is a new file and changes nothing that exists.
"""

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from condkl import _modules
from condkl._checks import unit_interval
from condkl.switch import scale_gradient
from condkl.vae import HierarchicalVAE, Tensors, Terms

_FIXED = {"full": 1.0, "modified": 0.0}  # λ at its two ends


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
        noise: Tensors | None = None,
        weight: Tensor | None = None,
    ) -> Terms:
        """The terms of the ELBO of `model` on x, with this objective's gradient.

        `x`, `generator` and `noise` are as `HierarchicalVAE.forward` takes them; `weight` is the scheduled number, a
        tensor without dimensions; None stands for its value at the end.
        """
        if noise is None:
            model.check_images(x)
            noise = model.noise(x, generator)
        return self.follow(model, x, noise, weight)

    @abstractmethod
    def follow(self, model: HierarchicalVAE, x: Tensor, noise: Tensors, weight: Tensor | None) -> Terms:
        """What a call returns, at given noise."""

    def weight(self, progress: float) -> float:
        """The scheduled number when the share `progress` of the training is over; 1 where nothing is scheduled."""
        return 1.0


@dataclass(frozen=True)
class Interpolated(Objective):
    """theta follows ∇(R - A - λC): λ = 1 is the full gradient, λ = 0 is eq. (9).

    The plain gradient path is used at λ = 1, and a cut one at λ = 0. With several layers each conditional KL
    scales its direct inputs once, so that every ancestor gets weight λ, and not λ to the number of hops. `lam`, λ, is a
    number in [0, 1], else a ValueError.

    Source:
        Kosiorek (2017), eqs. (7) and (9).

    Example:
        >>> loss = -modified(HierarchicalVAE(latents=(2, 3), hidden=8), torch.zeros(5, 784)).elbo.mean()
    """

    lam: float

    def __post_init__(self) -> None:
        unit_interval("lam", self.lam)

    def follow(self, model: HierarchicalVAE, x: Tensor, noise: Tensors, weight: Tensor | None) -> Terms:
        """As `Objective.follow` says; nothing is scheduled."""
        if self.lam == 1:
            return model(x, noise=noise)
        return model(x, noise=noise, path=lambda v: scale_gradient(v, self.lam))


#: The full gradient.
full = Interpolated(1.0)
#: Eq. (9).
modified = Interpolated(0.0)
interpolated = Interpolated


def canonical(name: str) -> str:
    """The one spelling of an objective's name: "full" for λ = 1, "modified" for λ = 0, "lambda=0.7" between them.

    Before a plus sign λ = 1 is left out. A ValueError says that the λ in the name is not a number in [0, 1].

    Example:
        >>> canonical("lambda=0.70"), canonical("lambda=1"), canonical("free_bits")
        ('lambda=0.7', 'full', 'free_bits')
        >>> canonical("lambda=0+free_bits"), canonical("full+free_bits")
        ('modified+free_bits', 'free_bits')
    """
    weight, plus, way = name.partition("+")
    if plus:
        spelled = canonical(weight)
        return way if spelled == "full" and _modules.module(__name__, way) else f"{spelled}+{way}"
    if not (found := re.fullmatch(r"lambda=(.*)", name)):
        return name
    try:
        lam = unit_interval("objective", float(found[1]))
    except ValueError as error:
        raise ValueError(f"objective: expected lambda=0.7 or the like, λ from 0 to 1, got {name!r}.") from error
    return next((fixed for fixed, value in _FIXED.items() if value == lam), f"lambda={lam!r}")


def names() -> list[str]:
    """The names of all objectives but those of a fixed λ between 0 and 1, alone or with another way.

    Example:
        >>> {"full", "modified", "kl_warm_up"} <= set(names())
        True
    """
    return [*_FIXED, *_modules.names(__name__)]


def objective(name: str) -> Objective:
    """The objective of that name: "full", "modified" (eq. 9), "lambda=0.7" and the like, or a module of this package.

    A fixed λ and a module whose objective has a `lam` are joined by a plus sign, as in "modified+kl_warm_up". For
    another name the ValueError lists the known ones.

    Example:
        >>> objective("lambda=0.5") == interpolated(0.5), objective("kl_warm_up").weight(progress=0.125)
        (True, 0.5)
        >>> objective("modified+free_bits").lam
        0.0
    """
    if not isinstance(name, str):
        raise TypeError(f"objective: expected a name, such as 'modified', got {type(name).__name__}.")
    spelled = canonical(name)
    weight, plus, way = spelled.rpartition("+")
    module = _modules.module(__name__, way)
    if plus:
        fixed = objective(weight)
        if isinstance(fixed, Interpolated) and module and hasattr(module.objective, "lam"):
            return replace(module.objective, lam=fixed.lam)
    elif spelled in _FIXED:
        return Interpolated(_FIXED[spelled])
    elif spelled.startswith("lambda="):
        return Interpolated(float(spelled.removeprefix("lambda=")))
    elif module:
        return module.objective
    known = f"{', '.join(names())}, or lambda=0.7 and the like, or one of these after a λ as modified+free_bits"
    raise ValueError(f"objective: expected one of {known}, got {name!r}.")
