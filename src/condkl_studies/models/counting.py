"""The counting model as the engine trains it."""

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from condkl_studies.canvases import Canvases
from condkl_studies.counting.measures import Measured, log_likelihood, measured
from condkl_studies.counting.model import CountingVAE, known_pixels
from condkl_studies.counting.objective import ESTIMATORS, loss
from condkl_studies.counting.pulls import theta_record
from condkl_studies.counting.ways import Way
from condkl_studies.data import binarise_once, module
from condkl_studies.models import EVALUATION_SEED, Kind
from condkl_studies.randomness import seeded

if TYPE_CHECKING:
    from condkl_studies.config import RunConfig

_VALIDATED, _SHOWN = 1000, 8  # images
_FINAL_DRAWS = 10  # of the objects, on the test split


class Counting(Kind):
    """`CountingVAE` on a data set whose module has `canvases`, which know how many objects an image has.

    Of the config `latents` is the width of what, alone; `hidden`, `pixels`, `scale_prior`, `count_ratio`,
    `glimpse_bias` and `encoder_at_prior` are as `CountingVAE` takes them, `objective` and `until` as `Way`, and
    `estimator` as `objective.loss`.
    """

    def __init__(self, config: "RunConfig") -> None:
        super().__init__(config)
        self.way = Way(config.objective, config.until)
        if config.estimator not in ESTIMATORS:
            raise ValueError(f"estimator: expected one of {', '.join(ESTIMATORS)}, got {config.estimator!r}.")
        if len(config.latents) != 1:
            raise ValueError(f"latents: expected one width, that of what, got {config.latents}.")
        for name, expected in (("skip", False), ("residual", False), ("noise_batches", 0)):
            if getattr(config, name) != expected:
                raise ValueError(f"{name}: expected {expected} for a model that counts, got {getattr(config, name)!r}.")
        known_pixels(config.pixels)
        if not 0 <= config.scale_prior < math.inf:
            raise ValueError(f"scale_prior: expected 0 or more, got {config.scale_prior!r}.")
        if not 0 < config.count_ratio < math.inf:
            raise ValueError(f"count_ratio: expected a number above 0, got {config.count_ratio!r}.")
        if not math.isfinite(config.glimpse_bias):
            raise ValueError(f"glimpse_bias: expected a finite logit, got {config.glimpse_bias!r}.")
        self.most = self.canvases.most

    def columns(self, model: nn.Module) -> tuple[str, ...]:
        """The terms, and at each n q(n|x), R(n) and, above 0, c(n)."""
        at_each = [f"{term}_{n}" for term in "qRC" for n in range(self.most + 1) if n or term != "C"]
        return ("elbo", "R", "A", "C", *at_each)

    @property
    def canvases(self) -> Canvases:
        """The data set; a ValueError if it is none of canvases."""
        if found := getattr(module(self.config.data), "canvases", None):
            return cast(Canvases, found)
        raise ValueError(f"data: expected canvases, as 'two_digits', got {self.config.data!r}.")

    def initial(self, images: Tensor) -> CountingVAE:
        """As `Kind.initial` says."""
        config = self.config
        return CountingVAE(
            self.most,
            config.latents[0],
            config.hidden,
            pixels=config.pixels,
            scale_prior=config.scale_prior,
            ratio=config.count_ratio,
            bias=config.glimpse_bias,
            encoder_at_prior=config.encoder_at_prior,
            baseline=config.estimator == "learned",
        )

    def draws(self, model: nn.Module, shape: tuple[int, int], generator: torch.Generator) -> tuple[Tensor, ...]:
        """The objects' noise and, where n is sampled, a uniform number for each image."""
        noise = _counting(model).noise(math.prod(shape), generator).unflatten(0, shape)
        if self.config.estimator == "exact":
            return (noise,)
        return noise, torch.rand(shape, generator=generator, dtype=noise.dtype, device=noise.device)

    def weights(self, progress: float) -> list[float]:
        """Those of the way, in the order of `ways.Weights`."""
        return list(self.way.at(progress))

    def multiples(self, model: nn.Module) -> list[tuple[float, int | None]]:
        """The last of the weights is theta's; phi has its rate."""
        theta, phi = ({id(p) for p in group} for group in (_counting(model).theta(), _counting(model).phi()))
        return [
            (self.config.phi_rate if id(p) in phi else 1.0, 3 if id(p) in theta else None) for p in model.parameters()
        ]

    def loss(self, model: nn.Module, x: Tensor, drawn: Sequence[Tensor], weights: Tensor) -> tuple[Tensor, Tensor]:
        """As `Kind.loss` says; what is logged are exact sums over n, whatever the gradient is."""
        counting = _counting(model)
        counted = counting(x, drawn[0])
        value = loss(counting, x, counted, weights, self.config.estimator, drawn[1] if drawn[1:] else None)
        q, R, C = counted.q.detach(), counted.R.detach(), counted.C.detach()
        terms = torch.stack([counted.elbo.detach(), (q * R).sum(-1), counted.A.detach(), (q * C).sum(-1)], -1)
        return value, torch.cat([terms, q, R, C[:, 1:]], -1).mean(0)

    def pulls(self, model: nn.Module, x: Tensor, generator: torch.Generator) -> dict[str, float]:
        """What `theta_record` gives."""
        return theta_record(_counting(model), x, generator)

    def validation(self, model: nn.Module) -> dict[str, float]:
        """What `Measured.scalars` gives, on the first 1,000 images."""
        found = self._measured(model, "validation", _VALIDATED).scalars()
        return {f"val_{name}": value for name, value in found.items()}

    def final(self, model: nn.Module, compiled: bool) -> dict[str, Tensor]:
        """What the test split gives, by name.

        `test` (elbo, R, A, C in nats), `test_` and the name of each of `Measured.scalars`, `calibration`, and the
        tables of `Measured.by_count` as `q_by_count` and so on; with the config's `likelihood_images` also
        `likelihood_image`, their numbers, and `log_likelihood`, in nats.
        """
        found = self._measured(model, "test", None, _FINAL_DRAWS)
        scalars = found.scalars()
        likelihoods = partial(log_likelihood, _counting(model))
        return {
            "test": torch.tensor([scalars[name] for name in ("elbo", "R", "A", "C")], dtype=torch.float64),
            **{f"test_{name}": torch.tensor(value, dtype=torch.float64) for name, value in scalars.items()},
            "calibration": found.calibration(),
            **{f"{name}_by_count": table for name, table in found.by_count().items()},
            **self.likelihoods(self.canvases.images("test"), found.q.device, likelihoods),
        }

    @torch.no_grad()
    def pictures(self, model: nn.Module) -> dict[str, Tensor]:
        """Eight test images as the model sees them, and eight canvases that it dreams.

        `seen`, bytes of shape (8, 1 + N, 1024): the bits, and the canvas with each object more; `where`, (8, N, 3): the
        scale of each object and its shifts of rows and columns, as `place` takes them; `q`, (8, N + 1), and `dreamt`,
        bytes of shape (8, N, 1024), canvases of the prior.
        """
        counting, generator = _counting(model), _generator(model)
        x = binarise_once(self.canvases.images("test")[:_SHOWN], EVALUATION_SEED).to(generator.device)
        counted = counting(x, counting.noise(_SHOWN, generator))
        where = [torch.cat([one.scale[:, None], one.shift], -1) for one in counted.drawn]
        return {
            "seen": _bytes(torch.stack([x, *(one.canvas for one in counted.drawn)], 1)),
            "where": torch.stack(where, 1),
            "q": counted.q,
            "dreamt": _bytes(counting.generate(counting.noise(_SHOWN, generator))),
        }

    def _measured(self, model: nn.Module, split: str, first: int | None, draws: int = 4) -> Measured:
        """Measures on the first images of a split, with the same bits and noise for every run."""
        generator = _generator(model)
        x = binarise_once(self.canvases.images(split)[:first], EVALUATION_SEED).to(generator.device)
        return measured(_counting(model), x, self.canvases.counts(split)[:first], generator, draws)


kind = Counting


def _counting(model: nn.Module) -> CountingVAE:
    return cast(CountingVAE, model)


def _generator(model: nn.Module) -> torch.Generator:
    return seeded(EVALUATION_SEED, next(model.parameters()).device)


def _bytes(white: Tensor) -> Tensor:
    return (white * 255).round().byte()
