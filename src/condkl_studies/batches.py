"""What is drawn ahead for a window of steps: which images are in a batch, their bits, and where the ones are."""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from condkl_studies.data import binarise
from condkl_studies.randomness import stream

_ORDER = 0  # what a stream of randomness is for
_AHEAD = 10  # steps whose bits are drawn at once: few enough that they stay in the processor's cache


class Places(NamedTuple):
    """Where the ones of a batch of bits are, as lists of whole numbers of 32 bits.

    The pixels that are 1 in image i are `by_image[image_starts[i]:image_starts[i + 1]]`; the images in which pixel j is
    1 are `by_pixel[pixel_starts[j]:pixel_starts[j + 1]]`.
    """

    by_image: Tensor
    image_starts: Tensor
    by_pixel: Tensor
    pixel_starts: Tensor


def batch_order(n: int, batch_size: int, steps: range, seed: int) -> Tensor:
    """Which of n images are in the batches of those steps, shape (len(steps), batch_size): a new order every epoch."""
    per_epoch = n // batch_size
    orders = {
        epoch: torch.randperm(n, generator=stream(seed, _ORDER, epoch))[: per_epoch * batch_size].view(per_epoch, -1)
        for epoch in range(steps.start // per_epoch, (steps.stop - 1) // per_epoch + 1)
    }
    return torch.stack([orders[step // per_epoch][step % per_epoch] for step in steps])


def bits(images: Tensor, order: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
    """For each batch of `order`, as `batch_order` gives it, its images binarised anew: bytes, (batch_size, pixels)."""
    for some in order.split(_AHEAD):
        grey = images.index_select(0, some.flatten().to(images.device))
        yield from binarise(grey, generator, torch.uint8).view(*some.shape, -1)


def places(batches: Iterator[Tensor]) -> Iterator[tuple[Tensor, Places]]:
    """Each of these batches of bits, on the CPU, with its places."""
    while some := list(itertools.islice(batches, _AHEAD)):
        yield from zip(some, _places(torch.stack(some).numpy()), strict=True)


def _places(some: np.ndarray) -> Iterator[Places]:
    """The places in each of several batches, shape (batches, n, pixels): one matrix, each batch in its own columns."""
    batches, n, pixels = some.shape
    at = np.flatnonzero(some.view(bool)).astype(np.int32)
    first_pixels = np.arange(batches * n + 1, dtype=np.int32) * np.int32(pixels)
    starts = np.searchsorted(at, first_pixels).astype(np.int32)
    pixel = at - np.repeat(first_pixels[:-1], np.diff(starts))
    batch_starts = starts[::n]
    column = pixel + np.repeat(first_pixels[:batches], np.diff(batch_starts))
    shape = (batches * n, batches * pixels)
    turned = csr_matrix((np.empty(len(at), bool), column, starts), shape=shape).tocsc()
    for i, (first, last) in enumerate(itertools.pairwise(batch_starts)):
        yield Places(
            torch.from_numpy(pixel[first:last]),
            torch.from_numpy(starts[i * n : (i + 1) * n + 1] - first),
            torch.from_numpy(turned.indices[first:last] - np.int32(i * n)),
            torch.from_numpy(turned.indptr[i * pixels : (i + 1) * pixels + 1] - first),
        )
