"""The contestant in NumPyro: `TraceMeanField_ELBO` with `SVI.update` jitted."""

from typing import Any

import jax
import jax.numpy as jnp
import numpyro
from jax import Array
from numpyro.distributions import Bernoulli, Distribution, Normal
from numpyro.infer import SVI, TraceMeanField_ELBO

from benchmarks.jax_steps import JaxStep, apply, binarise, network
from benchmarks.problem import NETWORKS


class NumPyro(JaxStep):
    """A model and a guide, and one jitted call a step. The loss is summed over images, which Adam does not see."""

    def _start(self, seed: int) -> Any:
        self._nets = {name: network(self.problem, name) for name in NETWORKS}
        self._elbo = TraceMeanField_ELBO()
        adam = numpyro.optim.Adam(self.problem.learning_rate)
        self._svi = SVI(self._model, self._guide, adam, loss=self._elbo)
        own, key = jax.random.split(jax.random.key(seed))
        return self._svi.init(key, jnp.asarray(self.problem.batch, jnp.float32)), own

    def _step(self, state: Any, grey: Array) -> Any:
        key, pixels = jax.random.split(state[1])
        return self._svi.update(state[0], binarise(pixels, grey))[0], key

    def _loss(self, state: Any, x: Array, key: Array) -> Array:
        return self._elbo.loss(key, self._svi.get_params(state[0]), self._model, self._guide, x) / len(x)

    def _model(self, x: Array) -> None:
        p_u, p_x = (numpyro.param(name, self._nets[name]) for name in ("p_u", "p_x"))
        with numpyro.plate("images", len(x)):
            zero = jnp.zeros((len(x), self.problem.latents[0]))
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
