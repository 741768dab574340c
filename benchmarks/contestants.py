"""Who takes part: names, what each needs, and the classes that are loaded in the workers alone."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pkgutil import resolve_name
from typing import Any, Protocol

import numpy as np

from benchmarks.problem import Problem


class Contestant(Protocol):
    """A way of training the model of a `Problem`. It lives in a process of its own, of one thread."""

    def advance(self, steps: int) -> None:
        """Train for that many steps, or for whole windows until they are done; return when the last one is.

        Who estimates likelihoods does so for that many images.
        """

    def losses(self, bits: np.ndarray, draws: int) -> np.ndarray:
        """The negative ELBO it trains on, nats an image, for bytes of 0 and 1; shape (draws,), a yardstick's (0,).

        Of who estimates likelihoods, the negative estimates.
        """


class Estimator(ABC):
    """A contestant that estimates likelihoods, of the batch of the problem again and again."""

    def __init__(self, problem: Problem) -> None:
        self._bits = problem.batch

    def advance(self, images: int) -> None:
        """Estimate for that many images."""
        self.estimates(np.resize(self._bits, (images, self._bits.shape[1])))

    def losses(self, bits: np.ndarray, draws: int) -> np.ndarray:
        """The mean over the images `bits` of minus the estimate, that many times."""
        return np.array([-self.estimates(bits).mean() for _ in range(draws)])

    @abstractmethod
    def estimates(self, bits: np.ndarray) -> np.ndarray:
        """Log-likelihoods in nats, shape (n,), of bytes of 0 and 1, shape (n, pixels)."""


@dataclass(frozen=True)
class Entry:
    """A contestant before its process."""

    label: str  # in tables
    target: str  # its class, "module:name"
    package: str = ""  # what it needs beyond this library's dependencies, as pip names it
    module: str = ""  # and as Python does
    options: Mapping[str, Any] = field(default_factory=dict)  # further arguments of its class

    def make(self, problem: Problem, seed: int) -> Contestant:
        """The contestant itself; imports what it needs."""
        made: Contestant = resolve_name(self.target)(problem, seed, **self.options)
        return made

    def missing(self) -> str:
        """Why it cannot take part here, or an empty string."""
        if self.module and find_spec(self.module) is None:
            return f"not installed: {self.package}"
        from condkl_studies.machine import compiler_found  # here: workers, which do not ask, start without torch

        return "no C++ compiler" if self.options.get("compiled") and not compiler_found() else ""


OURS, DENSE, EAGER, PYRO, NUMPYRO, SCAN, YARDSTICK = "ours", "dense", "eager", "pyro", "numpyro", "scan", "sgemm"

CONTESTANTS: dict[str, Entry] = {
    OURS: Entry("condkl, compiled", "benchmarks.ours:Ours", options={"compiled": True}),
    DENSE: Entry("condkl, dense products", "benchmarks.ours:Ours", options={"compiled": True, "rows": False}),
    "uncompiled": Entry("condkl, not compiled", "benchmarks.ours:Ours"),
    EAGER: Entry("plain PyTorch", "benchmarks.torch_steps:Eager"),
    PYRO: Entry("Pyro", "benchmarks.pyro_steps:Pyro", "pyro-ppl", "pyro"),
    NUMPYRO: Entry("NumPyro", "benchmarks.numpyro_steps:NumPyro", "numpyro", "numpyro"),
    "jax": Entry("JAX, jitted step", "benchmarks.jax_steps:JaxStep", "jax", "jax"),
    SCAN: Entry("JAX, scan over a window", "benchmarks.jax_steps:JaxScan", "jax", "jax"),
    YARDSTICK: Entry("sgemm alone (yardstick)", "benchmarks.torch_steps:Sgemm"),
}

#: Who takes part in the second contest, for the log-likelihood by 5,000 draws of the latents an image.
LIKELIHOODS: dict[str, Entry] = {
    OURS: Entry("condkl, compiled", "benchmarks.ours:OurLikelihood", options={"compiled": True}),
    "uncompiled": Entry("condkl, not compiled", "benchmarks.ours:OurLikelihood"),
    "jax": Entry("JAX, jitted", "benchmarks.jax_steps:JaxLikelihood", "jax", "jax"),
}
