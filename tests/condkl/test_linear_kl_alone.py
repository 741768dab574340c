"""The KL alone in closed form against flows of the library's fields, quadrature, mpmath and minimisation."""

import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import tensor
from scipy.integrate import solve_ivp
from scipy.optimize import minimize_scalar
from torch.distributions import Categorical, Normal

from condkl.divergence import kl_chain
from condkl.dynamics import fixed_point, natural_gradient, time_to_level
from condkl.gradients import Field, KLProblem, full_gradient, interpolated_gradient
from condkl.linear import misspecification_price, starvation_law, starvation_time

LEVEL = 1e-3
shares = st.floats(0, 1)
betas = st.floats(0.1, 10)


def pair(r, beta=1.0, blind=False):
    """q(v) = N(0, t²), q(u|v) = N(bv, β), or N(b, β) if blind, against N(0, 1), N(Fv, β): theta = log t, phi = b."""
    F, s = math.sqrt(r * beta), math.sqrt(beta)
    return KLProblem(
        q_v=lambda theta: Normal(tensor(0.0), theta[0].exp()),
        q_u_given_v=lambda phi: lambda v: Normal(phi[0] * (torch.ones_like(v) if blind else v), s),
        p_v=Normal(tensor(0.0), tensor(1.0)),
        p_u_given_v=lambda v: Normal(F * v, s),
    )


def kl_of(problem):
    return lambda theta, phi: (
        kl_chain((problem.q_v(theta), problem.q_u_given_v(phi)), (problem.p_v, problem.p_u_given_v)).total
    )


def path_to(r, lam, beta, until):
    """(log y, log E) along the flow, from scratch."""

    def rates(_, z):
        y, E = np.exp(z)
        return [2 - 2 * y - 2 * lam * y * E, -2 * y / beta]

    return solve_ivp(rates, (0, until), [0, math.log(r)], method="Radau", rtol=1e-8, atol=1e-10)


def h(z):
    return z - 1 - math.log(z)


@pytest.mark.parametrize("r", [0.3, 1.0, 9.0, 100.0])
def test_the_prices_are_the_kl_where_the_fields_stop_when_q_of_u_is_blind(r):
    problem, price = pair(r, blind=True), misspecification_price(r)
    for lam, want in ((1.0, price.full), (0.0, price.modified)):
        stop = fixed_point(lambda *at, lam=lam: interpolated_gradient(problem, *at, lam), tensor([-0.1]), tensor([0.2]))
        assert kl_of(problem)(*stop).item() == pytest.approx(want.item(), abs=1e-10)


@given(st.floats(1e-3, 1e3))
def test_the_half_in_the_price_of_the_full_gradient_is_that_of_the_least_kl(r):
    least = minimize_scalar(lambda log_y: 0.5 * (math.expm1(log_y) - log_y + r * math.exp(log_y)), bracket=(-8, 1))
    assert misspecification_price(r).full.item() == pytest.approx(least.fun, abs=1e-9)


def test_the_half_in_the_price_of_eq_9_is_that_of_the_kl_at_the_prior():
    for r in (0.3, 9.0, 400.0):
        at_the_prior = kl_of(pair(r, blind=True))(tensor([0.0]), tensor([0.0]))
        assert misspecification_price(r).modified.item() == pytest.approx(at_the_prior.item(), rel=1e-12)


@pytest.mark.parametrize("lam", [0.0, 0.3, 0.5, 0.9, 1.0])
def test_the_excess_at_weight_lam_is_half_of_h(lam):
    r = 9.0
    problem = pair(r, blind=True)
    stop = fixed_point(lambda *at: interpolated_gradient(problem, *at, lam), tensor([-0.1]), tensor([0.2]))
    excess = kl_of(problem)(*stop) - misspecification_price(r).full
    assert excess.item() == pytest.approx(0.5 * h((1 + r) / (1 + lam * r)), abs=1e-10)


@settings(max_examples=15)
@given(st.integers(2, 5), st.integers(2, 4), shares, st.integers(0, 10**6))
def test_theta_stops_at_the_prior_tilted_by_lam_and_not_by_1_minus_lam(k, m, lam, seed):
    rng = np.random.default_rng(seed)
    p_v, p_u, q_u = rng.dirichlet(np.full(k, 2.0)), *rng.dirichlet(np.full(m, 2.0), size=(2, k))
    problem = KLProblem(
        q_v=lambda theta: Categorical(logits=theta),
        q_u_given_v=lambda phi: lambda v: Categorical(tensor(q_u)[v]),
        p_v=Categorical(tensor(p_v)),
        p_u_given_v=lambda v: Categorical(tensor(p_u)[v]),
    )

    def field(theta, phi):
        return Field(theta=interpolated_gradient(problem, theta, phi, lam).theta, phi=phi)

    theta, _ = fixed_point(field, tensor(np.log(p_v)), tensor([0.0]))
    tilted = p_v * np.exp(-lam * (q_u * np.log(q_u / p_u)).sum(1))
    np.testing.assert_allclose(theta.softmax(0), tilted / tilted.sum(), atol=1e-9)


@pytest.mark.parametrize(
    ("r", "full", "modified"), [(1, 3.610188, 3.107304), (9, 8.709560, 4.205916), (100, 55.413533, 5.409889)]
)
def test_starvation_has_the_times_on_record(r, full, modified):
    for time in (starvation_time, starvation_law):
        got = time(r, tensor([1.0, 0.0]), LEVEL)
        np.testing.assert_allclose(got, [full, modified], atol=6e-7)


@pytest.mark.parametrize("r", [1.0, 1e5])
def test_law_and_flow_and_small_level_limit_agree_over_five_decades(r):
    lam = tensor([1.0, 0.0])
    law, limit = starvation_law(r, lam, LEVEL), 0.5 * (lam * r + math.log(r / (2 * LEVEL)))
    assert (law - limit).abs().max() < 0.004
    assert (starvation_time(r, lam, LEVEL) - law).abs().max() < 1e-6 * (1 + r / 1e3)


@settings(max_examples=6)
@given(st.floats(0.01, 50), shares, st.floats(1e-6, 1), betas)
def test_the_law_is_the_time_of_the_flow_at_every_weight_level_and_beta(r, lam, level, beta):
    want = starvation_time(r, lam, level, beta)
    assert starvation_law(r, lam, level, beta).item() == pytest.approx(want.item(), rel=1e-6, abs=1e-7)


@settings(max_examples=20)
@given(st.floats(0.1, 1e3), st.floats(0.01, 1), betas)
def test_every_term_of_the_law_is_that_of_incomplete_gamma_functions(r, lam, beta):
    E = r / 7
    with mpmath.workdps(30):
        z, scale = beta * lam * E, mpmath.power(beta * lam * E, beta) * mpmath.exp(beta * lam * E)
        y = 1 - scale * mpmath.gammainc(1 - beta, z, beta * lam * r)
        level = (y - 1 - mpmath.log(y)) / 2 + y * E / 2
        want = (beta * lam * (r - E) + beta * mpmath.log(7) + mpmath.log(y)) / 2
    assert starvation_law(r, lam, float(level), beta).item() == pytest.approx(float(want), rel=1e-9, abs=1e-11)


@settings(max_examples=5)
@given(st.floats(0.1, 1e2), shares, betas)
def test_the_conserved_quantity_is_conserved_and_the_kl_only_falls(r, lam, beta):
    until = float(starvation_law(r, lam, 1e-4 * min(r, 1), beta))
    path = path_to(r, lam, beta, until)
    (log_y, log_E), time = path.y, path.t
    conserved = log_y - beta * log_E - beta * lam * np.exp(log_E) - 2 * time
    np.testing.assert_allclose(conserved, conserved[0], atol=1e-6 * (1 + beta * r))
    kl = 0.5 * (np.expm1(log_y) - log_y + np.exp(log_y + log_E))
    assert np.diff(kl).max() < 1e-7 * kl[0]


@pytest.mark.parametrize("lam", [0.0, 0.6])
def test_the_law_is_the_time_of_the_fields_by_automatic_differentiation(lam):
    problem, start = pair(2.0, beta=1.3), tensor([0.0])
    got = time_to_level(lambda *at: interpolated_gradient(problem, *at, lam), kl_of(problem), start, start, 0.2)
    assert got == pytest.approx(starvation_law(2.0, lam, 0.2, beta=1.3).item(), abs=1e-6)


def test_a_phi_that_is_k_times_as_fast_has_the_law_of_beta_over_k():
    problem, start, k = pair(2.0, beta=1.3), tensor([0.0]), 3.0

    def field(theta, phi):
        plain = full_gradient(problem, theta, phi)
        return Field(theta=plain.theta, phi=k * plain.phi)

    got = time_to_level(field, kl_of(problem), start, start, 0.2)
    assert got == pytest.approx(starvation_law(2.0, 1.0, 0.2, beta=1.3 / k).item(), abs=1e-6)


def test_a_natural_step_for_phi_makes_its_error_fall_at_rate_2_however_small_q_of_v():
    problem, start, r, level = pair(2.0, beta=1.3), tensor([0.0]), 2.0, 0.6
    got = time_to_level(
        natural_gradient(lambda *at: full_gradient(problem, *at), problem, ["phi"]), kl_of(problem), start, start, level
    )
    E = r * math.exp(-2 * got)
    y = 1 / (1 + 2 * got * E)  # (1/y)' = 2 + 2E - 2/y
    assert 0.5 * (h(y) + y * E) == pytest.approx(level, abs=1e-8)


def test_the_law_at_small_levels_needs_beta_above_a_half():
    """Below it q(v)'s own recovery, not phi, comes last."""

    def excess(beta, level):
        limit = beta / 2 * (50 + math.log(50 / (2 * level)))
        return starvation_law(50.0, 1.0, level, beta).item() - limit

    for beta in (0.8, 1.0, 3.0):
        assert abs(excess(beta, 1e-9)) < abs(excess(beta, 1e-6)) < abs(excess(beta, 1e-3))
    assert excess(0.3, 1e-9) > 2 * excess(0.3, 1e-3) > 0.5


def test_a_kl_that_starts_below_the_level_takes_no_time():
    for time in (starvation_time, starvation_law):
        assert time(tensor([0.002, 0.001]), 1.0, LEVEL).tolist() == [0.0, 0.0]


def test_numbers_broadcast():
    r, lam = tensor([[0.5], [2.0]]), tensor([0.0, 0.5, 1.0])
    for time in (starvation_time, starvation_law):
        got = time(r, lam, 0.1, beta=2.0)
        assert got.shape == (2, 3)
        assert got[1, 2] == time(2.0, 1.0, 0.1, beta=2.0)
    assert misspecification_price(tensor([[1.0, 2.0]])).full.shape == (1, 2)


@pytest.mark.parametrize("time", [starvation_time, starvation_law])
@pytest.mark.parametrize(
    ("name", "bad", "why"), [("r", 0.0, "above 0"), ("lam", 1.1, "from 0 to 1"), ("level", -1.0, "above 0"),
                             ("beta", math.nan, "finite")]
)  # fmt: skip
def test_bad_numbers_are_refused_by_name(time, name, bad, why):
    numbers = {"r": 9.0, "lam": 1.0, "level": LEVEL, "beta": 1.0} | {name: bad}
    with pytest.raises(ValueError, match=rf"^{name}: expected .*{why}"):
        time(**numbers)


def test_a_price_of_what_is_no_number_is_refused_by_name():
    with pytest.raises(TypeError, match=r"^r: expected"):
        misspecification_price("nine")
    with pytest.raises(ValueError, match=r"^r: expected numbers above 0"):
        misspecification_price(-1.0)


def test_a_level_below_rounding_is_refused_and_one_above_is_not():
    assert starvation_law(9.0, 0.0, 1e-20).item() == pytest.approx(0.5 * math.log(9 / 2e-20), rel=1e-12)
    assert starvation_law(9.0, 1.0, 1e-20).item() == pytest.approx(0.5 * (9 + math.log(9 / 2e-20)), abs=1e-9)
    with pytest.raises(ValueError, match=r"^level: expected at least 1e-20 nats, got 1e-21"):
        starvation_law(9.0, 1.0, 1e-21)
