"""The derivative of each of many draws or densities in a few parameters, in one pass for each parameter."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import Beta, Dirichlet, Distribution, Gamma, Independent, TransformedDistribution


class NotDifferentiableError(RuntimeError):
    """A function can be differentiated once, so that only the sum over its outputs has a derivative."""


def derivatives_of_each(f: Callable[[Tensor], Tensor], at: Tensor, again: bool = False) -> Tensor:
    """df_i/dx_j of a function from shape (d,) to shape (n,), at x: shape (n, d). `again` keeps the graph.

    By reverse mode alone, as torch has no forward mode of a Gamma's draw. g = Σ_i w_i ∇f_i is linear in w, so that its
    derivatives in w are those of each f_i: d passes serve all n outputs.
    """
    with torch.enable_grad():
        x = at if again and at.requires_grad else at.detach().requires_grad_()
        values = f(x)
        if not values.requires_grad:
            return values.new_zeros(len(values), len(x))
        w = torch.ones_like(values, requires_grad=True)
        try:
            (total,) = torch.autograd.grad(values, x, w, create_graph=True, materialize_grads=True)
            rows = [_in_weights(g, w, again) for g in total]
        except (RuntimeError, NotImplementedError) as error:
            raise NotDifferentiableError(str(error)) from error
    each = torch.stack(rows, dim=-1)
    # What can be differentiated only once is missing from `each`, without an error of torch's, and not from `total`.
    rounding = (
        1e3 * torch.finfo(each.dtype).eps * (each.detach().abs().sum(0) + total.detach().abs()) * len(each) ** 0.5
    )
    missing = (each.detach().sum(0) - total.detach()).abs() > rounding
    if bool(missing.any()) and bool(total.isfinite().all()):
        raise NotDifferentiableError("Torch differentiates only the sum over the outputs.")
    return each


def _in_weights(g: Tensor, w: Tensor, again: bool) -> Tensor:
    if not g.requires_grad:
        return torch.zeros_like(w)
    return torch.autograd.grad(g, w, retain_graph=True, create_graph=again, materialize_grads=True)[0]


def differentiable_draw(q: Distribution, shape: torch.Size) -> Tensor:
    """A reparameterised draw, shape `shape` + batch and event shape, through which each draw can be differentiated.

    Torch's own of a Dirichlet, and so of a Beta, can be differentiated once, which gives the sum over draws alone.
    Here a Dirichlet is a vector of normalised Gammas, whose logarithms do not underflow: G(α) = G(α + 1) U^(1/α).
    """
    match q:
        case Independent():
            return differentiable_draw(q.base_dist, shape)
        case Beta():
            both = torch.stack([q.concentration1, q.concentration0], dim=-1)
            return differentiable_draw(Dirichlet(both), shape)[..., 0]
        case Dirichlet():
            alpha = q.concentration.expand(shape + q.concentration.shape)
            log_gamma = Gamma(alpha + 1, torch.ones_like(alpha)).rsample().log()
            return (log_gamma - torch.empty_like(alpha).exponential_() / alpha).softmax(-1)
        case TransformedDistribution() if type(q).rsample is TransformedDistribution.rsample:
            v = differentiable_draw(q.base_dist, shape)
            for transform in q.transforms:
                v = transform(v)
            return v
        case _:
            return q.rsample(shape)
