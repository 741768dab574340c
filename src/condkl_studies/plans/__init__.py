"""The studies: which runs each holds. Settings are fixed before the first run; the predictions say what was expected.

Each module of this package is a study of the module's name, which it keeps as `STUDY`. It lists its data and objectives
by value: a data set or an objective that is added changes no study.
"""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from condkl import _modules
from condkl_studies.config import RunConfig

EPOCH = 500  # steps: 50,000 images in batches of 100
_TRAINED = {"mnist_whole": 60_000}  # images to train on, where they are not 50,000
DECODERS = (False, True)  # p(x|u), p(x|u,v): whether they skip u

# The schedule of the studies, as the study `tuning` chose it on the validation split for the full gradient.
BASE = RunConfig(
    "full",
    skip=False,
    seed=0,
    steps=40 * EPOCH,
    learning_rate=2e-3,
    schedule="cosine",
    every=EPOCH,
    gradient_batches=10,
    validate_every=4,
    likelihood_images=1000,
    likelihood_samples=1000,
    protocol=1,
)
LATER = replace(BASE, protocol=2)  # the same for what was planned after 28 November 2026


@dataclass(frozen=True)
class Study:
    """Runs that answer a question together; what they are for is a sentence in Markdown.

    While a study is `open`, its runs are still being trained, so that a record that is not there yet is no fault.
    """

    about: str
    configs: tuple[RunConfig, ...]
    open: bool = False

    @cached_property
    def steps(self) -> int:
        """Steps of training in all runs."""
        return sum(config.steps for config in self.configs)


def epoch(config: RunConfig) -> int:
    """Steps of an epoch."""
    return _TRAINED.get(config.data, 50_000) // config.batch_size


def grid(base: RunConfig, **values: Iterable[Any]) -> tuple[RunConfig, ...]:
    """`base` with every combination of these values; those of the setting named last change first."""
    return tuple(replace(base, **dict(zip(values, some, strict=True))) for some in itertools.product(*values.values()))


def names() -> list[str]:
    """The names of all studies."""
    return _modules.names(__name__)


def studies() -> dict[str, Study]:
    """All studies by name."""
    return {name: study(name) for name in names()}


def study(name: str) -> Study:
    """The study of that name; a ValueError that lists the known ones if there is none."""
    if module := _modules.module(__name__, name):
        found: Study = module.STUDY
        return found
    raise ValueError(f"study: expected one of {', '.join(names())}, got {name!r}.")
