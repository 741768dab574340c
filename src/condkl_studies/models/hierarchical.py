"""The hierarchical VAE of the library as the engine trains it."""

from functools import cached_property, partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from condkl.objectives import objective
from condkl.vae import HierarchicalVAE
from condkl_studies.data import load
from condkl_studies.evaluation import iwae_log_likelihood, mean_terms, units
from condkl_studies.following import Following, hierarchical
from condkl_studies.models import EVALUATION_SEED, Kind
from condkl_studies.randomness import seeded

if TYPE_CHECKING:
    from condkl_studies.config import RunConfig

_GRID = 8  # prior samples: so many v, with so many u each


class Hierarchical(Following, Kind):
    """`HierarchicalVAE` with the `latents`, `hidden`, `skip` and `residual` of the config; it follows its objective."""

    def __init__(self, config: "RunConfig") -> None:
        Kind.__init__(self, config)
        Following.__init__(self, objective(config.objective), config.phi_rate)

    def initial(self, images: Tensor) -> HierarchicalVAE:
        """Its weights depend on the seed and the sizes alone, its last bias on the data."""
        config = self.config
        model = HierarchicalVAE(config.latents, config.hidden, config.skip, images.shape[1], config.residual)
        return model.start_at_mean(images)

    def validation(self, model: nn.Module) -> dict[str, float]:
        """The means of the terms as `val_elbo` and so on, and the units in use as `Units.active` has them."""
        own, images = hierarchical(model), self._validated
        means = mean_terms(own, images, EVALUATION_SEED)
        return {f"val_{name}": value for name, value in means.items()} | units(own, images, EVALUATION_SEED).active()

    def final(self, model: nn.Module, compiled: bool) -> dict[str, Tensor]:
        """Terms and units on the test split, samples of the prior, and estimates of the likelihood, as in a record."""
        own, test = hierarchical(model), load(self.config.data, "test")
        means = mean_terms(own, test, EVALUATION_SEED)
        found = units(own, test, EVALUATION_SEED)
        names = ["v", "u", *(f"u{i}" for i in range(2, len(found.kl)))]
        return {
            "test": torch.tensor([means[name] for name in ("elbo", "R", "A", "C")], dtype=torch.float64),
            "variance_v": found.variance,
            **{f"kl_{name}": kl for name, kl in zip(names, found.kl, strict=False)},
            **self.pictures(own),
            **self.likelihoods(test, found.variance.device, partial(iwae_log_likelihood, own, compiled=compiled)),
        }

    def pictures(self, model: nn.Module) -> dict[str, Tensor]:
        """Samples of the prior, bytes (8, 8, pixels): a row of `prior_u` has one v, a column of `prior_v` one u."""
        own, draws = hierarchical(model), seeded(EVALUATION_SEED, next(model.parameters()).device)
        noise = own.noise(torch.empty(_GRID * _GRID, 0, device=draws.device), draws)
        same_v = [noise[0][:_GRID].repeat_interleave(_GRID, 0), *noise[1:]]
        same_u = [noise[0], *(e[:_GRID].repeat(_GRID, 1) for e in noise[1:])]
        return {
            name: (own.generate(grid) * 255).round().byte().view(_GRID, _GRID, -1)
            for name, grid in (("prior_u", same_v), ("prior_v", same_u))
        }

    @cached_property
    def _validated(self) -> Tensor:
        return load(self.config.data, "validation")


kind = Hierarchical
