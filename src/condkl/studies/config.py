"""What decides the numbers of a run, and the name that follows from it."""

import hashlib
import json
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from condkl._checks import at_least_one
from condkl.objective import objective
from condkl.training import Plan

#: Raised by hand when the numerics of a run change; the golden test says when.
PROTOCOL = 1


@dataclass(frozen=True)
class RunConfig:
    """All that decides the numbers of one training run, but for the machine.

    Attributes:
        objective: a name that `objective.objective` knows.
        skip: whether the decoder is p(x|u,v), or p(x|u).
        seed: of the initial weights and of training.
        steps, batch_size, learning_rate, schedule, phi_rate, every, gradients: as `training.Plan` takes them.
        data: a name from `data.DATASETS`.
        latents, hidden: sizes, as `HierarchicalVAE` takes them.
        validate_every: rows of the record between two evaluations on the validation split; the last row has one.
        likelihood_images: how many test images, evenly spaced, get an estimate of their log-likelihood; 0 for none.
        likelihood_samples: draws of the latents for each.

    Raises:
        ValueError: if the objective is unknown or a number does not make sense.

    Example:
        >>> config = RunConfig("modified", skip=False, seed=3, steps=25_000)
        >>> config.label
        'mnist modified p(x|u) seed 3'
        >>> config.same_but_for_seed(RunConfig("modified", skip=False, seed=4, steps=25_000))
        True
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
    gradients: int = 0
    validate_every: int = 1
    likelihood_images: int = 0
    likelihood_samples: int = 0

    def __post_init__(self) -> None:
        if self.skip not in (False, True):
            raise ValueError(f"skip: expected True or False, got {self.skip!r}.")
        for name, kind in (("skip", bool), ("learning_rate", float), ("phi_rate", float)):
            object.__setattr__(self, name, kind(getattr(self, name)))  # 1 and 1.0 are one config, and have one id
        objective(self.objective)
        self.plan()
        at_least_one("validate_every", self.validate_every)
        if min(self.seed, self.likelihood_images, self.likelihood_samples) < 0:
            raise ValueError(f"seed, likelihood_images, likelihood_samples: expected 0 or more, got {self}.")
        if bool(self.likelihood_images) != bool(self.likelihood_samples):
            raise ValueError("likelihood_images, likelihood_samples: expected both or neither to be 0.")

    def plan(self) -> Plan:
        """How long and how fast to train."""
        return Plan(**{f.name: getattr(self, f.name) for f in fields(Plan)})

    def canonical(self) -> str:
        """The settings and the protocol as JSON with sorted keys and no spaces: equal for equal configs."""
        return canonical_json(self._settings())

    def _settings(self) -> dict[str, Any]:
        return {"protocol": PROTOCOL, **asdict(self)}

    def same_but_for_seed(self, other: "RunConfig") -> bool:
        """Whether the two differ at most in their seeds: runs of one setting."""
        return replace(self, seed=other.seed) == other

    @property
    def id(self) -> str:
        """The SHA-256 of `canonical()`, in hexadecimal."""
        return digest(self._settings())

    @property
    def label(self) -> str:
        """A short name for people, from data, objective, decoder, phi's rate if not 1, and seed."""
        one = len(self.latents) == 1
        decoder = "one layer" if one else "p(x|u,v)" if self.skip else "p(x|u)"
        faster = [f"phi x{self.phi_rate:g}"] if self.phi_rate != 1 else []
        return " ".join([self.data, self.objective, decoder, *faster, f"seed {self.seed}"])


def canonical_json(value: Any) -> str:
    """JSON that is the same for the same value: sorted keys, no spaces.

    Example:
        >>> canonical_json({"b": 1, "a": [2, 3]})
        '{"a":[2,3],"b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def digest(value: Any) -> str:
    """The SHA-256 of `canonical_json(value)`, in hexadecimal.

    Example:
        >>> digest({"b": 1, "a": 2}) == digest({"a": 2, "b": 1})
        True
    """
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def config_from(settings: dict[str, Any]) -> RunConfig:
    """The config whose settings, read from JSON, are these.

    Raises:
        ValueError: if the protocol is another one, or a setting is missing, unknown or senseless.

    Example:
        >>> config = RunConfig("full", skip=True, seed=0, steps=500)
        >>> config_from(json.loads(config.canonical())) == config
        True
    """
    protocol = settings.get("protocol")
    if protocol != PROTOCOL:
        raise ValueError(f"protocol: expected {PROTOCOL}, got {protocol!r}. The run was made by another version.")
    own: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}
    del own["protocol"]
    if set(own) != {f.name for f in fields(RunConfig)}:
        raise ValueError(f"settings: expected {[f.name for f in fields(RunConfig)]}, got {sorted(own)}.")
    return RunConfig(**own)
