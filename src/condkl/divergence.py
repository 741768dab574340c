"""The KL divergence of a joint of several blocks and its terms, eqs. (2)-(4), for any `torch.distributions`."""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.distributions import Distribution

from condkl._checks import at_least_one, conditional, seeded
from condkl._kl.chain import Chain, blocks_at
from condkl._kl.pair import divergence
from condkl._kl.parameters import at_least_single, known, tensor_of

#: A function of the draws above that returns the distribution of a block given them, one for each.
Conditional = Callable[..., Distribution]
#: A distribution, and functions of the draws above.
Blocks = Sequence[Distribution | Conditional]
#: How the means over the draws above are taken.
Method = Literal["auto", "exact", "quadrature", "sobol", "monte_carlo"]


@dataclass(frozen=True, eq=False)
class KLChain:
    """The terms of eq. (3) in nats, one for each block, from the top, along the last dimension of `terms`.

    `marginal` is A = KL[q(v) || p(v)], `conditional` is C = E_q(v) KL~[q(u|v) || p(u|v)], the sum of all terms below
    the first, and `total` is A + C. `standard_error` is that of `total`, 0 where no sample was drawn. `method` says of
    each block how its KL was found, and how the mean over its draws was taken for the blocks below.
    """

    terms: Tensor
    standard_error: Tensor
    method: tuple[str, ...]

    @property
    def marginal(self) -> Tensor:
        """A, with the batch shape."""
        return self.terms[..., 0]

    @property
    def conditional(self) -> Tensor:
        """C, with the batch shape."""
        return self.terms[..., 1:].sum(-1)

    @property
    def total(self) -> Tensor:
        """A + C, with the batch shape."""
        return self.terms.sum(-1)


def kl_chain(
    q: Blocks,
    p: Blocks,
    method: Method = "auto",
    samples: int = 10_000,
    nodes: int = 32,
    tolerance: float = 1e-6,
    generator: torch.Generator | None = None,
) -> KLChain:
    """KL[q(u,v) || p(u,v)] = KL[q(v) || p(v)] + E_q(v) KL~[q(u|v) || p(u|v)], eq. (3), in nats, for any blocks.

    `q` and `p` hold as many blocks, from the top: first a distribution of v, then functions that map the draws above
    to a distribution, as `lambda v: …`, then `lambda v, u: …`. The batch shape of the first is that of the answer, one
    value for each image, say. A function gets draws of shape (n,) + batch + event and returns a distribution with batch
    shape (n,) + batch.

    The KL of each block is a closed form, a sum over discrete values or an integral over a number, whichever holds; if
    there is none it is sampled. The mean over draws above is taken by `method`:

    - "exact": a sum over all values, where they are few enough.
    - "quadrature": Gauss-Hermite `nodes` for a Gaussian in one dimension, 3/4 and half as many along each of two and
      three. Another rule checks them to `tolerance`, relative above one nat; in one dimension panels refine what they
      miss. What is narrower than 1/100 of a standard deviation may hide from both.
    - "sobol": `samples` points, up to a power of 2, of a low-discrepancy sequence, where draws are a function of
      normals, or have a quantile function; in 64 groups with shifts of their own, of which the standard error is made.
    - "monte_carlo": so many `samples`, for each element of the batch.
    - "auto": the first of them that applies to a block, and holds.

    Every value carries its gradient: through sums, nodes and draws, or, where draws are no function of parameters, by
    the score function with the mean of the other draws as baseline. Where p does not cover q the answer is `inf`.
    Samples come from `generator`, or from the global one. Under `torch.func.vmap`, where no value can be looked at,
    nothing is checked.

    Raises:
        TypeError: if an argument is of the wrong kind.
        ValueError: if shapes disagree, a batch is missing, `method` does not apply, or a term is no number.

    Source:
        Kosiorek (2017), eqs. (2)-(4); Cover & Thomas (2006), theorem 2.5.3; L'Ecuyer & Lemieux (2000) for shifts.

    Example:
        >>> from torch.distributions import Categorical
        >>> even, table = Categorical(torch.ones(2)), torch.tensor([[0.9, 0.1], [0.2, 0.8]])
        >>> kl = kl_chain((even, lambda v: Categorical(table[v])), (even, lambda v: even.expand(v.shape)))
        >>> round(kl.total.item(), 4)
        0.2804
        >>> kl.method
        ('closed form; mean over 2 values', 'closed form')
    """
    _check_blocks(q, p)
    if method not in get_args(Method):
        raise ValueError(f"method: expected {', '.join(get_args(Method))}, got {method!r}.")
    at_least_one("nodes", nodes)
    if at_least_one("samples", samples) == 1:
        raise ValueError("samples: expected at least 2, got 1. One sample has no standard error.")
    if not tolerance > 0:
        raise ValueError(f"tolerance: expected a number above 0, got {tolerance!r}.")
    chain = Chain(q, p, method, samples, nodes, tolerance)
    with randomness_from(generator):
        each = chain.terms()
    for text in dict.fromkeys(chain.warnings):
        warnings.warn(f"kl_chain: {text}", stacklevel=2)
    terms, totals = each.mean(0), each.detach().sum(-1)
    error = torch.zeros_like(totals[0])
    if len(each) > 1:  # one log ratio of +inf proves that the KL is infinite: nothing is uncertain then
        error = torch.where(totals.isinf().any(0), 0, totals.std(0) / math.sqrt(len(each)))
    if known(terms.isnan()):
        raise ValueError(
            "kl_chain: a term is no number, as draws or parameters leave the range of their dtype. "
            "Use float64, or distributions of the logarithm."
        )
    return KLChain(terms.to(chain.dtype), error.to(chain.dtype), chain.words())


def conditional_kl_at(q_u: Conditional, p_u: Conditional, v: Tensor) -> Tensor:
    """c(v) = KL~[q(u|v) || p(u|v)], eq. (4), in nats: a closed form, a sum over u, or an integral over a number.

    `q_u` and `p_u` map v, of shape (n,) + its event shape, to distributions with batch shape (n,), that of the result.
    A ValueError says that shapes disagree, that a batch is missing, or that only samples of u could tell.

    Source:
        Kosiorek (2017), eq. (4).

    Example:
        >>> from torch.distributions import Normal
        >>> q_u, p_u = lambda v: Normal(0 * v, 1.0), lambda v: Normal(v, 1.0)
        >>> conditional_kl_at(q_u, p_u, torch.tensor([0.0, 1.0, 2.0]))  # v²/2
        tensor([0.0000, 0.5000, 2.0000])
    """
    for name, f in (("q_u", q_u), ("p_u", p_u)):
        conditional(name, f)
    if not isinstance(v, Tensor) or not v.dim():
        got = f"shape {tuple(v.shape)}" if isinstance(v, Tensor) else type(v).__name__
        raise TypeError(f"v: expected a tensor of draws, shape (n,) + event, got {got}.")
    q, p = blocks_at(("q_u", "p_u"), (q_u, p_u), (v,), v.shape[:1])
    return divergence(q, p).value.to(at_least_single(tensor_of(q, p).dtype))


def _check_blocks(q: Blocks, p: Blocks) -> None:
    for name, blocks in (("q", q), ("p", p)):
        if not isinstance(blocks, tuple | list) or not blocks:
            raise TypeError(
                f"{name}: expected a tuple of blocks from the top, (q_v, q_u_given_v), got {type(blocks).__name__}."
            )
        if not isinstance(blocks[0], Distribution):
            raise TypeError(f"{name}[0]: expected a torch distribution, got {type(blocks[0]).__name__}.")
        for k, f in enumerate(blocks[1:], 1):
            conditional(f"{name}[{k}]", f, of="the draws above")
    if len(q) != len(p):
        raise ValueError(f"p: expected {len(q)} blocks as in q, got {len(p)}.")


@contextmanager
def randomness_from(generator: torch.Generator | None) -> Iterator[None]:
    """Let `torch.distributions`, which know only the global generator, draw from `generator`.

    Example:
        >>> from torch.distributions import Normal
        >>> with randomness_from(torch.Generator().manual_seed(0)):
        ...     draw = Normal(0.0, 1.0).sample()  # the same one whenever the generator starts from this seed
    """
    if generator is None:
        yield
        return
    seeded("generator", generator)
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
