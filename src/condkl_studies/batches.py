"""What is drawn ahead for a window of steps: which images are in a batch, their bits, and where the ones are."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from condkl_studies.data import binarise
from condkl_studies.randomness import ORDER, WINDOW, stream

#: What draws for so many steps of so many images what they need besides the bits, tensors that begin with these sizes.
Draw = Callable[[tuple[int, int], torch.Generator], Sequence[Tensor]]


class Places(NamedTuple):
    """Where the ones of a batch of bits are, as lists of whole numbers of 32 bits.

    The pixels that are 1 in image i are `by_image[image_starts[i]:image_starts[i + 1]]`; the images in which pixel j is
    1 are `by_pixel[pixel_starts[j]:pixel_starts[j + 1]]`.
    """

    by_image: Tensor
    image_starts: Tensor
    by_pixel: Tensor
    pixel_starts: Tensor


def check_enough(images: Tensor, batch_size: int) -> None:
    """A ValueError if the images do not fill a batch."""
    if len(images) < batch_size:
        raise ValueError(f"images: expected at least batch_size={batch_size} images, got {len(images)}.")


def batch_order(n: int, batch_size: int, steps: range, seed: int) -> Tensor:
    """Which of n images are in the batches of those steps, shape (len(steps), batch_size): a new order every epoch."""
    per_epoch = n // batch_size
    orders = {
        epoch: torch.randperm(n, generator=stream(seed, ORDER, epoch))[: per_epoch * batch_size].view(per_epoch, -1)
        for epoch in range(steps.start // per_epoch, (steps.stop - 1) // per_epoch + 1)
    }
    return torch.stack([orders[step // per_epoch][step % per_epoch] for step in steps])


def source(images: Tensor, batch_size: int, steps: range, seed: int) -> tuple[Tensor, torch.Generator]:
    """What a window of steps is drawn by: the order of its images, and a generator on their device."""
    return batch_order(len(images), batch_size, steps, seed), stream(seed, WINDOW, steps.start, images.device)


def ahead(device: torch.device) -> int:
    """How many steps are drawn for at once: on a CPU few, which stay in its cache; calls to other devices take time."""
    return 10 if device.type == "cpu" else 100


class Drawn(NamedTuple):
    """What a step needs of chance: `bits`, bytes (batch_size, pixels), their places, and what else is drawn."""

    bits: Tensor
    places: Places | None
    noise: tuple[Tensor, ...]  # each begins with a dimension of images


def normal(
    shape: tuple[int, int], widths: Sequence[int], generator: torch.Generator, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, ...]:
    """Standard normal draws of these widths, each of that shape with one dimension more, on the generator's device."""
    return tuple(torch.randn(*shape, n, generator=generator, device=generator.device, dtype=dtype) for n in widths)


def drawn(images: Tensor, order: Tensor, draw: Draw, generator: torch.Generator, rows: bool = False) -> Iterator[Drawn]:
    """For each batch of `order`, as `batch_order` gives it, its images binarised anew, and what `draw` draws.

    Images and generator are on one device. With `rows`, on the CPU, the places of the ones are listed.
    """
    for bits, noise in drawn_at_once(images, order, draw, generator):
        yield from map(Drawn, bits, places(bits) if rows else itertools.repeat(None), zip(*noise, strict=True))


def drawn_at_once(
    images: Tensor, order: Tensor, draw: Draw, generator: torch.Generator
) -> Iterator[tuple[Tensor, Sequence[Tensor]]]:
    """Bits and noise of as many steps as are drawn for at once, each of what `drawn` gives with a first dimension."""
    for some in order.to(images.device).split(ahead(images.device)):
        grey = images.index_select(0, some.flatten())
        bits = binarise(grey, generator, torch.uint8).view(*some.shape, -1)
        yield bits, draw((len(some), some.shape[1]), generator)


def places(bits: Tensor) -> Iterator[Places]:
    """The places in each of several batches of bits on the CPU, shape (batches, n, pixels)."""
    batches, n, pixels = bits.shape  # one matrix for all, in which each batch has columns of its own
    at = np.flatnonzero(bits.numpy().view(bool)).astype(np.int32)
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
