"""The hierarchical VAE: L Gaussian layers, a top-down posterior, and the terms R, A, C of its ELBO."""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import cast

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn
from torch.func import functional_call

from condkl._checks import at_least_one, bits

#: A tensor for each layer, from the top down.
Tensors = Sequence[Tensor]
# What changes the gradient of a tensor and not its value: no name of the API, where `dynamics` has a Path too.
Path = Callable[[Tensor], Tensor] | None
# What gives KL[q || p], shape (n,), from q and p, with a gradient of its own.
ConditionalKL = Callable[["Gaussian", "Gaussian"], Tensor] | None
PIXELS = 784
_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


@dataclass(frozen=True)
class Terms:
    """The terms of the ELBO in nats, per image. ELBO = R - A - Σ_l C_l.

    Example:
        >>> Terms(R=torch.tensor([-90.0]), A=torch.tensor([2.0]), C=torch.tensor([[3.0, 5.0]])).elbo
        tensor([-100.])
    """

    R: Tensor  #: log p(x|u,v) at one draw of the latents, shape (n,)
    A: Tensor  #: KL[q(v|x) || p(v)], shape (n,)
    C: Tensor  #: KL~[q(u|v,x) || p(u|v)], eq. (4), at one draw of v; a column for each layer below it, shape (n, L - 1)

    @property
    def elbo(self) -> Tensor:
        """R - A - Σ_l C_l, shape (n,)."""
        return self.R - self.A - self.C.sum(-1)


@dataclass(frozen=True)
class Gaussian:
    """A diagonal Gaussian: `mean` and `log_scale` (the logarithm of the standard deviation), each (n, d).

    Example:
        >>> gaussian(torch.tensor([[3.0, 4.0, 0.0, 0.0]])).kl_from_standard()  # two means, two log scales: 25/2
        tensor([12.5000])
    """

    mean: Tensor
    log_scale: Tensor

    def at(self, noise: Tensor) -> Tensor:
        """The draw mean + scale * noise, shape (n, d)."""
        return self.mean + self.log_scale.exp() * noise

    def log_prob(self, z: Tensor) -> Tensor:
        """Log N(z; mean, scale²) in nats, shape (n,)."""
        standard = (z - self.mean) * (-self.log_scale).exp()
        return -(0.5 * standard.square() + self.log_scale + _HALF_LOG_2PI).sum(-1)

    def kl_per_unit(self, p: "Gaussian") -> Tensor:
        """KL[self || p] of each unit, log(s_p/s_q) + (s_q² + (m_q - m_p)²)/(2s_p²) - 1/2 in nats, shape (n, d)."""
        ratio = (2 * (self.log_scale - p.log_scale)).exp()
        shift = ((self.mean - p.mean) * (-p.log_scale).exp()).square()
        return p.log_scale - self.log_scale + 0.5 * (ratio + shift - 1)

    def kl_from(self, p: "Gaussian") -> Tensor:
        """KL[self || p] in nats, the sum over the units, shape (n,)."""
        return self.kl_per_unit(p).sum(-1)

    def kl_per_unit_from_standard(self) -> Tensor:
        """KL[self || N(0, I)] of each unit in nats, shape (n, d)."""
        return 0.5 * ((2 * self.log_scale).exp() + self.mean.square() - 1) - self.log_scale

    def kl_from_standard(self) -> Tensor:
        """KL[self || N(0, I)] in nats, the sum over the units, shape (n,)."""
        return self.kl_per_unit_from_standard().sum(-1)


@dataclass
class Layer:
    """A layer below v given the one above: q(u|v,x) and p(u|v), as the conditional KL sees them.

    `drawn_from` is what z is drawn from: q, but for what a `path` changes in the gradient.
    """

    q: Gaussian
    p: Gaussian
    drawn_from: Gaussian
    noise: Tensor
    _z: Tensor | None = None  # a cached property would stop the `torch.compile` of older versions

    def draw(self) -> Tensor:
        """z, shape (n, d), made at the first call: a step that does things in another order rounds otherwise."""
        if self._z is None:
            self._z = self.drawn_from.at(self.noise)
        return self._z


class TanhNet(nn.Module):
    """Two tanh layers and a linear one, `W₃ tanh(W₂ tanh(Σ_i W_i input_i + b₁) + b₂) + b₃`, on several inputs.

    The first layer keeps one matrix per input, so that the part of an input used twice is computed once. `inputs` are
    the widths of the inputs, `hidden` is that of the tanh layers, `outputs` that of the output.

    Example:
        >>> TanhNet([2, 3], hidden=8, outputs=4)(torch.zeros(5, 2), torch.zeros(5, 3)).shape
        torch.Size([5, 4])
    """

    def __init__(self, inputs: Sequence[int], hidden: int, outputs: int) -> None:
        super().__init__()
        self.parts = nn.ModuleList(nn.Linear(n, hidden, bias=i == 0) for i, n in enumerate(inputs))
        self.middle = nn.Linear(hidden, hidden)
        self.out = nn.Linear(hidden, outputs)
        for parameter in self.parameters():  # matrices, and biases
            (nn.init.xavier_uniform_ if parameter.dim() == 2 else nn.init.zeros_)(parameter)

    def part(self, i: int, value: Tensor) -> Tensor:
        """The contribution of input i to the first layer, shape (n, hidden)."""
        return self.parts[i](value)

    def rest(self, first: Tensor) -> Tensor:
        """The output, shape (n, outputs), from the sum of all parts."""
        return self.out(self.middle(first.tanh()).tanh())

    def forward(self, *values: Tensor) -> Tensor:
        """The output, shape (n, outputs), from the inputs, each (n, width)."""
        return self.rest(reduce(torch.add, (self.part(i, value) for i, value in enumerate(values))))


def _nets(modules: nn.ModuleList) -> list[TanhNet]:
    return cast(list[TanhNet], list(modules))


def gaussian(output: Tensor) -> Gaussian:
    """The `Gaussian` whose mean is the first half of a network's output, and whose log_scale is the second."""
    mean, log_scale = output.chunk(2, dim=-1)
    return Gaussian(mean, log_scale)


class HierarchicalVAE(nn.Module):
    """A VAE with L Gaussian layers, named from the top: v, then u (then lower ones), then binary x.

    p(v) = N(0, I), p(u|v) and q(v|x), q(u|v,x) are diagonal Gaussians with tanh networks of the sizes of the
    IWAE paper, p(x|u) is Bernoulli; with `skip` the decoder is p(x|u,v). Every q has its own network on x:
    q(v|x) (parameters theta) and q(u|v,x) (phi) share no parameter.

    With `residual` states add up from the top, h_l = h_{l+1} + W_{l+1} z_{l+1}, as in very deep VAEs: p(z_l|h_l) and
    q(z_l|x,h_l) read the state in place of the layer above, and the decoder reads the sum over all layers. The W_l are
    part of omega. Where a posterior reads the state, they get what that posterior follows.

    `latents` are the widths of the layers, v first; `hidden` those of the tanh layers, of networks that touch x and of
    p(u|v), or one number for both; with `skip` the decoder sees all layers, else only the lowest; x has `pixels`. A
    state is as wide as the first of `hidden`. A ValueError says that a width is not a whole number above 0, that
    `latents` is empty, or that both `skip` and `residual` are asked for.

    Source:
        Kosiorek (2017); sizes of the two-layer model of Burda, Grosse & Salakhutdinov (2015), whose
        posterior runs bottom-up where ours runs top-down; states as in Child (2021), without convolutions.

    Example:
        >>> terms = HierarchicalVAE(latents=(2, 3), hidden=8)(torch.zeros(5, 784))
        >>> terms.R.shape, terms.A.shape, terms.C.shape
        (torch.Size([5]), torch.Size([5]), torch.Size([5, 1]))
    """

    def __init__(
        self,
        latents: Sequence[int] = (50, 100),
        hidden: int | Sequence[int] = (200, 100),
        skip: bool = False,
        pixels: int = PIXELS,
        residual: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(latents, Iterable):
            raise TypeError(f"latents: expected the widths of the layers, got {latents!r}. Pass e.g. (50, 100).")
        self.latents = tuple(at_least_one("latents", n) for n in latents)
        if not self.latents:
            raise ValueError("latents: expected at least one width, got none. Pass e.g. (50, 100).")
        widths = tuple(hidden) if isinstance(hidden, Sequence) else (hidden, hidden)
        if len(widths) != 2:
            raise ValueError(f"hidden: expected one number or two widths, got {widths!r}. Pass e.g. (200, 100).")
        wide, narrow = (at_least_one("hidden", n) for n in widths)
        if skip and residual:
            raise ValueError("residual: expected False with skip, got True. A sum of all layers has the skips already.")
        self.pixels, self.skip, self.residual = at_least_one("pixels", pixels), skip, residual
        hops = [(wide if residual else above, n) for above, n in itertools.pairwise(self.latents)]  # (read, child)
        self.q_v = TanhNet([pixels], wide, 2 * self.latents[0])  # theta
        self.q_u = nn.ModuleList(TanhNet([pixels, above], wide, 2 * n) for above, n in hops)  # phi
        self.p_u = nn.ModuleList(TanhNet([above], narrow, 2 * n) for above, n in hops)  # omega, with p_x
        self.p_x = TanhNet([wide if residual else sum(self.latents) if skip else self.latents[-1]], wide, pixels)
        self.to_state = nn.ModuleList(nn.Linear(n, wide, bias=False) for n in self.latents if residual)  # W, omega

    def theta(self) -> list[nn.Parameter]:
        """The parameters of q(v|x)."""
        return list(self.q_v.parameters())

    def phi(self) -> list[nn.Parameter]:
        """The parameters of q(u|v,x), all layers below v."""
        return list(self.q_u.parameters())

    def omega(self) -> list[nn.Parameter]:
        """The parameters of the model p(u|v), p(x|u) or p(x|u,v), those that make the states among them."""
        return [*self.p_u.parameters(), *self.p_x.parameters(), *self.to_state.parameters()]

    @torch.no_grad()
    def start_at_mean(self, images: Tensor) -> "HierarchicalVAE":
        """Set the decoder's last bias to the log-odds of the mean image, so that training starts from it.

        Without this the first thousands of steps go into finding the mean image, and the latents are idle meanwhile.
        `images` are grey levels as bytes, shape (n, pixels); a ValueError says that they are not. Returns the model
        itself.
        """
        self._check_shape(images)
        if images.dtype != torch.uint8 or not len(images):
            got = f"{len(images)} of {images.dtype}"
            raise ValueError(f"images: expected grey levels as bytes, torch.uint8, at least one image, got {got}.")
        mean = images.float().mean(0) / 255
        self.p_x.out.bias.copy_(torch.logit(mean, eps=1e-3))
        return self

    def noise(self, x: Tensor, generator: torch.Generator | None = None) -> list[Tensor]:
        """Standard normal draws for each layer, v first, each (n, width), on the device of x."""
        return [torch.randn(len(x), n, generator=generator, dtype=x.dtype, device=x.device) for n in self.latents]

    def forward(
        self,
        x: Tensor,
        generator: torch.Generator | None = None,
        noise: Tensors | None = None,
        path: Path = None,
        kl: ConditionalKL = None,
    ) -> Terms:
        """The terms of the ELBO at one draw of the latents. A ValueError says what does not fit the model.

        Args:
            x: bits as floats, shape (n, pixels). Other numbers than 0 and 1 are refused, except where they would have
                to be waited for: in a compiled function, and on an accelerator if the noise is given.
            generator: the source of the latents' randomness, unless `noise` is given.
            noise: standard normal draws for each layer, as `noise(x)` gives them.
            path: a function that changes the gradient of a tensor and not its value, through which each latent reaches
                the conditional KL below it; None leaves the gradient. R always sees the latents as they are.
            kl: a function that gives each conditional KL from q(u|v,x) and p(u|v), with a gradient of its own.
        """
        if noise is None:
            self.check_images(x)
        self._check_bits(x)
        noise = self.noise(x, generator) if noise is None else list(noise)
        self._check_noise(noise, len(x))
        q_v = self.posterior(x)
        R, C = self.below(x, q_v.at(noise[0]), noise[1:], path, kl=kl)
        return Terms(R, q_v.kl_from_standard(), C)

    def check_images(self, x: Tensor) -> None:
        """A ValueError if x are no images of this model: bits as floats, shape (n, pixels)."""
        self._check_bits(x)
        bits("x", x)

    def _check_bits(self, x: Tensor) -> None:
        self._check_shape(x)
        if not x.is_floating_point():
            raise ValueError(f"x: expected bits as floats, got {x.dtype}. Pass x.float().")

    def _check_shape(self, x: Tensor) -> None:
        if x.dim() != 2 or x.shape[1] != self.pixels:
            raise ValueError(f"x: expected shape (n, {self.pixels}), got {tuple(x.shape)}. Flatten the images.")

    def _check_noise(self, noise: Tensors, rows: int) -> None:
        want, got = [(rows, n) for n in self.latents], [tuple(e.shape) for e in noise]
        if got != want:
            raise ValueError(f"noise: expected shapes {want}, got {got}. Make it with model.noise(x).")

    def posterior(self, x: Tensor) -> Gaussian:
        """q(v|x), each of its tensors (n, width of v)."""
        return gaussian(self.q_v(x))

    def below(
        self,
        x: Tensor,
        v: Tensor,
        noise: Tensors,
        path: Path = None,
        freeze_model: bool = False,
        kl: ConditionalKL = None,
    ) -> tuple[Tensor, Tensor]:
        """The terms below v: R, shape (n,), and C, shape (n, L - 1), at the given v and one draw of the lower layers.

        `x`, `path` and `kl` are as for `forward`, v has any values, shape (n, width), and `noise` is for the layers
        below it. With `freeze_model` omega, the parameters of the model, gets no gradient.
        """
        if x.is_cpu:
            bits("x", x)
        z, C = [v], []
        for layer in self.layers(v, noise, self.from_x(x), path, freeze_model):
            C.append(layer.q.kl_from(layer.p) if kl is None else kl(layer.q, layer.p))
            z.append(layer.draw())
        logits = _output(self.p_x, self.decoder_input(z, freeze_model), freeze_model)
        R = (x * logits - nnf.softplus(logits)).sum(-1)
        return R, torch.stack(C, dim=-1) if C else R.new_zeros(len(x), 0)

    def from_x(self, x: Tensor) -> list[Tensor]:
        """What x, shape (n, pixels), adds to the first layer of each q(u|v,x), which is the same at every v."""
        return [net.part(0, x) for net in _nets(self.q_u)]

    def layers(
        self, v: Tensor, noise: Tensors, from_x: Tensors | None = None, path: Path = None, freeze_model: bool = False
    ) -> Iterator[Layer]:
        """The layers below v from the top down, each drawn given the one above: the one pass that all uses share.

        Arguments as for `below`. `from_x`, as the method of that name gives it, may have shape (hidden,) for one image;
        None draws from the model, as if q were p. `path` is for q and p of a `Layer`; the draw sees v as it is.
        """
        z, above, seen = v, None, None
        for i, (p_net, e) in enumerate(zip(_nets(self.p_u), noise, strict=True)):
            above = self._read(i, z, above, freeze_model)
            # The path is for z, not for the state: each layer above reaches C through it once, and W plainly.
            seen = above if path is None else self._read(i, path(z), seen, freeze_model)
            if from_x is None:
                drawn = q = p = gaussian(p_net(above))
            else:
                q_net = _nets(self.q_u)[i]
                drawn = q = gaussian(q_net.rest(from_x[i] + q_net.part(1, above)))
                if path is not None:
                    # C sees v through `path`; u, and with it R, keeps the plain v. Using the plain q(u|v,x) in C
                    # as well would leak the gradient that `path` withholds.
                    q = gaussian(q_net.rest(from_x[i] + q_net.part(1, seen)))
                # After q: another order adds up the gradients of v in another order, and runs round otherwise.
                p = gaussian(_output(p_net, seen, freeze_model))
            layer = Layer(q, p, drawn, e)
            yield layer
            z = layer.draw()

    @torch.no_grad()
    def generate(self, noise: Tensors) -> Tensor:
        """The images' probabilities, shape (n, pixels), at standard normal draws for each layer, v first."""
        self._check_noise(noise, len(noise[0]))
        z = [noise[0], *(layer.draw() for layer in self.layers(noise[0], noise[1:]))]
        return self.p_x(self.decoder_input(z)).sigmoid()

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw images from the prior; returns the pixels' probabilities, shape (n, pixels)."""
        return self.generate(self.noise(self.p_x.out.weight.new_empty(at_least_one("n", n), 0), generator))

    def decoder_input(self, z: Tensors, freeze_model: bool = False) -> Tensor:
        """What the decoder sees of the layers z, v first: all of them with `skip`, their sum with `residual`.

        Else it is the lowest. With `freeze_model` the matrices that make the sum get no gradient.
        """
        if not self.residual:
            return torch.cat(list(z), dim=-1) if self.skip else z[-1]
        state = None
        for i, one in enumerate(z):
            state = self._read(i, one, state, freeze_model)
        return cast(Tensor, state)

    def _read(self, i: int, z: Tensor, state: Tensor | None, freeze_model: bool) -> Tensor:
        """What the networks below layer i read of it: z, or with `residual` the state above it and z added up."""
        if not self.residual:
            return z
        added = _output(self.to_state[i], z, freeze_model)
        return added if state is None else state + added


def _output(net: nn.Module, value: Tensor, freeze: bool) -> Tensor:
    """The output of `net`; with `freeze` it has no gradient for the parameters."""
    if not freeze:
        return net(value)
    return functional_call(net, {name: p.detach() for name, p in net.named_parameters()}, value)
