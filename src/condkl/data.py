"""MNIST from the four IDX files in `data/mnist`: checked, split, and binarised with an explicit generator."""

import gzip
import hashlib
import math
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from condkl import controlled

# 0x08 in the third byte of an IDX magic number means unsigned bytes; the fourth byte counts the dimensions.
_UNSIGNED_BYTES = 8
_VALIDATION = 10_000
_FILES = {"train": "train", "validation": "train", "test": "t10k"}


class DataError(RuntimeError):
    """A data file is missing, truncated or altered."""


@dataclass(frozen=True)
class Digits:
    """A split of MNIST.

    Attributes:
        images: grey levels as bytes, shape (n, 784).
        labels: the digits as bytes, shape (n,).
    """

    images: Tensor
    labels: Tensor


def data_folder() -> Path:
    """The data folder: `CONDKL_DATA` if it is set, else `data/` at the root of the repository.

    Raises:
        DataError: if there is no such folder.

    Example:
        >>> (data_folder() / "mnist").is_dir()
        True
    """
    override = os.environ.get("CONDKL_DATA")
    folder = Path(override) if override else Path(__file__).resolve().parents[2] / "data"
    if not folder.is_dir():
        raise DataError(
            f"{folder}: no such data folder. Install the package from a clone of the repository with "
            "`pip install -e .`, or set CONDKL_DATA to the repository's data folder."
        )
    return folder


def mnist(split: str, folder: Path | None = None) -> Digits:
    """Read a split of MNIST: the first 50,000 training images, the last 10,000 of them, or the 10,000 test images.

    Args:
        split: "train", "validation" or "test".
        folder: where the four gzipped IDX files and SHA256SUMS are; `data_folder() / "mnist"` if None.

    Raises:
        ValueError: if `split` is unknown.
        DataError: if a file is missing, truncated or altered.

    Source:
        LeCun, Cortes & Burges, the MNIST database of handwritten digits.

    Example:
        >>> digits = mnist("test")
        >>> digits.images.shape, int(digits.labels[0])
        (torch.Size([10000, 784]), 7)
    """
    if split not in _FILES:
        raise ValueError(f"split: expected one of {', '.join(_FILES)}, got {split!r}.")
    folder = data_folder() / "mnist" if folder is None else Path(folder)
    images = _verified(folder, f"{_FILES[split]}-images-idx3-ubyte.gz").flatten(1)
    labels = _verified(folder, f"{_FILES[split]}-labels-idx1-ubyte.gz")
    cut = len(images) - _VALIDATION
    part = {"train": slice(None, cut), "validation": slice(cut, None), "test": slice(None)}[split]
    return Digits(images[part], labels[part])


DATASETS: dict[str, Callable[[str], Tensor]] = {
    "mnist": lambda split: mnist(split).images,
    **{name: partial(controlled.images, name) for name in controlled.NAMES},
}


def load(name: str, split: str) -> Tensor:
    """The images of a split of a data set from `DATASETS`: bytes, shape (n, pixels).

    Raises:
        ValueError: if the name or the split is unknown.

    Example:
        >>> load("tight", "test").shape
        torch.Size([10000, 64])
    """
    if name not in DATASETS:
        raise ValueError(f"data: expected one of {', '.join(DATASETS)}, got {name!r}.")
    return DATASETS[name](split)


def read_idx(path: Path) -> Tensor:
    """Read a gzipped IDX file of unsigned bytes into a tensor of the shape that its header declares.

    Raises:
        DataError: if the file is missing, not gzip, truncated, or not IDX of unsigned bytes.

    Example:
        >>> read_idx(data_folder() / "mnist" / "t10k-labels-idx1-ubyte.gz").shape
        torch.Size([10000])
    """
    return _parse_idx(path, _bytes_of(path))


def binarise(images: Tensor, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Tensor:
    """Draw each pixel anew: 1 with probability grey level / 255, else 0 (stochastic binarisation).

    Args:
        images: bytes, any shape.
        generator: the source of randomness, on the device of `images`.
        dtype: of the result; bytes where many batches are drawn ahead.

    Returns:
        0 and 1, of the shape and on the device of `images`.

    Raises:
        TypeError: if `images` are not bytes.

    Example:
        >>> binarise(torch.tensor([0, 255], dtype=torch.uint8), torch.Generator().manual_seed(0))
        tensor([0., 1.])
    """
    if images.dtype != torch.uint8:
        raise TypeError(f"images: expected bytes (torch.uint8), got {images.dtype}. Pass the grey levels 0 to 255.")
    # A uniform level of 0..254 is below the grey level x in exactly x of 255 cases.
    level = torch.empty_like(images).random_(0, 255, generator=generator)
    return (level < images).to(dtype)


def binarise_once(images: Tensor, seed: int = 0) -> Tensor:
    """Binarise with one fixed draw, the same at every call (static binarisation). Shapes as for `binarise`.

    Example:
        >>> grey = torch.full((4,), 128, dtype=torch.uint8)
        >>> torch.equal(binarise_once(grey), binarise_once(grey))
        True
    """
    return binarise(images, torch.Generator(images.device).manual_seed(seed))


def _verified(folder: Path, name: str) -> Tensor:
    sums = folder / "SHA256SUMS"
    if not sums.is_file():
        raise DataError(f"{sums}: missing. Restore it with `git checkout -- data/mnist`.")
    lines = [line.split() for line in sums.read_text().splitlines()]
    expected = {words[1]: words[0] for words in lines if len(words) == 2}
    raw = _bytes_of(folder / name)
    found = hashlib.sha256(raw).hexdigest()
    if found != expected.get(name):
        raise DataError(
            f"{folder / name}: altered or truncated ({len(raw)} bytes). SHA-256 expected {expected.get(name)}, "
            f"got {found}. Restore it with `git checkout -- data/mnist`."
        )
    return _parse_idx(folder / name, raw)


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}). Restore it with `git checkout`.") from error


def _parse_idx(path: Path, raw: bytes) -> Tensor:
    try:
        content = gzip.decompress(raw)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: not a whole gzip file ({error}). Restore it with `git checkout`.") from error
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != _UNSIGNED_BYTES:
        raise DataError(f"{path}: not an IDX file of unsigned bytes. Restore it with `git checkout`.")
    start = 4 + 4 * content[3]
    shape = [int(n) for n in np.frombuffer(content[4:start], dtype=">u4")]
    if len(shape) != content[3] or len(content) - start != math.prod(shape):
        raise DataError(
            f"{path}: the header declares shape {tuple(shape)}, but {len(content) - start} bytes follow. "
            "Restore it with `git checkout`."
        )
    return torch.from_numpy(np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape).copy())
