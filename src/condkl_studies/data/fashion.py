"""Fashion-MNIST from the four IDX files in `data/fashion-mnist`, which have the form and the sizes of MNIST's.

Source:
    Xiao, Rasul & Vollgraf (2017), arXiv 1708.07747.
"""

from torch import Tensor

from condkl_studies.data.mnist import mnist
from condkl_studies.files import data_folder


def images(split: str) -> Tensor:
    """The images of a split, grey levels as bytes, shape (n, 784); errors as of `mnist`."""
    return mnist(split, data_folder() / "fashion-mnist").images
