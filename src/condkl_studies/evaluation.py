"""What a trained model is worth on images that it was not trained on: ELBO, likelihood, and the units in use."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as nnf
from torch import Tensor

from condkl._checks import at_least_one
from condkl.evaluation import ACTIVE, log_mean_weight
from condkl.vae import Gaussian, HierarchicalVAE, Terms
from condkl_studies import products
from condkl_studies.data import binarise
from condkl_studies.following import summary
from condkl_studies.randomness import seeded

BLOCK = 1000  # images or draws whose randomness is drawn at once: with another number, other numbers are drawn
_ACTIVE_NATS = 0.01  # of a unit's KL
_FACTORS = 98  # of one product; 784 pixels are eight products


@dataclass(frozen=True)
class Units:
    """What each latent unit does, over many images.

    `variance` is that of the posterior mean of each unit of v over the images, shape (width of v,); `kl` has the mean
    KL of each unit in nats, one tensor per layer, v first.
    """

    variance: Tensor
    kl: tuple[Tensor, ...]

    def active(self) -> dict[str, int]:
        """How many units are in use: `active_v`, by variance > 0.01, and `active_u` (`active_u2`, … below it), by KL.

        The posterior mean of u inherits the variance of v, so that its variance says nothing about u's own use: a
        unit of u counts if its KL is above 0.01 nats.
        """
        below = {f"active_u{i if i > 1 else ''}": (kl > _ACTIVE_NATS).sum() for i, kl in enumerate(self.kl[1:], 1)}
        found = {"active_v": (self.variance > ACTIVE).sum(), **below}
        return {name: int(count) for name, count in found.items()}


@torch.no_grad()
def mean_terms(model: HierarchicalVAE, images: Tensor, seed: int, chunk: int = BLOCK) -> dict[str, float]:
    """Means over `images` of the ELBO and its terms, one draw of the binarisation and of the latents per image.

    The images are grey levels as bytes, shape (n, pixels); `chunk` of them pass through the networks at once, which
    changes the means by rounding alone. `seed` is a whole number of at least 0. The means are `elbo`, `R`, `A`, `C` in
    nats (and `C1`, `C2`, … with several conditional KLs). An ELBO is a lower bound of the log-likelihood, not the
    log-likelihood.
    """
    parts = [model(x, noise=noise) for x, *noise in _drawn(model, images, seed, chunk)]
    return summary(Terms(*(_joined([getattr(part, name) for part in parts]) for name in ("R", "A", "C"))))


@torch.no_grad()
def units(model: HierarchicalVAE, images: Tensor, seed: int, chunk: int = BLOCK) -> Units:
    """What each latent unit does on `images`, by one draw of binarisation and latents per image, as in `mean_terms`."""
    means, kls = [], []
    for x, *noise in _drawn(model, images, seed, chunk):
        q = model.posterior(x)
        means.append(q.mean)
        below = model.layers(q.at(noise[0]), noise[1:], model.from_x(x))
        kls.append([q.kl_per_unit_from_standard().sum(0), *(layer.q.kl_per_unit(layer.p).sum(0) for layer in below)])
    return Units(
        _joined(means).var(0), tuple(_joined(kl, torch.stack).sum(0) / len(images) for kl in zip(*kls, strict=True))
    )


def _drawn(model: HierarchicalVAE, images: Tensor, seed: int, chunk: int) -> Iterator[Sequence[Tensor]]:
    """Bits of the images in the model's precision, and noise for each layer, `chunk` images at once."""
    weight = next(model.parameters())
    generator = seeded(seed, weight.device)

    def block(grey: Tensor) -> Sequence[Tensor]:
        x = binarise(grey, generator, weight.dtype)
        return [x, *model.noise(x, generator)]

    return _rechunked(map(block, images.to(weight.device).split(BLOCK)), chunk)


def _rechunked(blocks: Iterable[Sequence[Tensor]], chunk: int) -> Iterator[Sequence[Tensor]]:
    """The rows of all blocks, `chunk` at once: so that what is drawn by blocks does not depend on the chunk."""
    at_least_one("chunk", chunk)
    held: Sequence[Tensor] = []
    for block in blocks:
        held = [torch.cat(both) for both in zip(held, block, strict=True)] if held else block
        while len(held[0]) >= chunk:
            yield [each[:chunk] for each in held]
            held = [each[chunk:] for each in held]
    if held and len(held[0]):
        yield held


def _joined(parts: Sequence[Tensor], join: Callable[[list[Tensor]], Tensor] = torch.cat) -> Tensor:
    """The parts as one tensor of float32 or finer, in which means are taken."""
    return join([part.to(torch.promote_types(part.dtype, torch.float32)) for part in parts])


@torch.no_grad()
def iwae_log_likelihood(
    model: HierarchicalVAE,
    x: Tensor,
    samples: int,
    generator: torch.Generator | None = None,
    chunk: int = BLOCK,
    compiled: bool = False,
) -> Tensor:
    """Log 1/K Σ_k p(x,u_k,v_k) / q(u_k,v_k|x): a lower bound of log p(x) on average, tight as K grows.

    It is `condkl.iwae_log_likelihood` for this model alone: image by image, so that what q(u|v,x) takes of x is
    computed once for all draws, without objects of distributions, which `torch.compile` would not take, and with noise
    that the chunk does not change. `x` are bits as floats, shape (n, pixels), else it is a ValueError. K is `samples`,
    draws of the latents per image with `generator`, `chunk` of them at once. The networks run in the model's precision;
    the weights are added up in float64. The result is float64, in nats, shape (n,). What is `compiled`, which takes
    seconds, is faster and rounds otherwise.

    Source:
        Burda, Grosse & Salakhutdinov (2015).
    """
    model.check_images(x)
    at_least_one("samples", samples)
    weigh = _compiled(x.device, x.dtype) if compiled else _log_weights
    q_v = model.posterior(x)
    from_x = model.from_x(x)  # what q(u|v,x) takes of x alone, once per image
    blocks = [min(BLOCK, samples - start) for start in range(0, samples, BLOCK)]

    def estimate(i: int) -> Tensor:
        one, parts = Gaussian(q_v.mean[i], q_v.log_scale[i]), [part[i] for part in from_x]
        noise = _rechunked((model.noise(x.new_empty(n, 0), generator) for n in blocks), chunk)
        return log_mean_weight(lambda _: weigh(model, x[i], one, parts, list(next(noise))), samples, chunk)

    found = x.new_empty(len(x), dtype=torch.float64)
    for i in range(len(x)):  # in a list each would pin heap between freed buffers: 20 GB for 10,000 images
        found[i] = estimate(i)
    return found


@cache
def _compiled(device: torch.device, dtype: torch.dtype) -> Callable[..., Tensor]:
    """`_log_weights` as generated code; the same object for all models, which share the code if they share sizes."""
    options = products.compiler_options(device, products.onednn_is_faster(device, dtype))
    return torch.compile(_log_weights, fullgraph=True, dynamic=False, options=options)


def _log_weights(model: HierarchicalVAE, x: Tensor, q: Gaussian, from_x: list[Tensor], noise: list[Tensor]) -> Tensor:
    """Log p(x,u,v) - log q(u,v|x), shape (n,), at n draws for one image x, shape (pixels,), by noise for each layer."""
    z = [q.at(noise[0])]
    # log p(z) - log q(z) without the constants, which cancel; (z - mean)/scale under q is the noise.
    log_weight = (0.5 * (noise[0].square() - z[0].square()) + q.log_scale).sum(-1)
    for layer in model.layers(z[0], noise[1:], from_x):
        z.append(layer.draw())
        standard = (z[-1] - layer.p.mean) * (-layer.p.log_scale).exp()
        own, given = layer.q.log_scale, layer.p.log_scale
        log_weight = log_weight + (0.5 * (layer.noise.square() - standard.square()) + own - given).sum(-1)
    return log_weight + _log_bernoulli(x, model.p_x(model.decoder_input(z)))


def _log_bernoulli(x: Tensor, logits: Tensor) -> Tensor:
    """Log p(x) of bits x, shape (pixels,), at logits (n, pixels): Σ xl - max(l, 0) - log(1 + exp(-|l|)); shape (n,)."""
    # A logarithm for every 98 pixels: a product of so many factors of at most 2 is a number of float32.
    factors = nnf.pad(1 + (-logits.abs()).exp(), (0, -len(x) % _FACTORS), value=1.0).unflatten(-1, (-1, _FACTORS))
    return (x * logits - logits.relu()).sum(-1) - factors.prod(-1).log().sum(-1)
