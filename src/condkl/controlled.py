"""Binary images from known hierarchical models, whose evidence can be computed: data for controlled comparisons."""

import math
from functools import cache
from typing import cast

import torch
from torch import Tensor

from condkl.vae import HierarchicalVAE, TanhNet, gaussian

_PIXELS, _HIDDEN = 64, (50, 25)
_GAIN = 6.0  # of the decoder's last layer: given all pixels, u keeps a variance near 0.1
_SPREADS = {"tight": 0.1, "loose": 0.7, "crossed": 0.7}
_SIZES = {"train": 50_000, "validation": 10_000, "test": 10_000}
NAMES = tuple(_SPREADS)


@cache
def truth(name: str) -> HierarchicalVAE:
    """The model with one unit v and two units u that generates the data set `name`; its posteriors mean nothing.

    p(u|v) = N(f(v), s² I) with a random network f whose two outputs have mean 0 and variance 1 over v, and s = 0.1
    ("tight") or 0.7 ("loose", "crossed"). With these weights the two outputs have a correlation of
    0.97 and are nearly linear in v. The decoder is a random network on u, in "crossed" on v and u.

    Example:
        >>> truth("crossed").latents
        (1, 2)
    """
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):  # the posteriors' weights are drawn, and not used
        model = HierarchicalVAE((1, 2), _HIDDEN, skip=name == "crossed", pixels=_PIXELS).requires_grad_(False)
    for parameter in model.omega():
        fan_in = parameter.shape[-1] if parameter.dim() == 2 else 4
        parameter.copy_(torch.randn(parameter.shape, generator=generator) / math.sqrt(fan_in))
    conditional = cast(TanhNet, model.p_u[0])
    cast(Tensor, conditional.parts[0].weight).mul_(1.5)
    model.p_x.out.weight.mul_(_GAIN)
    v, weight = _grid(6.0, 0.01)
    f = gaussian(conditional(v[:, None])).mean
    mean = weight @ f
    scale = (weight @ (f - mean).square()).sqrt()
    conditional.out.weight[:2].div_(scale[:, None])
    conditional.out.bias[:2].sub_(mean).div_(scale)
    conditional.out.weight[2:].zero_()
    conditional.out.bias[2:].fill_(math.log(_SPREADS[name]))
    return model


@cache
def images(name: str, split: str) -> Tensor:
    """Draws from `truth(name)` as bytes, 0 or 255, shape (n, 64); every call gives the same.

    Raises:
        ValueError: if the split is unknown.

    Example:
        >>> images("tight", "test").unique().tolist()
        [0, 255]
    """
    if split not in _SIZES:
        raise ValueError(f"split: expected one of {', '.join(_SIZES)}, got {split!r}.")
    generator = torch.Generator().manual_seed(1 + list(_SIZES).index(split))
    probabilities = truth(name).sample(_SIZES[split], generator)
    return (torch.rand(probabilities.shape, generator=generator) < probabilities).to(torch.uint8) * 255


@torch.no_grad()
def log_evidence(name: str, x: Tensor, reach: float = 5.0, step: float = 0.4, chunk: int = 20) -> Tensor:
    """Log p(x) = log ∫∫ p(v) p(u|v) p(x|u,v) du dv of the generating model, by the trapezoidal rule.

    Args:
        name: of the data set.
        x: binary images as floats, shape (n, 64).
        reach: of the grid over v and, around each f(v), over u, in standard deviations.
        step: of the grid over u; that over v, where f bends, is ten times finer.
        chunk: images at once.

    Returns:
        Nats, float64, shape (n,). At the defaults an image is off by up to 0.005, the mean over images by 1e-5.

    Example:
        >>> bool((log_evidence("tight", images("tight", "test")[:2] / 255) < 0).all())
        True
    """
    model = truth(name)
    v, weight_v = _grid(reach, step / 10)
    e, weight_e = _grid(reach, step)
    q = gaussian(model.p_u[0](v[:, None]))
    noise, weight_u = torch.cartesian_prod(e, e), (weight_e[:, None] * weight_e).flatten()
    u = (q.mean[:, None] + q.log_scale.exp()[:, None] * noise).flatten(0, 1)
    logits = model.p_x(model.decoder_input([v.repeat_interleave(len(noise))[:, None], u]))
    constant = (weight_v[:, None] * weight_u).flatten().log() - torch.nn.functional.softplus(logits).sum(1)
    return torch.cat([(part @ logits.T + constant).double().logsumexp(1) for part in x.split(chunk)])


def _grid(reach: float, step: float) -> tuple[Tensor, Tensor]:
    """Points of a standard normal and their probabilities, by the trapezoidal rule."""
    points = torch.arange(-reach, reach + step / 2, step)
    weight = torch.exp(-0.5 * points.double().square())
    return points, (weight / weight.sum()).float()
