"""MNIST from the four IDX files in `data/mnist`: checked and split."""

import functools
import gzip
import hashlib
import math
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from condkl_studies.files import DataError, data_folder

_VALIDATION = 10_000
_FILES = {"train": "train", "validation": "train", "test": "t10k"}


@dataclass(frozen=True)
class Digits:
    """A split of MNIST: `images`, grey levels as bytes, shape (n, 784), and `labels`, bytes, shape (n,)."""

    images: Tensor
    labels: Tensor


def mnist(split: str, folder: Path | None = None) -> Digits:
    """A split of MNIST: the first 50,000 training images, the last 10,000 of them, or the 10,000 test images.

    The splits are "train", "validation" and "test"; another is a ValueError. The four gzipped IDX files and SHA256SUMS,
    the digests of their contents, are in `folder`, which is `data_folder() / "mnist"` if None; a DataError if one is
    missing, truncated or altered. However the files are packed, the same contents pass.

    Source:
        LeCun, Cortes & Burges, the MNIST database of handwritten digits.
    """
    if split not in _FILES:
        raise ValueError(f"split: expected one of {', '.join(_FILES)}, got {split!r}.")
    folder = data_folder() / "mnist" if folder is None else Path(folder)
    images = _verified(folder, f"{_FILES[split]}-images-idx3-ubyte.gz").flatten(1)
    labels = _verified(folder, f"{_FILES[split]}-labels-idx1-ubyte.gz")
    cut = len(images) - _VALIDATION
    part = {"train": slice(None, cut), "validation": slice(cut, None), "test": slice(None)}[split]
    return Digits(images[part].clone(), labels[part].clone())  # what a caller does to them stays with the caller


def images(split: str) -> Tensor:
    """The images of a split, grey levels as bytes, shape (n, 784); errors as of `mnist`."""
    return mnist(split).images


def _verified(folder: Path, name: str) -> Tensor:
    path, sums = folder.absolute() / name, folder.absolute() / "SHA256SUMS"
    seen = [file.stat() for file in (path, sums) if file.exists()]
    return _read(path, sums, *((one.st_mtime_ns, one.st_size) for one in seen))


@functools.cache
def _read(path: Path, sums: Path, *_: tuple[int, int]) -> Tensor:
    """The checked content, read once a process while both files keep their dates and sizes."""
    if not sums.is_file():
        raise _damaged(sums, "missing")
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise _damaged(path, f"cannot be read ({error.strerror})") from error
    try:
        content = gzip.decompress(raw)
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(path, f"not a whole gzip file ({error})") from error
    expected, found = _listed(sums, path.name.removesuffix(".gz")), hashlib.sha256(content).hexdigest()
    if found != expected:
        raise _damaged(
            path, f"altered ({len(content)} bytes). SHA-256 of the contents expected {expected}, got {found}"
        )
    return _parse_idx(path, content)


def _listed(sums: Path, name: str) -> str | None:
    """The digest of that name in what `sha256sum` writes, or other programs that mark binary files by a star."""
    lines = (line.split(maxsplit=1) for line in sums.read_text("utf-8-sig").splitlines())
    named = {words[1].strip().removeprefix("*"): words[0].lower() for words in lines if len(words) == 2}
    return named.get(name)


def _parse_idx(path: Path, content: bytes) -> Tensor:
    # 0x08 in the third byte of an IDX magic number means unsigned bytes; the fourth byte counts the dimensions.
    if len(content) < 4 or not content.startswith(b"\0\0\x08"):
        raise _damaged(path, "not an IDX file of unsigned bytes")
    start = 4 + 4 * content[3]
    shape = tuple(np.frombuffer(content[4:start], dtype=">u4").tolist())
    if len(shape) != content[3] or len(content) - start != math.prod(shape):
        raise _damaged(path, f"the header declares shape {shape}, but {len(content) - start} bytes follow")
    return torch.from_numpy(np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape).copy())


def _damaged(path: Path, how: str) -> DataError:
    return DataError(f"{path}: {how}. Restore it with `git checkout -- data`.")
