"""MNIST with all 60,000 images to train on, as in published comparisons: none is left to choose by.

Its "validation" images are the last 10,000 of those, so that a record's validation columns are of images trained on.
"""

import torch
from torch import Tensor

from condkl_studies.data.mnist import mnist


def images(split: str) -> Tensor:
    """The images of a split, grey levels as bytes, shape (n, 784); errors as of `mnist`."""
    if split != "train":
        return mnist(split).images
    return torch.cat([mnist("train").images, mnist("validation").images])
