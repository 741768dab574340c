"""Argument checks shared by the library: each error names the argument, what was expected and what came.

Each returns the value it was given. A TypeError says that it is not numeric, a ValueError that it is out of its range.
"""

from numbers import Integral, Real

import torch
from torch import Tensor
from torch.distributions import Distribution

#: A number, or a tensor of numbers.
Number = float | Tensor


def as_tensor(name: str, value: Number, finite: bool = True) -> Tensor:
    """Return `value` as a tensor of finite numbers, float64 unless it is already a floating tensor.

    With finite=False no value is looked at, as where `torch.vmap` hides it. The 16-bit formats become float32: squares
    and logarithms of ordinary numbers leave their range or their precision.
    """
    try:
        tensor = torch.as_tensor(value) if isinstance(value, Tensor) else torch.as_tensor(value, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{name}: expected a float or a tensor, got {type(value).__name__}. Pass numbers.") from error
    if tensor.is_complex():
        raise TypeError(f"{name}: expected real numbers, got {tensor.dtype}. Pass a real tensor.")
    if not tensor.is_floating_point():
        tensor = tensor.to(torch.float64)
    if tensor.dtype.itemsize < 4:
        tensor = tensor.float()
    if finite and not bool(tensor.isfinite().all()):
        raise ValueError(f"{name}: expected finite numbers, got NaN or infinity. Check where it was computed.")
    return tensor


def positive(name: str, value: Number, cure: str = "A variance must be positive.") -> Tensor:
    """Return `value` as a tensor of finite numbers above zero; `cure` ends the error where one is not."""
    tensor = as_tensor(name, value)
    if not bool((tensor > 0).all()):
        raise ValueError(f"{name}: expected numbers above 0, got {tensor.min().item():g}. {cure}")
    return tensor


def flat(name: str, value: Tensor) -> Tensor:
    """Return `value`, the parameters of one block: a flat tensor of floats, none of them NaN."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name}: expected a flat tensor of floats, got {type(value).__name__}. Pass torch.tensor(…).")
    if value.dim() != 1 or not value.is_floating_point():
        raise ValueError(
            f"{name}: expected a flat tensor of floats, got shape {tuple(value.shape)} of {value.dtype}. "
            "Flatten it, and let the functions of the problem reshape it."
        )
    if value.dtype.itemsize < 4:
        raise ValueError(f"{name}: expected float32 or float64, got {value.dtype}. Pass {name}.float().")
    if bool(value.isnan().any()):
        raise ValueError(f"{name}: expected numbers, got NaN. Check where it was computed.")
    return value


def conditional(name: str, value: object, of: str = "v", cure: str = "") -> None:
    """A TypeError if `value` is no function, as one of v that gives a distribution is; `cure` ends it."""
    if isinstance(value, Distribution) or not callable(value):
        raise TypeError(f"{name}: expected a function from {of} to a distribution, got {type(value).__name__}.{cure}")


def seeded(name: str, value: torch.Generator) -> torch.Generator:
    """Return `value`, a generator of random numbers."""
    if not isinstance(value, torch.Generator):
        raise TypeError(
            f"{name}: expected a torch.Generator, got {type(value).__name__}. Pass torch.Generator().manual_seed(0)."
        )
    return value


def fractions(name: str, value: Number) -> Tensor:
    """Return `value` as a tensor of numbers in [0, 1]."""
    tensor = as_tensor(name, value)
    if not bool(((tensor >= 0) & (tensor <= 1)).all()):
        raise ValueError(f"{name}: expected numbers from 0 to 1, got {value}. 1 is the full gradient, 0 is eq. (9).")
    return tensor


def bits(name: str, value: Tensor) -> Tensor:
    """Return `value`, a tensor of 0 and 1; one whose numbers cannot be read passes, as in a compiled function."""
    if torch.compiler.is_compiling():
        return value
    try:
        fine = bool(((value == 0) | (value == 1)).all())
    except RuntimeError:  # there are none on the device "meta", and many at once under vmap
        return value
    if not fine:
        raise ValueError(
            f"{name}: expected bits, numbers 0 and 1, got others, from {value.min():g} to {value.max():g}. "
            "Binarise grey levels, as condkl_studies.data.binarise does."
        )
    return value


def unit_interval(name: str, value: float) -> float:
    """Return `value`, one number in [0, 1]."""
    if not (_is_real(value) and 0 <= value <= 1):
        raise ValueError(f"{name}: expected a number from 0 to 1, got {value!r}. 1 is the full gradient, 0 is eq. (9).")
    return float(value)


def share(name: str, value: float) -> float:
    """Return `value`, one number in (0, 1]."""
    if not (_is_real(value) and 0 < value <= 1):
        raise ValueError(f"{name}: expected a share of the training, above 0 and up to 1, got {value!r}.")
    return float(value)


def at_least_one(name: str, value: int) -> int:
    """Return `value`, a whole number of at least 1, NumPy's among them."""
    return _whole(name, value, 1)


def at_least_zero(name: str, value: int) -> int:
    """Return `value`, a whole number of at least 0, NumPy's among them."""
    return _whole(name, value, 0)


def _whole(name: str, value: int, least: int) -> int:
    if not _is_whole(value) or value < least:
        raise ValueError(f"{name}: expected a whole number of at least {least}, got {value!r}.")
    return int(value)


def _is_real(value: object) -> bool:
    return isinstance(value, Real)  # as NumPy's numbers are


def _is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)
