"""The contestants in JAX: a jitted step, and a window of steps in one `lax.scan`; the loss and Adam by hand."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from benchmarks.contestants import Estimator
from benchmarks.problem import NETWORKS, Problem, first_parts, layers

_BETA1, _BETA2, _EPS = 0.9, 0.999, 1e-8  # Adam's, as in condkl_studies.training


class Training(NamedTuple):
    """Training between two steps: weights, Adam's moments as trees like them, steps done, randomness."""

    weights: Any
    first: Any
    second: Any
    step: Array
    key: Array


class JaxStep:
    """One jitted step a call; batches are gathered by numpy and binarised in the step."""

    def __init__(self, problem: Problem, seed: int) -> None:
        self.problem = problem
        self.state = self._start(seed)
        self.orders = orders(len(problem.images), problem.batch_size, seed)
        self.jitted = jax.jit(self._step, donate_argnums=0)

    def _start(self, seed: int) -> Any:
        weights = jax.tree.map(jnp.array, {name: network(self.problem, name) for name in NETWORKS})
        # Two trees of zeros, each with its own memory: a step takes over the memory of the one before.
        first, second = (jax.tree.map(jnp.zeros_like, weights) for _ in range(2))
        return Training(weights, first, second, jnp.zeros((), jnp.float32), jax.random.key(seed))

    def _step(self, state: Any, grey: Array) -> Any:
        key, pixels, noise = jax.random.split(state.key, 3)
        gradients = jax.grad(negative_elbo)(state.weights, binarise(pixels, grey), noise)
        step, rate = state.step + 1, self.problem.learning_rate
        return Training(*adam(state.weights, gradients, state.first, state.second, step, rate), step, key)

    def _loss(self, state: Any, x: Array, key: Array) -> Array:
        return negative_elbo(state.weights, x, key)

    def advance(self, steps: int) -> None:
        """Train for that many steps."""
        for _ in range(steps):
            self.state = self.jitted(self.state, self.problem.images[next(self.orders)])
        jax.block_until_ready(self.state)

    def losses(self, bits: np.ndarray, draws: int) -> np.ndarray:
        """The loss on `bits` at that many draws of the latents, shape (draws,)."""
        loss, x = jax.jit(self._loss), jnp.asarray(bits, jnp.float32)
        return np.array([loss(self.state, x, key) for key in jax.random.split(jax.random.key(0), draws)])


class JaxScan(JaxStep):
    """One call for a window of steps, which gathers and binarises its batches itself."""

    def __init__(self, problem: Problem, seed: int) -> None:
        super().__init__(problem, seed)
        self._images = jnp.asarray(problem.images)

        def window(state: Training, images: Array, order: Array) -> Training:
            return jax.lax.scan(lambda state, at: (self._step(state, images[at]), None), state, order)[0]

        self.jitted = jax.jit(window, donate_argnums=0)

    def advance(self, steps: int) -> None:
        """Train for whole windows, until `steps` more are done."""
        for _ in range(-(-steps // self.problem.window)):
            order = np.stack([next(self.orders) for _ in range(self.problem.window)])
            self.state = self.jitted(self.state, self._images, order)
        jax.block_until_ready(self.state)


class JaxLikelihood(Estimator):
    """The estimate of `OurLikelihood`: one call an image, a scan over chunks of 1,000 draws."""

    def __init__(self, problem: Problem, seed: int) -> None:
        super().__init__(problem)
        self._weights = jax.tree.map(jnp.array, {name: network(problem, name) for name in NETWORKS})
        self._key, samples = jax.random.key(seed), problem.likelihood_samples
        chunk = math.gcd(samples, 1000)

        def estimate(weights: Any, x: Array, key: Array) -> Array:
            keys = jax.random.split(key, samples // chunk)
            _, chunks = jax.lax.scan(lambda _, one: (None, log_weights(weights, x, one, chunk)), None, keys)
            return jax.nn.logsumexp(chunks) - jnp.log(samples)

        self._estimate = jax.jit(estimate)

    def estimates(self, bits: np.ndarray) -> np.ndarray:
        """As `Estimator` says."""
        self._key, *keys = jax.random.split(self._key, len(bits) + 1)
        return np.array([self._estimate(self._weights, x, key) for x, key in zip(bits, keys, strict=True)])


def orders(n: int, batch_size: int, seed: int) -> Iterator[np.ndarray]:
    """Which of n images are in each batch, shape (batch_size,): shuffled epochs without end."""
    generator = np.random.default_rng(seed)
    while True:
        yield from generator.permutation(n)[: n // batch_size * batch_size].reshape(-1, batch_size)


def network(problem: Problem, name: str) -> Any:
    """A network from `NETWORKS` in numpy: the parts of the first matrix, its bias, and the other two layers."""
    # Of numpy, since a step takes over the memory of its arguments: it copies these first.
    (_, bias), *rest = layers(problem, name)
    parts = [np.ascontiguousarray(matrix.T) for matrix in first_parts(problem, name)]
    return parts, bias, [(np.ascontiguousarray(matrix.T), b) for matrix, b in rest]


def apply(net: Any, *inputs: Array) -> Array:
    """The output, shape (n, outputs), of the network from its inputs, each (n, width)."""
    parts, bias, rest = net
    out = sum(value @ part for value, part in zip(inputs, parts, strict=True)) + bias
    for matrix, b in rest:
        out = jnp.tanh(out) @ matrix + b
    return out


def binarise(key: Array, grey: Array) -> Array:
    """Bits as floats: 1 with probability grey level / 255."""
    return jax.random.bernoulli(key, grey / 255.0).astype(jnp.float32)


def negative_elbo(weights: Any, x: Array, key: Array) -> Array:
    """The mean over the images x, shape (n, pixels), in nats, at one draw of the latents."""
    v_key, u_key = jax.random.split(key)
    v_mean, v_log = jnp.split(apply(weights["q_v"], x), 2, axis=-1)
    v = v_mean + jnp.exp(v_log) * jax.random.normal(v_key, v_mean.shape)
    u_mean, u_log = jnp.split(apply(weights["q_u"], x, v), 2, axis=-1)
    u = u_mean + jnp.exp(u_log) * jax.random.normal(u_key, u_mean.shape)
    p_mean, p_log = jnp.split(apply(weights["p_u"], v), 2, axis=-1)
    logits = apply(weights["p_x"], u)
    R = (x * logits - jax.nn.softplus(logits)).sum(-1)
    A = (0.5 * (jnp.exp(2 * v_log) + v_mean**2 - 1) - v_log).sum(-1)
    shift = (u_mean - p_mean) * jnp.exp(-p_log)
    C = (p_log - u_log + 0.5 * (jnp.exp(2 * (u_log - p_log)) + shift**2 - 1)).sum(-1)
    return (A + C - R).mean()


def adam(weights: Any, gradients: Any, first: Any, second: Any, step: Array, rate: float) -> tuple[Any, Any, Any]:
    """The weights and moments, trees of one shape, after Adam's step number `step`, counted from 1."""
    first = jax.tree.map(lambda m, g: _BETA1 * m + (1 - _BETA1) * g, first, gradients)
    second = jax.tree.map(lambda v, g: _BETA2 * v + (1 - _BETA2) * g * g, second, gradients)
    size, root = rate / (1 - _BETA1**step), jax.lax.rsqrt(1 - _BETA2**step)
    weights = jax.tree.map(lambda w, m, v: w - size * m / (jnp.sqrt(v) * root + _EPS), weights, first, second)
    return weights, first, second


def log_weights(weights: Any, x: Array, key: Array, n: int) -> Array:
    """Log p(x,u,v) - log q(u,v|x) at n draws for one image of bits x, shape (pixels,); the result has shape (n,)."""
    x, (v_key, u_key) = x.astype(jnp.float32), jax.random.split(key)
    v_mean, v_log = jnp.split(apply(weights["q_v"], x), 2)
    v_noise = jax.random.normal(v_key, (n, *v_mean.shape))
    v = v_mean + jnp.exp(v_log) * v_noise
    (from_x, from_v), bias, rest = weights["q_u"]
    u_mean, u_log = jnp.split(apply(([from_v], x @ from_x + bias, rest), v), 2, axis=-1)  # x's part once
    u_noise = jax.random.normal(u_key, u_mean.shape)
    u = u_mean + jnp.exp(u_log) * u_noise
    p_mean, p_log = jnp.split(apply(weights["p_u"], v), 2, axis=-1)
    logits = apply(weights["p_x"], u)
    log_v = (0.5 * (v_noise**2 - v**2) + v_log).sum(-1)
    log_u = (0.5 * (u_noise**2 - ((u - p_mean) * jnp.exp(-p_log)) ** 2) + u_log - p_log).sum(-1)
    return log_v + log_u + (x * logits - jax.nn.softplus(logits)).sum(-1)
