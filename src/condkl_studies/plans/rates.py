"""Other learning rates for eq. (9)."""

from dataclasses import replace

from condkl_studies.plans import BASE, DECODERS, Study

STUDY = Study(
    "{eq}`eq-9` at half and at twice the learning rate of the other studies, which was chosen for the full gradient.",
    tuple(
        replace(BASE, objective="modified", skip=skip, seed=seed, learning_rate=rate)
        for seed in range(3)
        for skip in DECODERS
        for rate in (1e-3, 4e-3)
    ),
)
