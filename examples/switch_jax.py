"""The switch in JAX: `stop_gradient` on the path of v into C alone."""

import jax.numpy as jnp
from jax.lax import stop_gradient
from jax.nn import softplus


def scale_gradient(z, lam):  # the value of z, and λ times its gradient
    return stop_gradient(z) + lam * (z - stop_gradient(z))


def gaussian(weights, *inputs):  # mean and log standard deviation
    return jnp.split(jnp.concatenate(inputs, -1) @ weights, 2, -1)


def draw(q, noise):
    return q[0] + jnp.exp(q[1]) * noise


def kl(q, p):
    ratio = jnp.exp(2 * (q[1] - p[1])) + ((q[0] - p[0]) * jnp.exp(-p[1])) ** 2
    return (p[1] - q[1] + (ratio - 1) / 2).sum(-1)


def loss(weights, x, noise, lam=1.0):  # λ: 1 is the full gradient, 0 is eq. (9)
    q_v = gaussian(weights["q_v"], x)
    v = draw(q_v, noise[0])
    q_u = gaussian(weights["q_u"], x, v)  # the plain v: R keeps its gradient
    logits = draw(q_u, noise[1]) @ weights["p_x"]
    R = (x * logits - softplus(logits)).sum(-1)
    A = kl(q_v, (jnp.zeros_like(v), jnp.zeros_like(v)))
    v_lam = scale_gradient(v, lam)  # the switch: in both conditionals
    C = kl(gaussian(weights["q_u"], x, v_lam), gaussian(weights["p_u"], v_lam))
    return -(R - A - C).mean()
