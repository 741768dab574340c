"""Binary images from known hierarchical models, whose evidence can be computed: data for controlled comparisons."""

import math
from dataclasses import dataclass
from functools import cache
from typing import cast

import torch
from torch import Tensor

from condkl.vae import HierarchicalVAE, TanhNet, gaussian
from condkl_studies.data import module
from condkl_studies.randomness import seeded, seeded_globally

_PIXELS, _HIDDEN = 64, (50, 25)
_GAIN = 6.0  # of the decoder's last layer: given all pixels, u keeps a variance near 0.1
_SIZES = {"train": 50_000, "validation": 10_000, "test": 10_000}


@dataclass(frozen=True)
class KnownModel:
    """A model with one unit v and two units u that generates images of 64 binary pixels.

    p(u|v) = N(f(v), s² I) with a random network f whose two outputs have mean 0 and variance 1 over v. With its
    weights the two outputs have a correlation of 0.97 and are nearly linear in v. The decoder is a random network.
    `spread` is s, the standard deviation of u given v, and with `skip` the decoder sees v and u, not only u.
    """

    spread: float
    skip: bool = False

    def truth(self) -> HierarchicalVAE:
        """The model itself; its posteriors mean nothing."""
        return _truth(self.spread, self.skip)

    def images(self, split: str) -> Tensor:
        """Draws from the model as bytes, 0 or 255, shape (n, 64); every call gives the same."""
        return _images(self, split).clone()

    @torch.no_grad()
    def log_evidence(self, x: Tensor, reach: float = 5.0, step: float = 0.4, chunk: int = 20) -> Tensor:
        """Log p(x) = log ∫∫ p(v) p(u|v) p(x|u,v) du dv in nats, by the trapezoidal rule, `chunk` images at once.

        `x` are binary images as floats, shape (n, 64). The grid over v and, around each f(v), over u goes to `reach`
        standard deviations in steps of `step`, over v, where f bends, ten times finer. The result is float64, shape
        (n,). At the defaults an image is off by up to 0.005, the mean over images by 1e-5.
        """
        model = self.truth()
        v, weight_v = _grid(reach, step / 10)
        e, weight_e = _grid(reach, step)
        q = gaussian(model.p_u[0](v[:, None]))
        noise, weight_u = torch.cartesian_prod(e, e), (weight_e[:, None] * weight_e).flatten()
        u = (q.mean[:, None] + q.log_scale.exp()[:, None] * noise).flatten(0, 1)
        logits = model.p_x(model.decoder_input([v.repeat_interleave(len(noise))[:, None], u]))
        constant = (weight_v[:, None] * weight_u).flatten().log() - torch.nn.functional.softplus(logits).sum(1)
        return torch.cat([(part @ logits.T + constant).logsumexp(1).double() for part in x.split(chunk)])


def known_model(name: str) -> KnownModel:
    """The model that generates the data set of that name; a ValueError if there is none, or it is not known."""
    found = getattr(module(name), "model", None)
    if not isinstance(found, KnownModel):
        raise ValueError(f"name: expected a data set with a known model, as 'tight', got {name!r}.")
    return found


@cache
def _truth(spread: float, skip: bool) -> HierarchicalVAE:
    with seeded_globally(0):  # the posteriors' weights are drawn, and not used
        model = HierarchicalVAE((1, 2), _HIDDEN, skip=skip, pixels=_PIXELS).requires_grad_(False)
    draws = seeded(0)
    for parameter in model.omega():
        fan_in = parameter.shape[-1] if parameter.dim() == 2 else 4
        parameter.copy_(torch.randn(parameter.shape, generator=draws) / math.sqrt(fan_in))
    conditional = cast(TanhNet, model.p_u[0])
    cast(Tensor, conditional.parts[0].weight).mul_(1.5)
    model.p_x.out.weight.mul_(_GAIN)
    # The two outputs of f get mean 0 and variance 1 over v, by quadrature, and the spread is the same everywhere.
    v, weight = _grid(6.0, 0.01)
    f = gaussian(conditional(v[:, None])).mean
    mean = weight @ f
    scale = (weight @ (f - mean).square()).sqrt()
    conditional.out.weight[:2].div_(scale[:, None])
    conditional.out.bias[:2].sub_(mean).div_(scale)
    conditional.out.weight[2:].zero_()
    conditional.out.bias[2:].fill_(math.log(spread))
    return model


@cache
def _images(model: KnownModel, split: str) -> Tensor:
    if split not in _SIZES:
        raise ValueError(f"split: expected one of {', '.join(_SIZES)}, got {split!r}.")
    draws = seeded(1 + list(_SIZES).index(split))
    probabilities = model.truth().sample(_SIZES[split], draws)
    return (torch.rand(probabilities.shape, generator=draws) < probabilities).to(torch.uint8) * 255


def _grid(reach: float, step: float) -> tuple[Tensor, Tensor]:
    """Points of a standard normal and their probabilities, by the trapezoidal rule."""
    points = torch.arange(-reach, reach + step / 2, step)
    weight = torch.exp(-0.5 * points.double().square())
    return points, (weight / weight.sum()).float()
