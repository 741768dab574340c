"""The model: n objects, each with a place and a look, drawn one after the other on a canvas."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor, nn

from condkl._checks import at_least_one
from condkl.vae import Gaussian, TanhNet, gaussian
from condkl_studies.canvases import DIGIT, SIDE
from condkl_studies.counting.placement import glimpse, place

PIXELS = ("bernoulli", "gaussian")
_WHITE = 0.003  # the probability that a pixel of the empty canvas is white, and that a covered one is black
_SPREAD = 0.3  # the standard deviation of Gaussian pixels
_LARGEST = 1.0  # the logarithm of the scale is clamped to ± this


def known_pixels(pixels: str) -> str:
    """Those pixels; a ValueError if they are none of `PIXELS`."""
    if pixels not in PIXELS:
        raise ValueError(f"pixels: expected one of {', '.join(PIXELS)}, got {pixels!r}.")
    return pixels


@dataclass(frozen=True)
class Drawn:
    """An object of each of n images: its posterior, its draw, where it lies, and the canvas with it.

    `q` is of (where, what), and `z` its draw, (n, units); `scale` and `shift` are as `place` takes them, and `canvas`,
    (n, pixels), says how white each pixel is, in [0, 1].
    """

    q: Gaussian
    z: Tensor
    scale: Tensor
    shift: Tensor
    canvas: Tensor


@dataclass(frozen=True)
class Counted:
    """The terms of the ELBO at each number 0..N of objects, of n images, at one draw of each object.

    ELBO = Σ_n q(n|x) (R(n) - C(n)) - A. All are in nats.
    """

    log_q: Tensor  #: log q(n|x), shape (n, N + 1)
    A: Tensor  #: KL[q(n|x) || p(n)], shape (n,)
    R: Tensor  #: log p(x|u,n) with the first n objects, shape (n, N + 1)
    C: Tensor  #: the conditional KL c(n), that of the first n objects, shape (n, N + 1); 0 where there is none
    drawn: tuple[Drawn, ...]  #: the objects in their order

    @property
    def q(self) -> Tensor:
        """The posterior of n, shape (n, N + 1)."""
        return self.log_q.exp()

    @property
    def elbo(self) -> Tensor:
        """The exact sum over n at these objects, shape (n,)."""
        return (self.q * (self.R - self.C)).sum(-1) - self.A


class CountingVAE(nn.Module):
    """Images of `side`×`side` bits with v = n, how many objects there are, and u = (where, what) of each.

    p(n) ∝ `ratio`^n for n = 0..`most`, and what ~ N(0, I). Where is a shift of rows and one of columns, both N(0, 1)
    and taken through tanh, and, with a `scale_prior` above 0, the logarithm of the scale, N(0, scale_prior²), clamped
    to ± 1; else all objects have one scale. A network draws a glimpse of `size`×`size` from what, and a spatial
    transformer places it. A pixel of the canvas is white where any object is: 1 - Π(1 - object). Pixels are Bernoulli
    with probabilities from .003 to .997, or Gaussian around the canvas with standard deviation .3; the R of these
    leaves out the constant -pixels · log(.3 √(2π)), which is 291.6 nats for 1,024 pixels.

    q(n|x) (theta) has a network of its own. Object k has q(where|x - canvas so far, canvas so far) and q(what|glimpses
    of both) (phi), which do not see n, so that one pass gives the terms of every n. The last layers of all q are zero
    at the start: q(n|x) is p(n), and every unit of q(u|x,n) is N(0, 1), also where the prior of the scale is narrower,
    unless `encoder_at_prior`.

    Args:
        most: the largest number of objects, N.
        what: the width of what.
        hidden: the widths of the tanh layers, of networks that see a canvas, and of those that see or make a glimpse.
        pixels: one of `PIXELS`.
        scale_prior: the standard deviation of the logarithm of the scale; 0 for a scale of 1.
        ratio: p(n + 1) / p(n).
        bias: the logit of a glimpse's pixels at the start: at 0 the first objects are grey squares.
        encoder_at_prior: whether q of the scale starts at its prior.
        baseline: whether there is a network that learns a baseline for `objective.loss`.
        side, size: of the canvas and of the glimpse, in pixels.
    """

    log_p: Tensor
    prior_log_scale: Tensor

    def __init__(
        self,
        most: int,
        what: int = 10,
        hidden: tuple[int, int] = (128, 128),
        pixels: str = "bernoulli",
        scale_prior: float = 0.0,
        ratio: float = 1.0,
        bias: float = -2.5,
        encoder_at_prior: bool = False,
        baseline: bool = False,
        side: int = SIDE,
        size: int = DIGIT,
    ) -> None:
        super().__init__()
        if scale_prior < 0 or ratio <= 0:
            raise ValueError(f"scale_prior, ratio: expected 0 or more, and above 0, got {scale_prior!r}, {ratio!r}.")
        self.most, self.what, self.pixels = at_least_one("most", most), at_least_one("what", what), known_pixels(pixels)
        self.side, self.size, self.where = side, size, 3 if scale_prior else 2
        wide, narrow = hidden
        self.q_n = TanhNet([side**2], wide, most + 1)  # theta
        self.q_where = TanhNet([side**2, side**2], wide, 2 * self.where)  # phi, with q_what
        self.q_what = TanhNet([size**2, size**2], narrow, 2 * what)
        self.p_glimpse = TanhNet([what], narrow, size**2)  # omega
        self.baseline = TanhNet([side**2], wide, 1) if baseline else None
        log_p = (torch.arange(most + 1) * math.log(ratio)).log_softmax(-1)
        log_scale = torch.zeros(self.where + what)
        if scale_prior:
            log_scale[2] = math.log(scale_prior)
        self.register_buffer("log_p", log_p, persistent=False)
        self.register_buffer("prior_log_scale", log_scale, persistent=False)
        with torch.no_grad():
            for net in (self.q_n, self.q_where, self.q_what):
                net.out.weight.zero_()
            self.q_n.out.bias.copy_(log_p)
            self.p_glimpse.out.bias.fill_(bias)
            if encoder_at_prior:
                self.q_where.out.bias[self.where :] = log_scale[: self.where]

    @property
    def units(self) -> int:
        """The width of u for each object, where and what together."""
        return self.where + self.what

    @property
    def p_u(self) -> Gaussian:
        """The prior of an object's (where, what), each (units,)."""
        return Gaussian(torch.zeros_like(self.prior_log_scale), self.prior_log_scale)

    def theta(self) -> list[nn.Parameter]:
        """The parameters of q(n|x)."""
        return list(self.q_n.parameters())

    def phi(self) -> list[nn.Parameter]:
        """The parameters of q(u|x,n)."""
        return [*self.q_where.parameters(), *self.q_what.parameters()]

    def omega(self) -> list[nn.Parameter]:
        """The parameters of the decoder; p(n) and p(u|n) have none."""
        return list(self.p_glimpse.parameters())

    def noise(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Standard normal draws for the objects of n images, (n, N, units), on the model's device."""
        like = self.prior_log_scale
        return torch.randn(n, self.most, self.units, generator=generator, dtype=like.dtype, device=like.device)

    def forward(self, x: Tensor, noise: Tensor) -> Counted:
        """The terms at every n, of bits x as floats, (n, pixels), with noise as `noise` makes it."""
        p, canvas = self.p_u, torch.zeros_like(x)
        drawn: list[Drawn] = []
        for e in noise.unbind(1):
            # The first weights that find an object on the image find the next one on what is left of it. A black
            # canvas adds nothing to any network.
            views = [x - canvas, canvas] if drawn else [x]
            q_where = _gaussian(self.q_where, views)
            where = q_where.at(e[:, : self.where])
            scale, shift = self._placed(where)
            seen = [glimpse(self._square(one), scale, shift, self.size).flatten(1) for one in views]
            q_what = _gaussian(self.q_what, seen)
            what = q_what.at(e[:, self.where :])
            canvas = self.draw(canvas, what, scale, shift)
            pairs = zip((q_where.mean, q_where.log_scale), (q_what.mean, q_what.log_scale), strict=True)
            q = Gaussian(*(torch.cat(pair, -1) for pair in pairs))
            drawn.append(Drawn(q, torch.cat([where, what], -1), scale, shift, canvas))
        R = [self.log_likelihood(x, one) for one in (torch.zeros_like(x), *(one.canvas for one in drawn))]
        C = torch.stack([torch.zeros_like(R[0]), *(one.q.kl_from(p) for one in drawn)], -1).cumsum(-1)
        log_q = self.q_n(x).log_softmax(-1)
        A = (log_q.exp() * (log_q - self.log_p)).sum(-1)
        return Counted(log_q, A, torch.stack(R, -1), C, tuple(drawn))

    def draw(self, canvas: Tensor, what: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """The canvas, (n, pixels), with one object more: its look of shape (n, width of what), and where it lies."""
        looks = self.p_glimpse(what).sigmoid().view(-1, self.size, self.size)
        return canvas + (1 - canvas) * place(looks, scale, shift, self.side).flatten(1)

    def log_likelihood(self, x: Tensor, canvas: Tensor) -> Tensor:
        """Log p(x|canvas) in nats, shape (n,); with Gaussian pixels without its constant."""
        if self.pixels == "gaussian":
            return -((x - canvas).square() / (2 * _SPREAD**2)).sum(-1)
        white = _WHITE + (1 - 2 * _WHITE) * canvas
        return torch.where(x > 0.5, white, 1 - white).log().sum(-1)

    @torch.no_grad()
    def generate(self, noise: Tensor) -> Tensor:
        """Canvases after each object of the prior at standard normal draws, (n, N, units): (n, N, pixels)."""
        canvas, canvases = noise.new_zeros(len(noise), self.side**2), []
        for e in noise.unbind(1):
            z = self.p_u.at(e)
            canvas = self.draw(canvas, z[:, self.where :], *self._placed(z))
            canvases.append(canvas)
        return torch.stack(canvases, 1)

    def _placed(self, where: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and shift as `place` takes them. At scale 1 a glimpse has its own size, and stays on the canvas."""
        own = self.size / self.side
        grown = where[:, 2].clamp(-_LARGEST, _LARGEST).exp() if self.where > 2 else torch.ones_like(where[:, 0])
        return own * grown, (1 - own) * where[:, :2].tanh()

    def _square(self, images: Tensor) -> Tensor:
        return images.view(-1, self.side, self.side)


def _gaussian(net: TanhNet, inputs: Sequence[Tensor]) -> Gaussian:
    """What the network makes of its first inputs; those that are left out are zero."""
    first = [net.part(i, one) for i, one in enumerate(inputs)]
    return gaussian(net.rest(reduce(torch.add, first)))
