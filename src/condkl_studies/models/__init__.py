"""The kinds of models that the engine trains, by name.

Each module of this package is a kind of the module's name, which it keeps as `kind`, a subclass of `Kind`. A config
names it as its `model`; no study knows a class.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from condkl import _modules
from condkl_studies.data import binarise_once
from condkl_studies.randomness import seeded

if TYPE_CHECKING:
    from condkl_studies.config import RunConfig


EVALUATION_SEED = 0  # the same binarisation and latents' noise for every run, so that runs compare in pairs


class Trainable(ABC):
    """What the training loop has to know of a model.

    The loop owns the data's order and binarisation, Adam, the record, and the stops at what is not finite; this gives
    the loss of a step, and what it draws.
    """

    @abstractmethod
    def columns(self, model: nn.Module) -> tuple[str, ...]:
        """The names of what a step logs, in nats where they are terms: first `elbo`, `R` and `A`."""

    def row(self, model: nn.Module, means: Tensor) -> dict[str, float]:
        """What the record has of a window whose `columns` have these means; `elbo`, `R`, `A` and `C` are among it."""
        return dict(zip(self.columns(model), means.tolist(), strict=True))

    def turned(self, model: nn.Module) -> list[nn.Parameter]:
        """The matrices that multiply x, if it is used in no other way: compiled steps may sum rows of them."""
        return []

    @abstractmethod
    def draws(self, model: nn.Module, shape: tuple[int, int], generator: torch.Generator) -> tuple[Tensor, ...]:
        """The randomness besides the bits of so many steps with so many images: all begin with these dimensions."""

    def weights(self, progress: float) -> list[float]:
        """The scheduled numbers when the share `progress` of the training is over; a window has one list of them."""
        return [1.0]

    def multiples(self, model: nn.Module) -> list[tuple[float, int | None]]:
        """Of the learning rate, for each parameter: a fixed one, and which of the weights multiplies it, if any."""
        return [(1.0, None) for _ in model.parameters()]

    @abstractmethod
    def loss(self, model: nn.Module, x: Tensor, drawn: Sequence[Tensor], weights: Tensor) -> tuple[Tensor, Tensor]:
        """A number whose gradient the step follows, and the batch's means of `columns`, at bits x of the model's dtype.

        `drawn` are one step's of `draws`. It is compiled as a whole: nothing in it depends on a value.
        """

    def pulls(self, model: nn.Module, x: Tensor, generator: torch.Generator) -> dict[str, float]:
        """What pulls on theta at bits x, for the record of a config that has `gradient_batches`."""
        raise ValueError("gradient_batches: expected 0. This model has no record of gradients.")

    def noise(self, model: nn.Module, batches: Sequence[Tensor], generator: torch.Generator) -> dict[str, float]:
        """How noisy that is from batch to batch, for the record of a config that has `noise_batches`."""
        raise ValueError("noise_batches: expected 0. This model has no record of noise.")


class Kind(Trainable):
    """What the engine has to know of a model besides: one is made from each config.

    Making one from a config whose settings make no sense for this kind is a ValueError.
    """

    def __init__(self, config: "RunConfig") -> None:
        self.config = config

    @abstractmethod
    def initial(self, images: Tensor) -> nn.Module:
        """The model before training, with weights from torch's global stream; `images` are those of the training."""

    @abstractmethod
    def validation(self, model: nn.Module) -> dict[str, float]:
        """What the record has of the validation split, by the names that it has there; `val_elbo` is among them."""

    @abstractmethod
    def final(self, model: nn.Module, compiled: bool) -> dict[str, Tensor]:
        """The arrays that a finished run leaves. `test` has the mean elbo, R, A and C on the test split.

        What is `compiled` is faster and rounds otherwise.
        """

    def likelihoods(
        self, test: Tensor, device: torch.device, estimate: Callable[[Tensor, int, torch.Generator], Tensor]
    ) -> dict[str, Tensor]:
        """`log_likelihood`, what `estimate` gives of some bits, draws and a generator, and `likelihood_image`.

        Those are the numbers of the images of `test`, evenly spaced, that the config asks for; nothing if for none.
        """
        if not self.config.likelihood_images:
            return {}
        chosen = torch.linspace(0, len(test) - 1, self.config.likelihood_images).round().long()
        x = binarise_once(test[chosen], EVALUATION_SEED).to(device)
        found = estimate(x, self.config.likelihood_samples, seeded(EVALUATION_SEED, device))
        return {"likelihood_image": chosen, "log_likelihood": found}

    @abstractmethod
    def pictures(self, model: nn.Module) -> dict[str, Tensor]:
        """What the model sees or dreams now, for a film of its training: the same shapes at every call."""


def names() -> list[str]:
    """The names of all kinds."""
    return _modules.names(__name__)


def kind(config: "RunConfig") -> Kind:
    """The kind that this config names, for this config; a ValueError that lists the known ones if there is none."""
    if module := _modules.module(__name__, config.model):
        found: Kind = module.kind(config)
        return found
    raise ValueError(f"model: expected one of {', '.join(names())}, got {config.model!r}.")
