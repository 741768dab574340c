"""The parameters that a distribution holds: their dtype, and a copy of it in another."""

import math
from collections.abc import Iterator
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import (
    Bernoulli,
    Binomial,
    Categorical,
    ContinuousBernoulli,
    Distribution,
    Geometric,
    LowRankMultivariateNormal,
    NegativeBinomial,
)
from torch.distributions.lowrank_multivariate_normal import _batch_capacitance_tril
from torch.distributions.relaxed_bernoulli import LogitRelaxedBernoulli
from torch.distributions.transforms import Transform, _InverseTransform
from torch.distributions.utils import probs_to_logits

#: What torch keeps as probabilities, as logits, or as both.
_BINARY = (Bernoulli, Binomial, ContinuousBernoulli, Geometric, LogitRelaxedBernoulli, NegativeBinomial)


def known(condition: Tensor, otherwise: bool = False) -> bool:
    """Whether `condition` holds anywhere; `otherwise` where no value can be looked at, as under `torch.func.vmap`."""
    try:
        return bool(condition.any())
    except RuntimeError:
        return otherwise


def parts(x: Any) -> Iterator[Tensor | nn.Module]:
    """All tensors and modules that a distribution or a transform holds, or a list of them."""
    if isinstance(x, Tensor | nn.Module):
        yield x
    elif isinstance(x, Distribution | Transform | list):
        for name, part in enumerate(x) if isinstance(x, list) else vars(x).items():
            if name != "_inv" or isinstance(x, _InverseTransform):  # maps hold their inverses, and these them
                yield from parts(part)


def tensor_of(*distributions: Distribution) -> Tensor:
    """An empty tensor with the device and the joint floating dtype of what the distributions hold."""
    found = [part for d in distributions for part in parts(d)]
    tensors = [t for part in found for t in ([part] if isinstance(part, Tensor) else part.parameters())]
    floats = {t.dtype for t in tensors if t.is_floating_point()} or {torch.get_default_dtype()}
    return torch.empty(0, dtype=reduce(torch.promote_types, floats), device=tensors[0].device if tensors else None)


def at_least_single(dtype: torch.dtype) -> torch.dtype:
    """The dtype of results."""
    return torch.promote_types(dtype, torch.float32)


def cast(d: Any, dtype: torch.dtype = torch.float64) -> Any:
    """A copy that computes in `dtype`, through which gradients pass; `d` itself if it holds a network.

    Where torch keeps probabilities or logits the copy has only logits, without the floor that torch puts under the
    logarithm of 0.
    """
    return d if any(isinstance(part, nn.Module) for part in parts(d)) else _cast(d, dtype)


def _cast(x: Any, dtype: torch.dtype) -> Any:
    if isinstance(x, Tensor):
        return x.to(dtype) if x.is_floating_point() else x
    if isinstance(x, list):
        return [_cast(part, dtype) for part in x]
    if not isinstance(x, Distribution | Transform):
        return x
    copied: Any = object.__new__(type(x))
    kept = vars(x) if isinstance(x, Distribution | _InverseTransform) else vars(x) | {"_inv": None}
    copied.__dict__.update({name: _cast(part, dtype) for name, part in kept.items()})
    if isinstance(x, Transform):
        copied._cached_x_y = None, None
        return copied
    copied._validate_args = False
    if isinstance(x, LowRankMultivariateNormal):  # what torch has derived in the old precision
        copied._capacitance_tril = _batch_capacitance_tril(
            copied._unbroadcasted_cov_factor, copied._unbroadcasted_cov_diag
        )
    if isinstance(x, (Categorical, *_BINARY)):
        copied.__dict__.pop("probs", None)
        copied.logits = copied._param = _exact_logits(x).to(dtype)
    return copied


def _exact_logits(d: Any) -> Tensor:
    """The logits in float64: log p of a Categorical, log p/(1 - p) else; infinite where a probability is 0."""
    given, binary = vars(d), not isinstance(d, Categorical)
    if "probs" not in given:
        return d.logits.double()
    p = d.probs.double()
    exact = _log(p) - _log(1 - p) if binary else _log(p)
    if "logits" not in given:
        return exact
    # Both are there, and one was computed from the other: logits from probabilities, with a floor that `exact` does not
    # have; or probabilities from logits, and these may have underflown.
    return torch.where(d.logits == probs_to_logits(d.probs, is_binary=binary), exact, d.logits.double())


def _log(p: Tensor) -> Tensor:
    """The logarithm, whose gradient is 0 and not NaN where p = 0."""
    return torch.where(p > 0, torch.where(p > 0, p, 1).log(), -math.inf)
