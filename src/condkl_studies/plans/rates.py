"""Other learning rates for eq. (9)."""

from condkl_studies.plans import BASE, DECODERS, Study, grid

STUDY = Study(
    "{eq}`eq-9` at half and at twice the learning rate of the other studies, which was chosen for the full gradient.",
    grid(BASE, objective=["modified"], seed=range(3), skip=DECODERS, learning_rate=(1e-3, 4e-3)),
)
