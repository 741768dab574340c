"""The contestant in NumPyro: `TraceMeanField_ELBO` with `SVI.update` jitted."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from jax import Array
from numpyro.distributions import Bernoulli, Distribution, Normal
from numpyro.infer import SVI, TraceMeanField_ELBO

from benchmarks.jax_steps import apply, binarise, network, orders
from benchmarks.problem import NETWORKS, Problem


class NumPyro:
    """A model and a guide, and one jitted call a step. The loss is summed over images, which Adam does not see."""

    def __init__(self, problem: Problem, seed: int) -> None:
        self._problem = problem
        self._nets = {name: network(problem, name) for name in NETWORKS}
        self._elbo = TraceMeanField_ELBO()
        self._svi = SVI(self._model, self._guide, numpyro.optim.Adam(problem.learning_rate), loss=self._elbo)
        self._key, key = jax.random.split(jax.random.key(seed))
        self._state = self._svi.init(key, jnp.asarray(problem.batch, jnp.float32))
        self._orders = orders(len(problem.images), problem.batch_size, seed)
        self._step = jax.jit(self._one_step, donate_argnums=0)

    def advance(self, steps: int) -> None:
        """Train for that many steps."""
        for _ in range(steps):
            self._state, self._key = self._step(self._state, self._key, self._problem.images[next(self._orders)])
        jax.block_until_ready(self._state)

    def losses(self, bits: np.ndarray, draws: int) -> np.ndarray:
        """The loss on `bits` at that many draws of the latents, shape (draws,)."""
        x, weights = jnp.asarray(bits, jnp.float32), self._svi.get_params(self._state)
        loss = jax.jit(lambda key: self._elbo.loss(key, weights, self._model, self._guide, x) / len(x))
        return np.array([loss(key) for key in jax.random.split(jax.random.key(0), draws)])

    def _one_step(self, state: Any, key: Array, grey: Array) -> tuple[Any, Array]:
        key, pixels = jax.random.split(key)
        return self._svi.update(state, binarise(pixels, grey))[0], key

    def _model(self, x: Array) -> None:
        p_u, p_x = (numpyro.param(name, self._nets[name]) for name in ("p_u", "p_x"))
        with numpyro.plate("images", len(x)):
            zero = jnp.zeros((len(x), self._problem.latents[0]))
            v = numpyro.sample("v", Normal(zero, 1.0).to_event(1))
            u = numpyro.sample("u", _normal(apply(p_u, v)))
            numpyro.sample("x", Bernoulli(logits=apply(p_x, u)).to_event(1), obs=x)

    def _guide(self, x: Array) -> None:
        q_v, q_u = (numpyro.param(name, self._nets[name]) for name in ("q_v", "q_u"))
        with numpyro.plate("images", len(x)):
            v = numpyro.sample("v", _normal(apply(q_v, x)))
            numpyro.sample("u", _normal(apply(q_u, x, v)))


def _normal(output: Array) -> Distribution:
    mean, log_scale = jnp.split(output, 2, axis=-1)
    return Normal(mean, jnp.exp(log_scale)).to_event(1)
