"""Fixed weights λ between one half and 1."""

from condkl_studies.plans import BASE, DECODERS, Study, grid
from condkl_studies.plans.controlled import DATA, KNOWN

STUDY = Study(
    "Fixed weights $\\lambda$ of the conditional KL between one half and 1: a test of an account that chapter "
    "[7](07_two_layers.ipynb) gives of failed predictions.",
    grid(BASE, seed=range(5), skip=DECODERS, objective=("lambda=0.9", "lambda=0.7"))
    + grid(KNOWN, seed=range(3), data=DATA, objective=["lambda=0.9"]),
)
