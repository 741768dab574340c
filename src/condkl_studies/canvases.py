"""Canvases with some MNIST digits on each, and how many: data for models that count."""

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from condkl_studies.data.mnist import mnist
from condkl_studies.randomness import CANVASES, stream

SIDE, DIGIT = 32, 14  # pixels of a canvas and of a digit on it, in a row or a column
_SIZES = {"train": 50_000, "validation": 2_000, "test": 5_000}


@dataclass(frozen=True)
class Canvases:
    """Canvases of 32×32 grey levels with 0 to `most` digits of 14×14, each number equally likely.

    A split has digits of the same split of MNIST alone. A digit is halved in size by means over 2×2 pixels and lies at
    a place drawn uniformly. Where digits meet, what is not black is covered twice: black is the product of the blacks.
    Without `overlap` places are drawn anew until the squares of no two digits meet.
    """

    most: int
    overlap: bool = False

    def images(self, split: str) -> Tensor:
        """The canvases of a split, grey levels as bytes, shape (n, 1024); every call gives the same.

        Splits and errors are those of `mnist`.
        """
        return _made(self, split)[0].clone()

    def counts(self, split: str) -> Tensor:
        """How many digits are on each canvas of that split, whole numbers, shape (n,)."""
        return _made(self, split)[1].clone()


@cache
def _made(kind: Canvases, split: str) -> tuple[Tensor, Tensor]:
    digits = _halved(mnist(split).images)
    n, generator = _SIZES[split], stream(kind.most, CANVASES, list(_SIZES).index(split))
    counts = torch.randint(0, kind.most + 1, (n,), generator=generator)
    which = torch.randint(0, len(digits), (n, kind.most), generator=generator)
    corners = _corners(kind, counts, generator)
    black = torch.full((n, SIDE, SIDE), 255, dtype=torch.int32)
    inside = torch.arange(DIGIT)
    for k in range(kind.most):
        on = (counts > k).nonzero().flatten()
        row, column = corners[on, k].unbind(-1)
        place = (on[:, None, None], row[:, None, None] + inside[:, None], column[:, None, None] + inside)
        black[place] = (black[place] * (255 - digits[which[on, k]]) + 127) // 255
    return (255 - black).to(torch.uint8).flatten(1), counts


def _halved(images: Tensor) -> Tensor:
    """Means over 2×2 pixels of digits of 28×28, rounded down, shape (n, 14, 14)."""
    return images.view(-1, DIGIT, 2, DIGIT, 2).sum((2, 4), dtype=torch.int32) // 4


def _corners(kind: Canvases, counts: Tensor, generator: torch.Generator) -> Tensor:
    """The upper left corners of the digits, shape (n, most, 2)."""
    shape = (kind.most, 2)
    corners = torch.randint(0, SIDE - DIGIT + 1, (len(counts), *shape), generator=generator)
    again = torch.arange(len(counts)) if not kind.overlap else torch.empty(0, dtype=torch.long)
    while len(again := again[_touching(corners[again], counts[again])]):
        corners[again] = torch.randint(0, SIDE - DIGIT + 1, (len(again), *shape), generator=generator)
    return corners


def _touching(corners: Tensor, counts: Tensor) -> Tensor:
    """Whether the squares of two of the digits that are there meet, shape (n,)."""
    near = ((corners[:, :, None] - corners[:, None]).abs() < DIGIT).all(-1)
    there = torch.arange(corners.shape[1]) < counts[:, None]
    pairs = (there[:, :, None] & there[:, None]).triu(1)
    return (near & pairs).flatten(1).any(1)
