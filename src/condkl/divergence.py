"""The KL divergence of a joint of two blocks and its two terms, eqs. (2)-(4), for any `torch.distributions`."""

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Literal, NamedTuple, get_args

import torch
from scipy.special import roots_hermitenorm
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Distribution, Normal, OneHotCategorical, kl_divergence

from condkl._checks import at_least_one

#: A function of v that returns the distribution of u given it, one for each v.
Conditional = Callable[[Tensor], Distribution]
#: How the expectation over v is taken.
Method = Literal["auto", "exact", "quadrature", "monte_carlo"]
_ORDER = "The order is q_v, q_u_given_v, p_v, p_u_given_v."
_gauss_hermite = lru_cache(maxsize=16)(roots_hermitenorm)  # unlike NumPy's, SciPy's rule is accurate at large n


class KLChain(NamedTuple):
    """The terms of eq. (3) in nats, each of shape ().

    `marginal` is A = KL[q(v) || p(v)], `conditional` is C = E_q(v) KL~[q(u|v) || p(u|v)], and `total` is their sum,
    KL[q(u,v) || p(u,v)]. `standard_error` is that of `total`, 0 where no sample was drawn.
    """

    marginal: Tensor
    conditional: Tensor
    total: Tensor
    standard_error: Tensor


def kl_chain(
    q_v: Distribution,
    q_u_given_v: Conditional,
    p_v: Distribution,
    p_u_given_v: Conditional,
    method: Method = "auto",
    samples: int = 10_000,
    nodes: int = 64,
    generator: torch.Generator | None = None,
) -> KLChain:
    """KL[q(u,v) || p(u,v)] = KL[q(v) || p(v)] + E_q(v) KL~[q(u|v) || p(u|v)], eq. (3), in nats.

    "exact" sums over the support of a finite q(v) such as `Categorical`; "quadrature" uses Gauss-Hermite `nodes` for a
    scalar `Normal` q(v); "monte_carlo" draws so many `samples` of v (and u, where no closed form of eq. (4) is
    registered) from `generator`, or from the global one. "auto" takes the first of the three that applies. Where p
    does not cover q the answer is `inf`. Exact and quadrature values are differentiable; Monte Carlo values carry no
    gradient, because differentiating one sample of C would leave out how q(v) moves it.

    Args:
        q_v, p_v: with batch shape () and the same event shape.
        q_u_given_v, p_u_given_v: map v of shape (n,) + q_v.event_shape to a distribution with batch shape (n,).

    Raises:
        TypeError: if an argument is of the wrong kind (often: arguments in another order).
        ValueError: if shapes disagree, a batch is missing, or `method` does not apply.

    Source:
        Kosiorek (2017), eqs. (2)-(4); Cover & Thomas (2006), theorem 2.5.3.

    Example:
        >>> even, table = Categorical(torch.ones(2)), torch.tensor([[0.9, 0.1], [0.2, 0.8]])
        >>> kl = kl_chain(even, lambda v: Categorical(table[v]), even, lambda v: even.expand(v.shape))
        >>> round(kl.total.item(), 4)
        0.2804
    """
    for name, d in (("q_v", q_v), ("p_v", p_v)):
        if not isinstance(d, Distribution):
            raise TypeError(f"{name}: expected a torch distribution, got {type(d).__name__}. {_ORDER}")
        if d.batch_shape != ():
            raise ValueError(
                f"{name}: expected one distribution with batch shape (), got batch {tuple(d.batch_shape)} and event "
                f"{tuple(d.event_shape)}. Put the dimensions of v into the event with Independent(…, 1)."
            )
    for name, f in (("q_u_given_v", q_u_given_v), ("p_u_given_v", p_u_given_v)):
        if isinstance(f, Distribution) or not callable(f):
            raise TypeError(f"{name}: expected a function from v to a distribution, got {type(f).__name__}. {_ORDER}")
    _check_events("q_v", q_v, "p_v", p_v)
    if method not in get_args(Method):
        raise ValueError(f"method: expected {', '.join(get_args(Method))}, got {method!r}.")
    at_least_one("nodes", nodes)
    if at_least_one("samples", samples) == 1:
        raise ValueError("samples: expected at least 2, got 1. One sample has no standard error.")

    finite, normal = q_v.has_enumerate_support, isinstance(q_v, Normal)
    if method == "exact" and not finite:
        raise ValueError(f"method: 'exact' needs a finite q_v such as Categorical, got {type(q_v).__name__}.")
    if method == "quadrature" and not normal:
        raise ValueError(f"method: 'quadrature' needs a scalar Normal q_v, got {type(q_v).__name__}.")
    joints = (q_v, q_u_given_v, p_v, p_u_given_v)
    if method != "monte_carlo" and (finite or normal):
        try:
            a, c = _by_enumeration(*joints) if finite else _by_quadrature(*joints, nodes)
            return KLChain(a, c, a + c, torch.zeros_like(a + c).detach())
        except NoClosedFormError as error:
            if method != "auto":
                raise ValueError(f"method: {method!r} is out of reach: {error} Use 'monte_carlo'.") from error
    with randomness_from(generator):
        return _by_monte_carlo(*joints, samples)


class NoClosedFormError(ValueError):
    """No closed form of eq. (4) is registered with torch, and u is not finite."""


def _by_enumeration(q_v: Distribution, q_u: Conditional, p_v: Distribution, p_u: Conditional) -> tuple[Tensor, Tensor]:
    v = q_v.enumerate_support()
    # A v of zero mass says nothing, whatever the conditionals are there: 0 log 0 = 0, and 0 times inf is 0.
    v = v[_mass(q_v, v) > 0]
    return _enumerated_kl(q_v, p_v, v), (_mass(q_v, v) * conditional_kl_at(q_u, p_u, v)).sum()


def _by_quadrature(
    q_v: Distribution, q_u: Conditional, p_v: Distribution, p_u: Conditional, nodes: int
) -> tuple[Tensor, Tensor]:
    assert isinstance(q_v, Normal)
    closed = _registered_kl(q_v, p_v)  # exact, whatever the nodes

    def terms(n: int) -> tuple[Tensor, Tensor]:
        # Nodes of a standard normal, scaled and shifted: so they carry the gradient of the parameters of q(v).
        at, mass = _gauss_hermite(n)
        x, weight = (torch.as_tensor(a).to(q_v.loc) for a in (at, mass / math.sqrt(2 * math.pi)))
        v = q_v.loc + q_v.scale * x
        marginal = (weight * (q_v.log_prob(v) - _log_prob(p_v, v))).sum() if closed is None else closed
        return marginal, (weight * conditional_kl_at(q_u, p_u, v)).sum()

    found = terms(nodes)
    with torch.no_grad():  # a rule of another order says whether the nodes resolve these functions of v
        others = terms(2 * nodes + 1)
    for name, term, other in zip(("KL[q(v)||p(v)]", "KL~[q(u|v)||p(u|v)]"), found, others, strict=True):
        value, change = (float(x.detach().abs()) for x in (term, other - term))
        if change > 1e-6 * max(1.0, value):  # in nats, and relative where the term is above one nat
            warnings.warn(
                f"kl_chain: {nodes} Gauss-Hermite nodes do not resolve {name} as a function of v "
                f"(another rule differs by {change:.1g} nats). Pass more nodes, or method='monte_carlo'.",
                stacklevel=3,
            )
    return found


@torch.no_grad()
def _by_monte_carlo(q_v: Distribution, q_u: Conditional, p_v: Distribution, p_u: Conditional, samples: int) -> KLChain:
    v = q_v.sample(torch.Size([samples]))
    closed = _registered_kl(q_v, p_v)
    a = q_v.log_prob(v) - _log_prob(p_v, v) if closed is None else closed.expand(samples)
    q_uv, p_uv = _conditionals(q_u, p_u, v)
    c = _registered_kl(q_uv, p_uv)
    if c is None:  # one u for each v suffices for the mean; its noise shows in the standard error
        u = q_uv.sample()
        c = q_uv.log_prob(u) - _log_prob(p_uv, u)
    each = a + c  # a and c share v: the error of the total is not that of two independent terms
    # One log ratio of +inf proves that the KL is infinite: nothing about the answer is uncertain then.
    error = torch.zeros_like(each[0]) if bool(each.isinf().any()) else each.std() / math.sqrt(samples)
    return KLChain(a.mean(), c.mean(), each.mean(), error)


def conditional_kl_at(q_u: Conditional, p_u: Conditional, v: Tensor) -> Tensor:
    """c(v) = KL~[q(u|v) || p(u|v)], eq. (4), in nats, in closed form or by enumeration of u.

    `q_u` and `p_u` map v, of shape (n,) + its event shape, to distributions with batch shape (n,), that of the result.
    A ValueError says that shapes disagree or a batch is missing, a NoClosedFormError that torch has no closed form and
    u is not finite.

    Source:
        Kosiorek (2017), eq. (4).

    Example:
        >>> q_u, p_u = lambda v: Normal(0 * v, 1.0), lambda v: Normal(v, 1.0)
        >>> conditional_kl_at(q_u, p_u, torch.tensor([0.0, 1.0, 2.0]))  # v²/2
        tensor([0.0000, 0.5000, 2.0000])
    """
    q, p = _conditionals(q_u, p_u, v)
    c = _registered_kl(q, p)
    if c is not None:
        return c
    if not q.has_enumerate_support:
        raise NoClosedFormError(f"torch has no KL of {type(q).__name__} from {type(p).__name__} registered.")
    return _enumerated_kl(q, p, q.enumerate_support())  # of shape (k, n) + event_shape


def _enumerated_kl(q: Distribution, p: Distribution, u: Tensor) -> Tensor:
    """The sum of mass times log ratio over the first dimension of u."""
    mass = _mass(q, u)
    # 0 log 0 = 0: where q has no mass, both logarithms are taken of 1, as masking the product alone would leave a
    # gradient of NaN. Where q has mass and p has none, the KL is infinite.
    charged = mass > 0
    one = torch.ones_like(mass)
    ratio = torch.where(charged, mass, one).log() - torch.where(charged, _mass(p, u), one).log()
    return (mass * ratio).sum(0)


def _registered_kl(q: Distribution, p: Distribution) -> Tensor | None:
    """The closed form that torch has for this pair, or None."""
    try:
        kl = kl_divergence(q, p)
    except NotImplementedError:
        return None
    # At the edge of their parameters some of torch's forms fail: a Binomial with probs=1 gives NaN or -inf.
    return None if bool((kl.isnan() | (kl == -math.inf)).any()) else kl


def _mass(d: Distribution, value: Tensor) -> Tensor:
    """The probability of each value."""
    table = _table_mass(d, value)
    return _log_prob(d, value).exp() if table is None else table


def _table_mass(d: Distribution, value: Tensor) -> Tensor | None:
    """The probability of each value under a table, read as it stands: torch's `log_prob` puts a floor under zeros."""
    if isinstance(d, Categorical):
        # The clamp only lets `gather` read something: a value that is no index of the table has mass 0.
        index = value.long().clamp(0, d.param_shape[-1] - 1)
        mass = d.probs.expand(*value.shape, -1).gather(-1, index.unsqueeze(-1)).squeeze(-1)
        return torch.where(index == value, mass, 0)
    if isinstance(d, OneHotCategorical):
        return (d.probs * value).sum(-1)
    if isinstance(d, Bernoulli):
        return (value == 1) * d.probs + (value == 0) * (1 - d.probs)
    return None


def _log_prob(d: Distribution, value: Tensor) -> Tensor:
    """`d.log_prob`, but -inf outside the support of `d`, where torch raises or extrapolates."""
    table = _table_mass(d, value)
    if table is not None:
        return table.log()
    try:
        support = d.support
    except NotImplementedError:
        support = None
    if support is None:  # a distribution without a declared support cannot be checked
        return d.log_prob(value)
    inside = support.check(value)
    # Some constraints answer for each component: an event is inside if all of it is.
    batch = torch.broadcast_shapes(value.shape[: value.dim() - len(d.event_shape)], d.batch_shape)
    while inside.dim() > len(batch):
        inside = inside.all(-1)
    if bool(inside.all()):
        return d.log_prob(value)
    # A value that is surely inside stands in where `value` is not: `log_prob` may raise there, or spoil the gradient.
    with torch.random.fork_rng():  # the draw leaves the global stream as it is
        filler = d.sample(torch.Size(batch[: len(batch) - len(d.batch_shape)])).to(value.dtype)
    keep = inside.reshape(inside.shape + (1,) * len(d.event_shape))
    return torch.where(inside, d.log_prob(torch.where(keep, value, filler)), -math.inf)


def _conditionals(q_u: Conditional, p_u: Conditional, v: Tensor) -> tuple[Distribution, Distribution]:
    """Evaluate both conditionals at v and check their shapes."""
    n, q, p = len(v), q_u(v), p_u(v)
    for name, d in (("q_u_given_v", q), ("p_u_given_v", p)):
        if not isinstance(d, Distribution):
            raise TypeError(f"{name}: expected it to return a torch distribution, got {type(d).__name__}.")
        if d.batch_shape != (n,):
            raise ValueError(
                f"{name}: for v of shape {tuple(v.shape)} expected a distribution with batch shape ({n},), "
                f"got batch {tuple(d.batch_shape)} and event {tuple(d.event_shape)}. Put the dimensions of u "
                "into the event with Independent, and give a conditional that ignores v the batch by expand."
            )
    _check_events("q_u_given_v", q, "p_u_given_v", p)
    return q, p


def _check_events(q_name: str, q: Distribution, p_name: str, p: Distribution) -> None:
    want, got = tuple(q.event_shape), tuple(p.event_shape)
    if want != got:
        raise ValueError(f"{p_name}: expected the event shape {want} of {q_name}, got {got}.")
    if isinstance(q, Categorical) and isinstance(p, Categorical):
        k, m = q.param_shape[-1], p.param_shape[-1]
        if k != m:
            raise ValueError(f"{p_name}: expected {k} categories as in q, got {m}. Pad with zero probabilities.")


@contextmanager
def randomness_from(generator: torch.Generator | None) -> Iterator[None]:
    """Let `torch.distributions`, which know only the global generator, draw from `generator`.

    Example:
        >>> with randomness_from(torch.Generator().manual_seed(0)):
        ...     draw = Normal(0.0, 1.0).sample()  # the same one whenever the generator starts from this seed
    """
    if generator is None:
        yield
        return
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
