"""What a trained model is worth on images, for any model given as distributions: its likelihood, and units in use.

A posterior q, or a prior p, is a sequence of its layers from the top: first a distribution, that of v, then for each
layer below a function of all draws above it, v first, that gives the layer's distribution. Of a two-layer VAE at
images x, q is `[q_v(x), lambda v: q_u(v, x)]` and p is `[p_v, lambda v: p_u(v)]`.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.distributions import Distribution

from condkl._checks import at_least_one
from condkl._kl.supports import declared
from condkl.divergence import randomness_from

#: The layers of a posterior or of a prior, from the top.
Layers = Sequence[Distribution | Callable[..., Distribution]]
#: A function of all draws, v first, that gives log p(x|draws), or the distribution of x.
Likelihood = Callable[..., Tensor | Distribution]
ACTIVE = 0.01  # the variance above which a unit counts as in use (Burda et al., 2015)


@torch.no_grad()
def iwae_log_likelihood(
    q: Layers,
    p: Layers,
    log_px: Likelihood,
    samples: int,
    chunk: int | None = None,
    x: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Log 1/K Σ_k p(x,z_k) / q(z_k|x), a lower bound of log p(x) on average, tight as K grows; in nats.

    K is `samples`, draws of all layers z from q, whose weights are added up in float64. With K = 1 the mean is the
    ELBO. Noise comes from `generator`, or from the global one; another `chunk` draws other noise.

    Args:
        q: the posterior of all images, a layer's batch shape being (images,).
        p: the prior, with the events of q and a batch shape of (images,) or ().
        log_px: of the draws, log p(x|draws), shape (images,), or the distribution of x, whose logarithm is taken at
            `x`.
        samples: how many draws for each image.
        chunk: None takes one draw at a time: the functions see draws of shape (images,) + event, as in training. A
            number takes so many at once, which is faster for few images: all shapes begin with (chunk,), or with less
            in the last chunk.
        x: the images, shape (images,) + event, where `log_px` gives a distribution; else None.

    Returns:
        An estimate for each image, float64, shape (images,).

    Raises:
        TypeError: if a layer is of the wrong kind.
        ValueError: if shapes disagree, numbers make no sense, or x lies outside the support, as grey levels do where
            pixels are bits.

    Source:
        Burda, Grosse & Salakhutdinov (2015).

    Example:
        >>> from torch.distributions import Normal
        >>> x = torch.tensor([0.5, 2.0])  # v ~ N(0, 1), x ~ N(v, 1): the posterior is N(x/2, 1/2), p(x) = N(0, 2)
        >>> exact = [Normal(x / 2, 0.5**0.5)]
        >>> iwae_log_likelihood(exact, [Normal(0.0, 1.0)], lambda v: Normal(v, 1.0), samples=3, x=x)
        tensor([-1.3280, -2.2655], dtype=torch.float64)
        >>> Normal(0.0, 2**0.5).log_prob(x)
        tensor([-1.3280, -2.2655])
    """
    _check_layers("q", q)
    _check_layers("p", p)
    if len(q) != len(p):
        raise ValueError(f"p: expected {len(q)} layers, as many as q has, got {len(p)}.")
    batch = _first(q).batch_shape
    if len(batch) != 1:
        raise ValueError(
            f"q[0]: expected batch shape (images,), got batch {tuple(batch)} and event {tuple(_first(q).event_shape)}. "
            "Put the dimensions of v into the event with Independent(…, 1)."
        )

    if x is not None and x.shape[:1] != batch:
        raise ValueError(f"x: expected {batch[0]} images, as many as q[0] has, got shape {tuple(x.shape)}.")

    def weigh(n: int) -> Tensor:
        size = torch.Size([] if chunk is None else [n])
        z: list[Tensor] = []
        terms: list[Tensor] = []
        for i, (q_layer, p_layer) in enumerate(zip(q, p, strict=True)):
            q_z, p_z = (_layer(name, i, layer, z) for name, layer in (("q", q_layer), ("p", p_layer)))
            if i and q_z.batch_shape != size + batch:  # a smaller batch would be drawn once for several draws above
                raise ValueError(
                    f"q[{i}]: for draws of shape {tuple(z[-1].shape)} expected batch shape {tuple(size + batch)}, got "
                    f"batch {tuple(q_z.batch_shape)} and event {tuple(q_z.event_shape)}. Put the units of a layer into "
                    "the event with Independent, and give a layer that ignores those above the batch by expand."
                )
            if q_z.event_shape != p_z.event_shape:
                want, got = tuple(q_z.event_shape), tuple(p_z.event_shape)
                raise ValueError(f"p[{i}]: expected the event shape {want} of q[{i}], got {got}.")
            z.append(q_z.sample(size if i == 0 else torch.Size()))
            terms.append(_of_images(f"p[{i}]", p_z.log_prob(z[-1]), size + batch))
            terms.append(-_of_images(f"q[{i}]", q_z.log_prob(z[-1]), size + batch))
        terms.append(_of_images("log_px", _log_likelihood(log_px, z, x), size + batch, one_for_all=False))
        return torch.stack([term.double().expand(size + batch) for term in terms]).sum(0)

    with randomness_from(generator):
        if chunk is None:
            return log_mean_weight(lambda _: weigh(1)[None], samples, 1)
        return log_mean_weight(weigh, samples, chunk)


def log_mean_weight(weigh: Callable[[int], Tensor], samples: int, chunk: int) -> Tensor:
    """Log 1/K Σ_k w_k in float64, K being `samples`: `weigh(n)` gives the logarithms of n weights, `chunk` at most.

    They are along its first dimension, which the result does not have.

    Example:
        >>> log_mean_weight(lambda n: torch.full((n,), 2.0), samples=5, chunk=2)
        tensor(2., dtype=torch.float64)
    """
    at_least_one("samples", samples)
    at_least_one("chunk", chunk)
    total: Tensor | None = None
    for start in range(0, samples, chunk):
        part = weigh(min(chunk, samples - start)).double().logsumexp(0)
        total = part if total is None else torch.logaddexp(total, part)
    assert total is not None
    return total - math.log(samples)


def active_units(
    q: Layers, samples: int = 100, threshold: float = ACTIVE, generator: torch.Generator | None = None
) -> tuple[Tensor, ...]:
    """Which units of each layer are in use: those whose posterior mean varies by more than 0.01 over the images.

    The variances are those of `unit_variances`, and its arguments are taken. A tensor of truth values for each layer,
    from the top, of its event's shape. The posterior mean of u moves with v, so that below the top a unit may vary
    without saying anything of its own: to see that, look at its KL from p(u|v).

    Source:
        Burda, Grosse & Salakhutdinov (2015).

    Example:
        >>> from torch.distributions import Normal
        >>> x = torch.linspace(-1, 1, 50)[:, None]
        >>> q = [Normal(x * torch.tensor([1.0, 0.0]), 0.5), lambda v: Normal(v * torch.tensor([0.0, 2.0]), 0.5)]
        >>> active_units(q)
        (tensor([ True, False]), tensor([False, False]))
    """
    return tuple(variance > threshold for variance in unit_variances(q, samples, generator))


@torch.no_grad()
def unit_variances(q: Layers, samples: int = 100, generator: torch.Generator | None = None) -> tuple[Tensor, ...]:
    """Var_x E[z|x], the variance over images of the posterior mean of each unit, a tensor for each layer from the top.

    Below the top the mean E[u|x] = E_q(v|x) E[u|v,x] is taken over `samples` draws of the layers above, and what their
    noise adds to the variance on average is subtracted: so that the estimate has no bias, and may be a little below 0.
    A layer whose distribution has no mean in torch is averaged over its own draws.

    Args:
        q: the posterior of several images, which are the first dimension of the layers' means.
        samples: how many draws, at least 2.
        generator: where their noise comes from, if not from the global one.

    A ValueError says that there is one image, or that a mean is not a number, as of a `Categorical`.

    Example:
        >>> from torch.distributions import Normal
        >>> unit_variances([Normal(torch.tensor([[0.0], [2.0]]), 1.0)])
        (tensor([2.], dtype=torch.float64),)
    """
    _check_layers("q", q)
    if at_least_one("samples", samples) == 1:
        raise ValueError("samples: expected at least 2, got 1. One draw has no variance of its own to subtract.")
    means = [torch.zeros((), dtype=torch.float64)] * len(q)
    squares = list(means)  # sums of squares around them
    with randomness_from(generator):
        for k in range(1, samples + 1):
            for i, mean in enumerate(_posterior_means(q)):
                off = mean.double() - means[i]
                means[i] = means[i] + off / k
                squares[i] = squares[i] + off * (mean.double() - means[i])
    noise = (square.mean(0) / ((samples - 1) * samples) for square in squares)
    return tuple(mean.var(0) - added for mean, added in zip(means, noise, strict=True))


def _posterior_means(q: Layers) -> list[Tensor]:
    """The mean of each layer at one draw of those above it."""
    z: list[Tensor] = []
    means: list[Tensor] = []
    for i, layer in enumerate(q):
        d = _layer("q", i, layer, z)
        z.append(d.sample())
        try:
            mean = d.mean
        except NotImplementedError:
            mean = z[-1]
        if mean.dim() == 0 or len(mean) < 2:
            raise ValueError(f"q[{i}]: expected two images or more, got means of shape {tuple(mean.shape)}.")
        if not bool(mean.isfinite().all()):
            raise ValueError(
                f"q[{i}]: expected a distribution with a mean, got {type(d).__name__}, whose mean is not a finite "
                "number. A OneHotCategorical has one for each category."
            )
        if means and len(mean) != len(means[0]):
            raise ValueError(
                f"q[{i}]: expected means of {len(means[0])} images, as q[0] has, got shape {tuple(mean.shape)}. Give a "
                "layer that ignores those above the batch by expand."
            )
        means.append(mean)
    return means


def _check_layers(name: str, layers: Layers) -> None:
    if isinstance(layers, Distribution) or callable(layers) or not len(layers):
        raise TypeError(
            f"{name}: expected a sequence of layers, as [q_v, lambda v: q_u(v, x)], got {type(layers).__name__}."
        )
    for i, layer in enumerate(layers):
        if isinstance(layer, Distribution) if i else not isinstance(layer, Distribution):
            want = "a function of the draws above that gives a distribution" if i else "a torch distribution"
            raise TypeError(f"{name}[{i}]: expected {want}, got {type(layer).__name__}. The order is from the top.")


def _first(q: Layers) -> Distribution:
    assert isinstance(q[0], Distribution)
    return q[0]


def _layer(name: str, i: int, layer: Distribution | Callable[..., Distribution], z: Sequence[Tensor]) -> Distribution:
    """The distribution of a layer at the draws above it."""
    d = layer if isinstance(layer, Distribution) else layer(*z)
    if not isinstance(d, Distribution):
        raise TypeError(f"{name}[{i}]: expected it to return a torch distribution, got {type(d).__name__}.")
    return d


def _of_images(name: str, value: Tensor, shape: torch.Size, one_for_all: bool = True) -> Tensor:
    """A term of the weights, which has to have a number for each image, or one for all where that makes sense."""
    if value.shape not in (shape, shape[-1:], torch.Size()) or (not one_for_all and not value.shape):
        raise ValueError(
            f"{name}: expected a logarithm of shape {tuple(shape)}, got {tuple(value.shape)}. "
            "Put what belongs to one image into the event with Independent, or sum over it."
        )
    return value


def _log_likelihood(log_px: Likelihood, z: Sequence[Tensor], x: Tensor | None) -> Tensor:
    found = log_px(*z)
    if (x is None) == isinstance(found, Distribution):
        want = "the images, as log_px gives a distribution" if x is None else "None, as log_px gives a tensor"
        raise ValueError(f"x: expected {want}, got {'None' if x is None else 'a tensor'}.")
    if not isinstance(found, Distribution):
        return found
    assert x is not None
    x = x if x.is_floating_point() else x.to(torch.get_default_dtype())  # torch has no density at whole numbers
    support = declared(found)
    if support is not None and not bool(support.check(x).all()):
        raise ValueError(
            f"x: expected values that {type(found).__name__} can take, got others, from {x.min():g} to {x.max():g}. "
            "Pixels that are bits are 0 or 1: binarise grey levels."
        )
    return found.log_prob(x)
