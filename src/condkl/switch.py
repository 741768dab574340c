"""The switch: one layer's conditional KL, eq. (4), with a weight λ on the gradient through the layer above."""

from collections.abc import Callable

from torch import Tensor
from torch.distributions import Distribution

from condkl._checks import conditional, unit_interval
from condkl._kl.pair import OnlySamplesError, check_events, common_batch, divergence
from condkl._kl.parameters import at_least_single, tensor_of

_CURE = (
    "Register one with torch.distributions.kl.register_kl, or write C as a log ratio at a draw of u that is "
    "made again at scale_gradient(v, weight) with the same noise."
)


def scale_gradient(z: Tensor, weight: float | Tensor) -> Tensor:
    """z_λ = sg(z) + λ(z - sg(z)): the value of z to the last bit, λ times its gradient.

    λz + (1 - λ)sg(z) has the same gradient, but rounds the value. z is finite and has any shape; whole numbers, which
    have no gradient, come back as they are. λ, the `weight`, is a tensor where it changes while a compiled step stays
    as it is.

    Example:
        >>> import torch
        >>> v = torch.tensor(3.0, requires_grad=True)
        >>> (scale_gradient(v, 0.5) ** 2).backward()
        >>> v.grad  # half of 6
        tensor(3.)
    """
    if not z.is_floating_point() or (not isinstance(weight, Tensor) and weight == 1):
        return z
    stopped = z.detach()
    if not isinstance(weight, Tensor) and weight == 0:  # a cut path, rather than zeros to carry along it
        return stopped
    return stopped + weight * (z - stopped)


def conditional_kl(
    q: Callable[[Tensor], Distribution],
    p: Callable[[Tensor], Distribution],
    v: Tensor,
    weight: float | Tensor = 1.0,
) -> Tensor:
    """c(v) = KL~[q(u|v) || p(u|v)], eq. (4), in nats, with λ times its gradient through v.

    Both conditionals are evaluated at `scale_gradient(v, weight)`: the value stays, every path through v gets λ, the
    `weight` in [0, 1], and the parameters of q and p get their whole gradient. 1 is the gradient of the ELBO, 0 is
    eq. (9). What else is made of v, such as the u that a decoder sees, is to be made of the plain v.

    A v of whole numbers has no path. Its weight belongs to the probability of each value, as in the example.

    Args:
        q, p: map v, of any shape, to distributions of u with one event shape. In a model of images q is
            `lambda v: q_u(v, x)`, x being the images.
        v: the draws of the layer above.
        weight: λ, a number, or a tensor where it changes while a compiled step stays as it is.

    Returns:
        The KL of each element, of the distributions' batch shape. What is not an event, as the units of a `Normal`
        without `Independent`, is not summed.

    Raises:
        TypeError: if q or p is no function, or gives no distribution, or v is no tensor.
        ValueError: if their events or batches differ, λ is a number outside [0, 1], or only samples of u could tell.

    Source:
        Kosiorek (2017), eqs. (4), (7) and (9).

    Example:
        >>> import torch
        >>> from torch.distributions import Categorical, Normal
        >>> v, slope = (torch.tensor(number, requires_grad=True) for number in ([1.0, 2.0], 3.0))
        >>> c = conditional_kl(lambda v: Normal(slope * v, 1.0), lambda v: Normal(v, 1.0), v, weight=0.5)  # 2v²
        >>> c.sum().backward()
        >>> c.detach(), v.grad, slope.grad  # half of 4v, and all of 2v²
        (tensor([2., 8.]), tensor([2., 4.]), tensor(10.))
        >>> q_v, means = Categorical(logits=torch.zeros(2, requires_grad=True)), torch.tensor([0.0, 2.0])
        >>> c = conditional_kl(lambda v: Normal(means[v], 1.0), lambda v: Normal(0.0 * v, 1.0), torch.arange(2))
        >>> (scale_gradient(q_v.probs, 0.5) * c).sum().backward()  # a finite v
    """
    if not isinstance(weight, Tensor):
        weight = unit_interval("weight", weight)
    for name, f in (("q", q), ("p", p)):
        conditional(name, f, cure=" The order is q, p, v; one that ignores v is `lambda v: …`.")
    if not isinstance(v, Tensor):
        raise TypeError(f"v: expected a tensor of draws, got {type(v).__name__}. The order is q, p, v.")
    seen = scale_gradient(v, weight)
    q_u, p_u = q(seen), p(seen)
    for name, d in (("q", q_u), ("p", p_u)):
        if not isinstance(d, Distribution):
            raise TypeError(f"{name}: expected it to return a torch distribution, got {type(d).__name__}.")
    check_events(("q", "p"), q_u, p_u)
    common_batch(("q", "p"), q_u, p_u)
    try:
        return divergence(q_u, p_u).value.to(at_least_single(tensor_of(q_u, p_u).dtype))
    except OnlySamplesError as error:
        raise ValueError(f"q, p: {error} {_CURE}") from error
