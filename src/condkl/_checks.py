"""Argument checks shared by the library: each error names the argument, what was expected and what came."""

import torch
from torch import Tensor


def as_tensor(name: str, value: float | Tensor) -> Tensor:
    """Return `value` as a finite floating-point tensor (float64 unless it is already a floating tensor).

    Raises:
        TypeError: if `value` is not a number or a tensor of numbers.
        ValueError: if an entry is not finite.
    """
    try:
        tensor = torch.as_tensor(value) if isinstance(value, Tensor) else torch.as_tensor(value, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{name}: expected a float or a tensor, got {type(value).__name__}. Pass numbers.") from error
    if tensor.is_complex():
        raise TypeError(f"{name}: expected real numbers, got {tensor.dtype}. Pass a real tensor.")
    if not tensor.is_floating_point():
        tensor = tensor.to(torch.float64)
    if not bool(tensor.isfinite().all()):
        raise ValueError(f"{name}: expected finite numbers, got NaN or infinity. Check where it was computed.")
    return tensor


def positive(name: str, value: float | Tensor) -> Tensor:
    """Return `value` as a tensor after checking that every entry is finite and above zero.

    Raises:
        TypeError: if `value` is not numeric.
        ValueError: if an entry is not finite or not above zero.
    """
    tensor = as_tensor(name, value)
    if not bool((tensor > 0).all()):
        raise ValueError(f"{name}: expected numbers above 0, got {tensor.min().item():g}. A variance must be positive.")
    return tensor


def unit_interval(name: str, value: float) -> float:
    """Return `value` after checking that it lies in [0, 1].

    Raises:
        ValueError: if it does not, or is NaN.
    """
    if not (isinstance(value, int | float) and 0 <= value <= 1):
        raise ValueError(f"{name}: expected a number from 0 to 1, got {value!r}. 1 is the full gradient, 0 is eq. (9).")
    return float(value)


def fractions(name: str, value: float | Tensor) -> Tensor:
    """Return `value` as a tensor after checking that every entry lies in [0, 1].

    Raises:
        TypeError: if `value` is not numeric.
        ValueError: if an entry does not, or is not finite.
    """
    tensor = as_tensor(name, value)
    if not bool(((tensor >= 0) & (tensor <= 1)).all()):
        raise ValueError(f"{name}: expected numbers from 0 to 1, got {value}. 1 is the full gradient, 0 is eq. (9).")
    return tensor


def share(name: str, value: float) -> float:
    """Return `value` after checking that it lies in (0, 1].

    Raises:
        ValueError: if it does not, or is NaN.
    """
    if not (isinstance(value, int | float) and 0 < value <= 1):
        raise ValueError(f"{name}: expected a share of the training, above 0 and up to 1, got {value!r}.")
    return float(value)


def at_least_one(name: str, value: int) -> int:
    """Return `value` after checking that it is a whole number of at least 1.

    Raises:
        ValueError: if it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name}: expected a whole number of at least 1, got {value!r}.")
    return value
