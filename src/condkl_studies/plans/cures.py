"""What one can do instead of eq. (9)."""

from dataclasses import replace

from condkl_studies.plans import BASE, DECODERS, Study, grid

OBJECTIVES = ("prior_mixture", "kl_warm_up", "free_bits")
STUDY = Study(
    "What one can do instead of {eq}`eq-9`.",
    tuple(
        config
        for pair in grid(BASE, seed=range(3), skip=DECODERS)
        for config in (replace(pair, phi_rate=5.0), *grid(pair, objective=OBJECTIVES))
    ),
)
