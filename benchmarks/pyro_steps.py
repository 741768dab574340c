"""The contestant in Pyro: `TraceMeanField_ELBO` with Pyro's Adam."""

import pyro
import torch
from pyro.distributions import Bernoulli, Normal
from pyro.infer import SVI, TraceMeanField_ELBO
from torch import Tensor, nn

from benchmarks.problem import NETWORKS, Problem, layers
from benchmarks.torch_steps import Eager, perceptron


class Pyro(Eager):
    """A model and a guide as a user would write them. The loss is summed over images, which Adam does not see."""

    def _start(self, problem: Problem) -> None:
        pyro.clear_param_store()
        self._nets = nn.ModuleDict({name: perceptron(layers(problem, name)) for name in NETWORKS})
        self._width = problem.latents[0]
        adam = pyro.optim.Adam({"lr": problem.learning_rate})
        self._svi = SVI(self._model, self._guide, adam, loss=TraceMeanField_ELBO())

    def _step(self, x: Tensor) -> None:
        self._svi.step(x)

    def _loss(self, x: Tensor) -> float:
        return self._svi.evaluate_loss(x) / len(x)

    def _model(self, x: Tensor) -> None:
        p_u, p_x = (pyro.module(name, self._nets[name]) for name in ("p_u", "p_x"))
        with pyro.plate("images", len(x)):
            zero = x.new_zeros(len(x), self._width)
            v = pyro.sample("v", Normal(zero, torch.ones_like(zero)).to_event(1))
            u = pyro.sample("u", _normal(p_u(v)))
            pyro.sample("x", Bernoulli(logits=p_x(u)).to_event(1), obs=x)

    def _guide(self, x: Tensor) -> None:
        q_v, q_u = (pyro.module(name, self._nets[name]) for name in ("q_v", "q_u"))
        with pyro.plate("images", len(x)):
            v = pyro.sample("v", _normal(q_v(x)))
            pyro.sample("u", _normal(q_u(torch.cat([x, v], dim=-1))))


def _normal(output: Tensor) -> pyro.distributions.Distribution:
    mean, log_scale = output.chunk(2, dim=-1)
    return Normal(mean, log_scale.exp()).to_event(1)
