"""The data sets by name, and how grey levels become bits.

Each module of this package is a data set of the module's name: its `images(split)` gives the images of a split. A name
is found by importing its module, so that a new data set is a new file and changes nothing that exists.
"""

from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from condkl import _modules
from condkl_studies.randomness import seeded


def names() -> list[str]:
    """The names of all data sets."""
    return _modules.names(__name__)


def load(name: str, split: str) -> Tensor:
    """The images of a split, "train", "validation" or "test", of a data set: bytes, shape (n, pixels).

    A ValueError says that there is no such name or split, a DataError that a file is missing, truncated or altered.
    """
    found: Tensor = module(name).images(split)
    return found


def module(name: str) -> ModuleType:
    """The module of a data set; a ValueError that lists the known ones if there is none of that name."""
    if found := _modules.module(__name__, name):
        return found
    raise ValueError(f"data: expected one of {', '.join(names())}, got {name!r}.")


def binarise(images: Tensor, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Tensor:
    """Draw each pixel anew: 1 with probability grey level / 255, else 0 (stochastic binarisation).

    The images are bytes of any shape, else it is a TypeError, and the generator is on their device. The result, 0 and
    1, has their shape and the given dtype, which is bytes where many batches are drawn ahead.

    Example:
        >>> binarise(torch.tensor([0, 255], dtype=torch.uint8), torch.Generator().manual_seed(0))
        tensor([0., 1.])
    """
    if images.dtype != torch.uint8:
        raise TypeError(f"images: expected bytes (torch.uint8), got {images.dtype}. Pass the grey levels 0 to 255.")
    # A uniform level of 0..254 is below the grey level x in exactly x of 255 cases.
    return (_levels(images, generator) < images).view(torch.uint8).to(dtype)


def _levels(like: Tensor, generator: torch.Generator) -> Tensor:
    """Whole numbers, uniform on 0..254, as bytes of the shape of `like`."""
    return (_levels_of_words if like.is_cpu else _levels_one_by_one)(like, generator)


def _levels_of_words(like: Tensor, generator: torch.Generator) -> Tensor:
    """Eight from each word, 255 drawn again: what a CPU does fastest."""
    words = torch.empty(-(-like.numel() // 8), dtype=torch.int64)
    level = words.random_(-(2**63), None, generator=generator).view(torch.uint8)[: like.numel()]
    found = np.flatnonzero(level.numpy() == 255)  # in a tenth of torch's time
    level[found] = torch.empty(len(found), dtype=torch.uint8).random_(0, 255, generator=generator)
    return level.view(like.shape)


def _levels_one_by_one(like: Tensor, generator: torch.Generator) -> Tensor:
    """One draw each: a GPU does it in one call, and to count what is drawn again the host would wait for it."""
    return torch.empty_like(like).random_(0, 255, generator=generator)


def binarise_once(images: Tensor, seed: int = 0) -> Tensor:
    """Binarise with one fixed draw, the same at every call (static binarisation). Shapes as for `binarise`."""
    return binarise(images, seeded(seed, images.device))
