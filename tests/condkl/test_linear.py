"""The closed forms of the VAE against enumeration, quadrature, other formulas, and trained models."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import tensor
from scipy import integrate, optimize, stats
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from condkl.linear import (
    elbo_gap,
    exact_posterior,
    fixed_point_F2,
    log_evidence,
    rho,
    tempered_posterior,
    tilted_posterior,
)
from condkl.switch import scale_gradient

X, SLOPE, BETA, SIGMA2 = 1.3, 1.5, 0.5, 0.2

lams = st.floats(0, 1)
variances = st.floats(0.1, 5)
numbers = st.floats(-3, 3)
seeds = st.integers(0, 10**6)


class Table:
    """A random model p(v) p(u|v) p(x|u,v) at one x, and a random q(u|v,x), on k values of v and m of u."""

    def __init__(self, k, m, seed):
        rng = np.random.default_rng(seed)
        self.p_v = rng.dirichlet(np.full(k, 3.0))
        self.p_u = rng.dirichlet(np.full(m, 3.0), size=k)
        self.p_x = rng.uniform(0.1, 1, size=(k, m)) ** 3
        self.q_u = rng.dirichlet(np.full(m, 3.0), size=k)
        joint = self.p_v[:, None] * self.p_u * self.p_x
        self.evidence = joint.sum()
        self.post_v = joint.sum(1) / self.evidence
        self.post_u = joint / joint.sum(1, keepdims=True)

    def objective(self, q_v, q_u, lam):
        """R - A - λC, summed over the table."""
        joint = q_v[:, None] * q_u
        R = (joint * np.log(self.p_x)).sum()
        A = (q_v * np.log(q_v / self.p_v)).sum()
        C = (joint * np.log(q_u / self.p_u)).sum()
        return R - A - lam * C

    def maximiser(self, q_u, lam):
        """The best q(v|x) by ascent on its logits."""
        per_v = (q_u * (np.log(self.p_x) - lam * np.log(q_u / self.p_u))).sum(1)

        def loss(z):
            q = np.exp(z) / np.exp(z).sum()
            value = per_v - np.log(q / self.p_v)
            return -q @ value, -q * (value - q @ value)

        rough = optimize.minimize(loss, np.log(self.p_v), jac=True, method="BFGS").x
        fine = optimize.root(lambda z: loss(np.append(z, rough[-1]))[1][:-1], rough[:-1], options={"xtol": 1e-13}).x
        q = np.exp(np.append(fine, rough[-1]))
        return q / q.sum()


def kl_rows(q, p):
    return (q * np.log(q / p)).sum(1)


def tilt(table, lam, q_u=None):
    """The library's posterior for a phi, by default the optimal one."""
    q_u = table.post_u if q_u is None else q_u
    c, mismatch = kl_rows(q_u, table.p_u), kl_rows(q_u, table.post_u)
    return tilted_posterior(tensor(np.log(table.post_v)), tensor(c), lam, tensor(mismatch)).numpy()


@settings(max_examples=30)
@given(st.integers(2, 5), st.integers(2, 4), seeds, lams)
def test_the_tilted_posterior_maximises_the_objective_of_theta(k, m, seed, lam):
    table = Table(k, m, seed)
    for q_u in (table.q_u, table.post_u):
        np.testing.assert_allclose(tilt(table, lam, q_u), table.maximiser(q_u, lam), rtol=0, atol=1e-8)


@settings(max_examples=30)
@given(st.integers(2, 5), st.integers(2, 4), seeds, lams)
def test_the_gap_is_an_integral_of_variances(k, m, seed, lam):
    table = Table(k, m, seed)
    c = kl_rows(table.post_u, table.p_u)

    def integrand(s):
        q = tilt(table, s)
        return (1 - s) * (q @ (c - q @ c) ** 2)

    gap = np.log(table.evidence) - table.objective(tilt(table, lam), table.post_u, 1.0)
    assert integrate.quad(integrand, lam, 1, epsabs=1e-12)[0] == pytest.approx(gap, abs=1e-8)


def test_the_tilt_vanishes_under_the_full_gradient_and_raises_what_is_contradicted_under_eq_9():
    table = Table(4, 3, 0)
    np.testing.assert_allclose(tilt(table, 1.0), table.post_v, rtol=1e-12)
    c = kl_rows(table.post_u, table.p_u)
    np.testing.assert_allclose(np.diff(np.log(tilt(table, 0.0) / table.post_v)), np.diff(c), rtol=1e-9)


@settings(max_examples=30)
@given(numbers, numbers, variances, variances, lams)
def test_the_tempered_posterior_is_the_tilt_on_a_grid(x, F, beta, sigma2, lam):
    v = torch.linspace(-25, 25, 20_001, dtype=torch.float64)
    covariance = tensor([[beta, beta], [beta, beta + sigma2]])  # of (u, x) given v
    gain = covariance[0, 1] / covariance[1, 1]
    post_u = Normal(F * v + gain * (x - F * v), (beta - gain * covariance[0, 1]).sqrt())
    c = kl_divergence(post_u, Normal(F * v, math.sqrt(beta)))
    log_p = Normal(0.0, 1.0).log_prob(v) + Normal(F * v, math.sqrt(beta + sigma2)).log_prob(tensor(x))
    q = tilted_posterior(log_p, c, lam)
    mean, variance = tempered_posterior(x, F, beta, sigma2, lam)
    assert float(mean) == pytest.approx(float(q @ v), abs=1e-9)
    assert float(variance) == pytest.approx(float(q @ (v - q @ v) ** 2), abs=1e-9)


@settings(max_examples=30)
@given(numbers, numbers, variances, variances, lams)
def test_the_gap_is_the_divergence_of_the_two_posteriors(x, F, beta, sigma2, lam):
    q, p = tempered_posterior(x, F, beta, sigma2, lam), exact_posterior(x, F, beta, sigma2)
    kl = kl_divergence(Normal(q.mean, q.variance.sqrt()), Normal(p.mean, p.variance.sqrt()))
    assert float(elbo_gap(x, F, beta, sigma2, lam)) == pytest.approx(float(kl), abs=1e-11)


@settings(max_examples=30)
@given(numbers, numbers, variances, variances)
def test_the_exact_posterior_and_the_evidence_are_those_of_the_joint_gaussian(x, F, beta, sigma2):
    # (v, u, x) = L (three independent normals)
    L = tensor([[1, 0, 0], [F, math.sqrt(beta), 0], [F, math.sqrt(beta), math.sqrt(sigma2)]])
    joint = L @ L.mT
    mean, variance = exact_posterior(x, F, beta, sigma2)
    assert float(mean) == pytest.approx(float(joint[0, 2] / joint[2, 2] * x), abs=1e-12)
    assert float(variance) == pytest.approx(float(joint[0, 0] - joint[0, 2] ** 2 / joint[2, 2]), abs=1e-12)
    marginal = MultivariateNormal(torch.zeros(1, dtype=torch.float64), joint[2:, 2:])
    assert float(log_evidence(x, F, beta, sigma2)) == pytest.approx(float(marginal.log_prob(tensor([x]))), abs=1e-12)


@pytest.mark.parametrize(
    ("lam", "mean", "variance", "gap"),
    [
        (0.0, 0.4148936, 0.5212766, 0.3325452),
        (0.5, 0.5840266, 0.3261231, 0.0406782),
        (1.0, 0.6610169, 0.2372881, 0.0),
    ],
)
def test_known_values(lam, mean, variance, gap):
    got = tempered_posterior(X, SLOPE, BETA, SIGMA2, lam)
    assert [round(float(number), 7) for number in got] == [mean, variance]
    assert round(float(elbo_gap(X, SLOPE, BETA, SIGMA2, lam)), 7) == gap


@settings(max_examples=30)
@given(variances, variances, lams, lams)
def test_rho_grows_from_the_lower_layers_share_of_the_noise_to_one(beta, sigma2, a, b):
    assert float(rho(1.0, beta, sigma2)) == 1.0
    assert float(rho(0.0, beta, sigma2)) == pytest.approx(1 - beta / (beta + sigma2), rel=1e-12)
    assert (a - b) * float(rho(a, beta, sigma2) - rho(b, beta, sigma2)) >= 0


def test_the_gap_falls_with_lambda_and_is_of_second_order_at_one():
    gaps = elbo_gap(X, SLOPE, BETA, SIGMA2, torch.linspace(0, 1, 51, dtype=torch.float64))
    assert bool((gaps.diff() < 0).all())
    near = elbo_gap(X, SLOPE, BETA, SIGMA2, tensor([0.999, 0.998]))
    assert float(near[1] / near[0]) == pytest.approx(4, rel=0.01)


def settled_F2(S, beta, sigma2, lam, steps=3000):
    """F² after alternating the posterior and the regression of x on v, for one direction."""
    F, D = 0.7, beta + sigma2
    weight = (1 - (1 - lam) * beta / D) / D
    for _ in range(steps):
        variance = 1 / (1 + weight * F * F)
        m = weight * F * variance
        F = S * m / (m * m * S + variance)
    return F * F


@pytest.mark.parametrize("lam", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("S", [0.3, 1.0, 2.0, 5.0, 9.0])
def test_the_fixed_point_is_where_alternating_updates_settle(S, lam):
    got = float(fixed_point_F2(S, BETA, SIGMA2, lam))
    assert got == pytest.approx(settled_F2(S, BETA, SIGMA2, lam), abs=1e-9)


def test_the_price_of_a_direction_is_half_h_of_what_it_lost():
    S = tensor([0.3, 0.9, 1.5, 2.4, 4.0, 9.0])
    nodes, weights = (tensor(a) for a in np.polynomial.hermite_e.hermegauss(12))
    x = S.sqrt()[:, None] * nodes

    def elbo(lam):
        F = fixed_point_F2(S, BETA, SIGMA2, lam).sqrt()[:, None]
        values = log_evidence(x, F, BETA, SIGMA2) - elbo_gap(x, F, BETA, SIGMA2, lam)
        return values @ weights / weights.sum()

    for lam in (0.0, 0.3, 1.0):
        D, power = BETA + SIGMA2, (SIGMA2 + lam * BETA) / (SIGMA2 + BETA)
        z = torch.minimum((S / D).clamp_min(1.0), tensor(1 / power))
        torch.testing.assert_close(elbo(1.0) - elbo(lam), 0.5 * (z - 1 - z.log()), rtol=0, atol=1e-12)


def trained_F(S, lam, beta, sigma2, runs=16, steps=1400, batch=32):
    """F of linear VAEs trained on the one-sample ELBO, averaged over the second half; shape (len(S), runs)."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    start = (0.5, 0.5, 0.0, 0.0, 0.0, 0.0)
    p = [(value + 0.1 * normal(len(S), runs, 1)).requires_grad_() for value in start]
    F, m, log_t, a, b, log_s = p
    adam = torch.optim.Adam(p, lr=0.05, betas=(0.9, 0.99))
    falling = torch.optim.lr_scheduler.LambdaLR(adam, lambda step: 1 / (1 + step / 200))
    total = torch.zeros(len(S), runs, dtype=torch.float64)
    for step in range(steps):
        x = S.sqrt()[:, None, None] * normal(len(S), runs, batch)
        v = m * x + log_t.exp() * normal(*x.shape)
        u = a * x + b * v + log_s.exp() * normal(*x.shape)
        v_c = scale_gradient(v, lam)
        R = -0.5 * (x - u).square() / sigma2
        A = 0.5 * ((m * x).square() + (2 * log_t).exp()) - log_t
        C = 0.5 * ((2 * log_s).exp() + (a * x + (b - F) * v_c).square()) / beta - log_s
        adam.zero_grad()
        (A + C - R).mean(-1).sum().backward()
        adam.step()
        falling.step()
        if step >= steps // 2:
            total += F.detach()[..., 0]
    return total / (steps - steps // 2)


@pytest.mark.parametrize("lam", [0.0, pytest.param(0.5, marks=pytest.mark.slow)])
def test_trained_models_end_at_the_fixed_point_collapse_included(lam):
    beta = sigma2 = 0.5
    S = tensor([0.75, 1.6, 2.5, 4.0])  # thresholds: 2 at λ = 0, 4/3 at λ = ½
    want = fixed_point_F2(S, beta, sigma2, lam).sqrt()
    assert 0 < int((want == 0).sum()) < 4
    F = trained_F(S, lam, beta, sigma2)
    error = F.std(1) / math.sqrt(F.shape[1])
    half_width = stats.t.ppf(1 - 0.025 / len(S), F.shape[1] - 1) * error  # four 95% intervals at once
    assert float(half_width.max()) < 0.03
    assert bool(((F.mean(1) - want).abs() <= half_width).all()), (F.mean(1), want, half_width)


def test_arguments_broadcast_and_results_keep_the_shape():
    x, lam = torch.zeros(3, 1, dtype=torch.float64), torch.linspace(0, 1, 4, dtype=torch.float64)
    mean, variance = tempered_posterior(x, SLOPE, BETA, SIGMA2, lam)
    assert mean.shape == variance.shape == elbo_gap(x, SLOPE, BETA, SIGMA2, lam).shape == (3, 4)
    assert exact_posterior(X, SLOPE, BETA, SIGMA2).variance.shape == ()
    assert rho(lam, BETA, SIGMA2).dtype == torch.float64
    each = torch.stack([elbo_gap(X, SLOPE, BETA, SIGMA2, float(value)) for value in lam])
    torch.testing.assert_close(elbo_gap(X, SLOPE, BETA, SIGMA2, lam), each)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rho(1.1, BETA, SIGMA2), "lam: expected numbers from 0 to 1, got 1.1"),
        (lambda: rho(tensor([0.5, -0.1]), BETA, SIGMA2), "lam: expected numbers from 0 to 1"),
        (lambda: rho(math.nan, BETA, SIGMA2), "lam: expected finite numbers"),
        (lambda: rho(0.5, 0.0, SIGMA2), "beta: expected numbers above 0"),
        (lambda: tempered_posterior(X, SLOPE, BETA, -1.0, 0.5), "sigma2: expected numbers above 0"),
        (lambda: tempered_posterior(math.inf, SLOPE, BETA, SIGMA2, 0.5), "x: expected finite numbers"),
        (lambda: elbo_gap(X, math.nan, BETA, SIGMA2, 0.5), "F: expected finite numbers"),
        (lambda: log_evidence(X, SLOPE, 0.0, SIGMA2), "beta: expected numbers above 0"),
        (lambda: fixed_point_F2(-1.0, BETA, SIGMA2, 0.5), "S: expected numbers above 0"),
        (lambda: tilted_posterior(torch.zeros(2), torch.zeros(2), 2.0), "lam: expected numbers from 0 to 1"),
        (lambda: tilted_posterior(torch.zeros(2), tensor([0.0, math.inf]), 0.5), "c: expected finite numbers"),
    ],
)
def test_a_bad_argument_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_an_argument_that_is_no_number_is_named():
    with pytest.raises(TypeError, match="sigma2: expected a float or a tensor, got str"):
        rho(0.5, BETA, "0.2")
