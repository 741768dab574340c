"""The contestants in PyTorch: a plain step as a user would write it, and bare matrix products."""

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Distribution, Independent, Normal, kl_divergence
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.problem import NETWORKS, Layer, Problem, flops_per_step, layers

_SIZE = 512  # of the square matrices of the yardstick: large enough to run at the full rate


class Eager:
    """A plain step: `torch.distributions` with their checks, a shuffling `DataLoader`, `torch.optim.Adam`."""

    def __init__(self, problem: Problem, seed: int, device: torch.device | str = "cpu") -> None:
        torch.set_num_threads(1)
        torch.manual_seed(seed)
        self._batches, self._device = batches(problem), device
        self._start(problem)

    def advance(self, steps: int) -> None:
        """Train for that many steps."""
        for _ in range(steps):
            self._step(next(self._batches).to(self._device))

    @torch.no_grad()
    def losses(self, bits: np.ndarray, draws: int) -> np.ndarray:
        """The loss on `bits` at that many draws of the latents, shape (draws,)."""
        x = torch.from_numpy(bits).float().to(self._device)
        return np.array([self._loss(x) for _ in range(draws)])

    def _start(self, problem: Problem) -> None:
        self._vae = PlainVAE(problem).to(self._device)
        self._optimiser = torch.optim.Adam(self._vae.parameters(), lr=problem.learning_rate)

    def _step(self, x: Tensor) -> None:
        loss = self._vae(x)
        self._optimiser.zero_grad()
        loss.backward()
        self._optimiser.step()

    def _loss(self, x: Tensor) -> float:
        return self._vae(x).item()


class PlainVAE(nn.Module):
    """The model of `problem` in a user's hands; calling it gives the negative ELBO per image."""

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.q_v, self.q_u, self.p_u, self.p_x = (perceptron(layers(problem, name)) for name in NETWORKS)
        self.width = problem.latents[0]

    def forward(self, x: Tensor) -> Tensor:
        """The mean over the images x, shape (n, pixels), in nats."""
        q_v = normal(self.q_v(x))
        v, p_v = q_v.rsample(), self._prior(x)
        q_u = normal(self.q_u(torch.cat([x, v], dim=-1)))
        R = Independent(Bernoulli(logits=self.p_x(q_u.rsample())), 1).log_prob(x)
        return -(R - kl_divergence(q_v, p_v) - kl_divergence(q_u, normal(self.p_u(v)))).mean()

    @torch.no_grad()
    def log_likelihood(self, image: Tensor, samples: int) -> Tensor:
        """The estimate of log p(image), shape (pixels,), by that many draws of the latents, in nats."""
        x = image.expand(samples, -1)
        q_v = normal(self.q_v(image))
        v = q_v.sample(torch.Size([samples]))
        q_u = normal(self.q_u(torch.cat([x, v], dim=-1)))
        u = q_u.sample()
        R = Independent(Bernoulli(logits=self.p_x(u)), 1).log_prob(x)
        p = self._prior(x).log_prob(v) + normal(self.p_u(v)).log_prob(u)
        return (R + p - q_v.log_prob(v) - q_u.log_prob(u)).logsumexp(0) - math.log(samples)

    def _prior(self, x: Tensor) -> Distribution:
        zeros = x.new_zeros(len(x), self.width)
        return Independent(Normal(zeros, torch.ones_like(zeros)), 1)


class Sgemm:
    """The yardstick: as many multiplications as the steps hold, in square products of one thread."""

    def __init__(self, problem: Problem, seed: int) -> None:
        torch.set_num_threads(1)
        self._products = flops_per_step(problem) / (2 * _SIZE**3)  # for one step
        self._a, self._b, self._c = (torch.ones(_SIZE, _SIZE) for _ in range(3))

    def advance(self, steps: int) -> None:
        """Multiply as often as that many steps do, rounded to a whole number of products."""
        for _ in range(max(1, round(steps * self._products))):
            torch.mm(self._a, self._b, out=self._c)

    def losses(self, bits: np.ndarray, draws: int) -> np.ndarray:
        """Nothing is trained here: an empty array."""
        return np.empty(0)


def perceptron(weights: list[Layer]) -> nn.Sequential:
    """Linear layers with those weights and tanh between them."""
    modules: list[nn.Module] = []
    for matrix, bias in weights:
        linear = nn.Linear(matrix.shape[1], matrix.shape[0])
        linear.load_state_dict({"weight": torch.from_numpy(matrix), "bias": torch.from_numpy(bias)})
        modules += [linear, nn.Tanh()]
    return nn.Sequential(*modules[:-1])


def normal(output: Tensor) -> Distribution:
    """The diagonal Gaussian whose mean and log standard deviation are the halves of a network's output."""
    mean, log_scale = output.chunk(2, dim=-1)
    return Independent(Normal(mean, log_scale.exp()), 1)


def batches(problem: Problem) -> Iterator[Tensor]:
    """Shuffled batches without end, each binarised when it comes, shape (batch_size, pixels)."""
    grey = torch.from_numpy(problem.images).float() / 255
    loader = DataLoader(TensorDataset(grey), batch_size=problem.batch_size, shuffle=True, drop_last=True)
    while True:
        for (batch,) in loader:
            yield torch.bernoulli(batch)
