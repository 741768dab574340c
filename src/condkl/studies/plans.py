"""The studies: which runs each holds. Settings are fixed before the first run; the predictions page gives reasons."""

from collections.abc import Sequence
from dataclasses import replace

from condkl import controlled
from condkl.studies.config import RunConfig

EPOCH = 500  # steps: 50,000 images in batches of 100

# The schedule of the studies, as the study `tuning` chose it on the validation split for the full gradient.
_BASE = RunConfig(
    "full",
    skip=False,
    seed=0,
    steps=40 * EPOCH,
    learning_rate=2e-3,
    schedule="cosine",
    every=EPOCH,
    gradients=10,
    validate_every=4,
    likelihood_images=1000,
    likelihood_samples=1000,
)
_KNOWN = replace(_BASE, steps=20 * EPOCH, latents=(1, 2), hidden=(50, 25))  # for data from known models
_DECODERS = (False, True)


def _tuning() -> list[RunConfig]:
    base = replace(
        _BASE, steps=12 * EPOCH, seed=100, gradients=0, validate_every=2, likelihood_images=0, likelihood_samples=0
    )
    short = [
        replace(base, learning_rate=rate, schedule=schedule)
        for rate in (5e-4, 1e-3, 2e-3, 4e-3)
        for schedule in ("constant", "cosine")
    ]
    # The two best again, as long as the runs of `main`.
    return [*short, *(replace(base, steps=_BASE.steps, learning_rate=rate) for rate in (2e-3, 4e-3))]


def _main() -> list[RunConfig]:
    pairs = [
        replace(_BASE, objective=name, skip=skip, seed=seed)
        for seed in range(5)
        for skip in _DECODERS
        for name in ("full", "modified", "half", "lambda_warm_up")
    ]
    return [*pairs, *(replace(_BASE, latents=(50,), seed=seed) for seed in range(5))]


def _long() -> list[RunConfig]:
    return [
        replace(
            _BASE,
            objective=name,
            skip=skip,
            seed=seed,
            steps=150 * EPOCH,
            validate_every=5,
            likelihood_images=10_000 if seed == 0 else 1000,
            likelihood_samples=5000,
        )
        for seed in range(3)
        for skip in _DECODERS
        for name in ("full", "modified", "lambda_warm_up")
    ]


def _cures() -> list[RunConfig]:
    ways = [{"phi_rate": 5.0}, {"objective": "prior_mixture"}, {"objective": "kl_warm_up"}, {"objective": "free_bits"}]
    return [
        replace(_BASE, skip=skip, seed=seed, **way)  # type: ignore[arg-type]
        for seed in range(3)
        for skip in _DECODERS
        for way in ways
    ]


def _controlled() -> list[RunConfig]:
    return [
        replace(_KNOWN, data=data, objective=name, seed=seed)
        for seed in range(3)
        for data in controlled.NAMES
        for name in ("full", "modified", "lambda_warm_up", "lambda_drop")
    ]


def _weights() -> list[RunConfig]:
    pairs = [
        replace(_BASE, objective=name, skip=skip, seed=seed)
        for seed in range(5)
        for skip in _DECODERS
        for name in ("lambda_0.9", "lambda_0.7")
    ]
    known = [
        replace(_KNOWN, data=data, objective="lambda_0.9", seed=seed) for seed in range(3) for data in controlled.NAMES
    ]
    return [*pairs, *known]


def _rates() -> list[RunConfig]:
    return [
        replace(_BASE, objective="modified", skip=skip, seed=seed, learning_rate=rate)
        for seed in range(3)
        for skip in _DECODERS
        for rate in (1e-3, 4e-3)
    ]


#: The runs of each study, by its name.
STUDIES: dict[str, Sequence[RunConfig]] = {
    "tuning": _tuning(),
    "main": _main(),
    "cures": _cures(),
    "controlled": _controlled(),
    "long": _long(),
    "weights": _weights(),
    "rates": _rates(),
}
