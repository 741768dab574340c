"""What one can do instead of eq. (9)."""

from dataclasses import replace
from typing import Any

from condkl_studies.plans import BASE, DECODERS, Study

WAYS: tuple[dict[str, Any], ...] = (
    {"phi_rate": 5.0},
    {"objective": "prior_mixture"},
    {"objective": "kl_warm_up"},
    {"objective": "free_bits"},
)
STUDY = Study(
    "What one can do instead of {eq}`eq-9`.",
    tuple(replace(BASE, skip=skip, seed=seed, **way) for seed in range(3) for skip in DECODERS for way in WAYS),
)
