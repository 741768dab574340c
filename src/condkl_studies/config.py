"""What decides the numbers of a run, and the name that follows from it."""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

from condkl._checks import at_least_one, at_least_zero
from condkl.objectives import canonical, objective
from condkl_studies.schedules import TrainingConfig

#: Raised by hand when the numerics of a run change; the golden test says when. All of these can be read, and the last
#: is what is trained. Protocol 2 draws bits otherwise, and its compiled step rounds otherwise.
PROTOCOLS = (1, 2)
PROTOCOL = PROTOCOLS[-1]
# The fields of protocol 1, all of which every record has. A field that is added does not join them.
_FIRST = frozenset({
    "objective", "skip", "seed", "steps", "data", "latents", "hidden", "batch_size", "learning_rate", "schedule",
    "phi_rate", "every", "gradient_batches", "validate_every", "likelihood_images", "likelihood_samples", "protocol",
})  # fmt: skip
# Names of fields that records spell otherwise.
_SPELLED = {"gradient_batches": "gradients"}
_FIELDS = {written: name for name, written in _SPELLED.items()}
_FLAGS = ("skip", "residual", "may_diverge", "encoder_at_prior")
_COUNTS: dict[str, Callable[[str, int], int]] = {
    **dict.fromkeys(("steps", "batch_size", "every", "validate_every"), at_least_one),
    **dict.fromkeys(("seed", "likelihood_images", "likelihood_samples", "pictures"), at_least_zero),
    **dict.fromkeys(("gradient_batches", "noise_batches"), at_least_zero),
}
_KINDS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(_FLAGS, bool),
    **dict.fromkeys(("learning_rate", "phi_rate", "scale_prior", "count_ratio", "glimpse_bias"), float),
    "objective": canonical,
    "until": lambda share: None if share is None else float(share),
}
# The fields that other models than the hierarchical one have.
_OTHERS = ("pixels", "scale_prior", "count_ratio", "glimpse_bias", "encoder_at_prior", "until", "estimator")


@dataclass(frozen=True)
class RunConfig:
    """All that decides the numbers of one training run, but for the machine.

    A field that is added takes its place after the last one, with the default that stands for what runs did before it.
    It enters the id and the record only where it has another value, so that all ids and records stay as they are.

    Attributes:
        objective: a name that `objectives.objective` knows; kept in its canonical spelling.
        skip: whether the decoder is p(x|u,v), or p(x|u).
        seed: of the initial weights and of training.
        steps, batch_size, learning_rate, schedule, phi_rate, every, gradient_batches: as `TrainingConfig` takes them.
        data: the name of a data set, as `data.load` takes it.
        latents, hidden: sizes, as `HierarchicalVAE` takes them.
        validate_every: rows of the record between two evaluations on the validation split; the last row has one.
        likelihood_images: how many test images, evenly spaced, get an estimate of their log-likelihood; 0 for none.
        likelihood_samples: draws of the latents for each.
        protocol: the numerics, one of `PROTOCOLS`.
        residual: whether states add up from the top, as `HierarchicalVAE` has it; not with `skip`.
        noise_batches: as `TrainingConfig` takes it.
        may_diverge: whether a loss that is not finite is a result, which is recorded, and not an error.
        model: the kind of model, a name that `models.kind` knows; a kind says what the settings mean to it.
        pixels, scale_prior, count_ratio, glimpse_bias, encoder_at_prior, until, estimator: of models that count, as
            `models.counting` takes them.
        pictures: how many pictures of the model are kept, evenly spaced along the training; a window has at most one.

    An unknown objective or a number that does not make sense is a ValueError.

    Example:
        >>> RunConfig("modified", skip=False, seed=3, steps=25_000).label
        'mnist modified p(x|u) seed 3'
    """

    objective: str
    skip: bool
    seed: int
    steps: int
    data: str = "mnist"
    latents: tuple[int, ...] = (50, 100)
    hidden: tuple[int, int] = (200, 100)
    batch_size: int = 100
    learning_rate: float = 1e-3
    schedule: str = "constant"
    phi_rate: float = 1.0
    every: int = 500
    gradient_batches: int = 0
    validate_every: int = 1
    likelihood_images: int = 0
    likelihood_samples: int = 0
    protocol: int = PROTOCOL
    residual: bool = False
    noise_batches: int = 0
    may_diverge: bool = False
    model: str = "hierarchical"
    pixels: str = "bernoulli"
    scale_prior: float = 0.0
    count_ratio: float = 1.0
    glimpse_bias: float = -2.0
    encoder_at_prior: bool = False
    until: float | None = None
    estimator: str = "exact"
    pictures: int = 0

    def __post_init__(self) -> None:
        for name in _FLAGS:
            if getattr(self, name) not in (False, True):
                raise ValueError(f"{name}: expected True or False, got {getattr(self, name)!r}.")
        if self.skip and self.residual:
            raise ValueError("residual: expected False with skip, got True. A sum of all layers has the skips already.")
        for name, value in _plain(self).items():
            object.__setattr__(self, name, value)
        if self.protocol not in PROTOCOLS:
            raise ValueError(f"protocol: expected one of {PROTOCOLS}, got {self.protocol!r}, of another version.")
        self.training()
        if bool(self.likelihood_images) != bool(self.likelihood_samples):
            raise ValueError("likelihood_images, likelihood_samples: expected both or neither to be 0.")
        if self.pictures * self.every > self.steps:
            most = self.steps // self.every
            raise ValueError(f"pictures: expected 0 to {most}, the number of windows, got {self.pictures!r}.")
        if self.hierarchical:
            objective(self.objective)
            for f in fields(self):
                if f.name in _OTHERS and getattr(self, f.name) != f.default:
                    got = getattr(self, f.name)
                    raise ValueError(f"{f.name}: expected {f.default!r} for the model 'hierarchical', got {got!r}.")
        else:
            from condkl_studies import models  # here: who reads records of the hierarchical model needs none

            models.kind(self)

    def training(self) -> TrainingConfig:
        """How long and how fast to train."""
        return TrainingConfig(**{f.name: getattr(self, f.name) for f in fields(TrainingConfig)})

    def settings(self) -> dict[str, Any]:
        """The settings as records have them: those of protocol 1 always, later ones where they are not the default."""
        default = {f.name: f.default for f in fields(self) if f.name not in _FIRST}
        values = (
            (f.name, getattr(self, f.name)) for f in fields(self)
        )  # asdict copies each, and ids are asked for often
        own = {_SPELLED.get(k, k): v for k, v in values if k not in default or v != default[k]}
        if self.protocol == 1:  # spelled a fixed λ otherwise: `half` for λ = ½, and `lambda_0.7` for `lambda=0.7`
            own["objective"] = "half" if self.objective == "lambda=0.5" else self.objective.replace("=", "_")
        return {"protocol": own.pop("protocol"), **own}

    def canonical(self) -> str:
        """The settings as JSON with sorted keys and no spaces: equal for equal configs."""
        return canonical_json(self.settings())

    def same_but_for_seed(self, other: "RunConfig") -> bool:
        """Whether the two differ at most in their seeds: runs of one setting."""
        return replace(self, seed=other.seed) == other

    @property
    def id(self) -> str:
        """The SHA-256 of `canonical()`, in hexadecimal."""
        return digest(self.settings())

    @property
    def hierarchical(self) -> bool:
        """Whether the model is a `HierarchicalVAE`."""
        return self.model == "hierarchical"

    @property
    def decoder(self) -> str:
        """What the decoder sees, "p(x|u)", "p(x|u,v)", "residual", or "one layer" where there is no u.

        Of a model that counts "p(x|u,n)", and with Gaussian pixels "p(x|u,n) gaussian".
        """
        if not self.hierarchical:
            return "p(x|u,n)" if self.pixels == "bernoulli" else f"p(x|u,n) {self.pixels}"
        if len(self.latents) == 1:
            return "one layer"
        return "residual" if self.residual else "p(x|u,v)" if self.skip else "p(x|u)"

    @property
    def method(self) -> str:
        """How the run is trained, that is its objective, as "kl_warm_up until 0.3", and what is not usual of the rest.

        The estimator, if the sum over n is not exact, "encoder at its prior" if it starts there, and phi's rate, if it
        is not 1, as "full, phi x5".
        """
        estimator = [] if self.estimator == "exact" else [self.estimator]
        start = ["encoder at its prior"] if self.encoder_at_prior else []
        faster = [] if self.phi_rate == 1 else [f"phi x{self.phi_rate:g}"]
        return ", ".join([self._followed, *estimator, *start, *faster])

    @property
    def label(self) -> str:
        """A short name for people, from data, objective, decoder, estimator, phi's rate if not 1, and seed."""
        estimator = "" if self.estimator == "exact" else f" {self.estimator}"
        faster = "" if self.phi_rate == 1 else f" phi x{self.phi_rate:g}"
        return f"{self.data} {self._followed} {self.decoder}{estimator}{faster} seed {self.seed}"

    @property
    def _followed(self) -> str:
        return self.objective if self.until is None else f"{self.objective} until {self.until:g}"


def _plain(config: RunConfig) -> dict[str, Any]:
    """The settings as Python's own numbers, so that 1, 1.0 and NumPy's 1 are one config, and have one id."""
    counts = {name: count(name, getattr(config, name)) for name, count in _COUNTS.items()}
    sizes = {name: tuple(at_least_one(name, n) for n in getattr(config, name)) for name in ("latents", "hidden")}
    return counts | sizes | {name: kind(getattr(config, name)) for name, kind in _KINDS.items()}


def canonical_json(value: Any) -> str:
    """JSON that is the same for the same value: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def digest(value: Any) -> str:
    """The SHA-256 of `canonical_json(value)`, in hexadecimal."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def config_from(settings: dict[str, Any]) -> RunConfig:
    """The config whose settings, read from JSON, are these; a ValueError if one is missing, unknown or senseless."""
    own: dict[str, Any] = {_FIELDS.get(k, k): tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
    known = [f.name for f in fields(RunConfig)]
    missing, unknown = sorted(_FIRST - set(own)), sorted(set(own) - set(known))
    if own.get("protocol") in PROTOCOLS and (missing or unknown):
        raise ValueError(f"settings: expected {', '.join(known)}; missing: {missing}, unknown: {unknown}.")
    if own.get("protocol") == 1:
        written = own["objective"]
        own["objective"] = "lambda=0.5" if written == "half" else re.sub(r"^lambda_(?=\d)", "lambda=", written)
    return RunConfig(**{name: own[name] for name in known if name in own} | {"protocol": own.get("protocol")})
