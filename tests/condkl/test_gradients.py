"""The gradient of the KL and the field of eq. (9), against loops differentiated by complex steps and closed forms."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from problems import BETA, F, gaussian_problem, tensor
from torch.distributions import Bernoulli, Categorical, Independent, Normal, StudentT, kl_divergence

from condkl.gradients import (
    KLProblem,
    TermGradients,
    full_gradient,
    interpolated_gradient,
    modified_gradient,
    term_gradients,
)
from condkl.objectives import modified
from condkl.vae import HierarchicalVAE

FIELDS = {
    "full": (1.0, full_gradient),
    "modified": (0.0, modified_gradient),
    "interpolated": (0.3, lambda problem, theta, phi: interpolated_gradient(problem, theta, phi, 0.3)),
}
every_field = pytest.mark.parametrize("name", FIELDS)
THETA, PHI = (0.7, -0.5), (0.4, 0.3, -0.7)  # q(v) = N(m, t²), q(u|v) = N(bv + d, s²): (m, log t) and (b, d, log s)
number, small = st.floats(-2, 2), st.floats(-1.5, 0.7)


def tables(k, m, seed):
    """Logits of q(v), shape (k,), and of q(u|v), shape (km,), and the tables p(v) and p(u|v)."""
    rng = np.random.default_rng(seed)
    theta, phi = 1.5 * rng.normal(size=k), 1.5 * rng.normal(size=k * m)
    return theta, phi, rng.dirichlet(np.full(k, 2.0)), rng.dirichlet(np.full(m, 2.0), size=k)


def problem_of(p_v, p_u):
    k, m = p_u.shape
    p_v, p_u = tensor(p_v), tensor(p_u)
    return KLProblem(
        q_v=lambda theta: Categorical(logits=theta),
        q_u_given_v=lambda phi: lambda v: Categorical(logits=phi.reshape(k, m)[v]),
        p_v=Categorical(p_v),
        p_u_given_v=lambda v: Categorical(p_u[v]),
    )


def softmax(logits):
    weights = [np.exp(x) for x in logits]
    return [w / sum(weights) for w in weights]


def terms_by_loops(theta, phi, p_v, p_u):
    """A and C; the parameters may be complex."""
    A = C = 0.0
    m = len(p_u[0])
    for i, q in enumerate(softmax(theta)):
        A += q * np.log(q / p_v[i])
        for j, r in enumerate(softmax(phi[i * m : (i + 1) * m])):
            C += q * r * np.log(r / p_u[i][j])
    return np.array([A, C])


def slopes(f, x):
    """The derivatives of analytic f to rounding: Im f(x + ih)/h, shape (len(x), values of f)."""
    h = 1e-30
    return np.array([np.imag(f(np.asarray(x) + 1j * h * e)) / h for e in np.eye(len(x))])


def wanted(lam, theta, phi, p_v, p_u):
    on_theta = slopes(lambda z: terms_by_loops(z, phi, p_v, p_u), theta)
    on_phi = slopes(lambda z: terms_by_loops(theta, z, p_v, p_u), phi)
    return on_theta[:, 0] + lam * on_theta[:, 1], on_phi[:, 1]


def gaussian_terms(m, log_t, b, d, log_s):
    """A and C, as E (u - Fv)² = (b - F)²t² + ((b - F)m + d)² + s²."""
    t2, s2 = math.exp(2 * log_t), math.exp(2 * log_s)
    miss = (b - F) ** 2 * t2 + ((b - F) * m + d) ** 2 + s2
    return -log_t + (t2 + m * m - 1) / 2, 0.5 * math.log(BETA) - log_s + miss / (2 * BETA) - 0.5


def gaussian_wanted(lam, m, log_t, b, d, log_s):
    t2, delta = math.exp(2 * log_t), b - F
    off = delta * m + d
    A, C = np.array([m, t2 - 1]), np.array([delta * off, delta**2 * t2]) / BETA
    return A + lam * C, np.array([delta * t2 + m * off, off, math.exp(2 * log_s) - BETA]) / BETA


def assert_field(field, want, tolerance):
    for got, expected in zip((field.theta, field.phi), want, strict=True):
        assert got.shape == expected.shape
        np.testing.assert_allclose(got.detach(), expected, rtol=tolerance, atol=tolerance)


@every_field
@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 10**6))
def test_the_field_of_any_tables_is_that_of_loops(name, k, m, seed):
    theta, phi, p_v, p_u = tables(k, m, seed)
    lam, field = FIELDS[name]
    assert_field(field(problem_of(p_v, p_u), tensor(theta), tensor(phi)), wanted(lam, theta, phi, p_v, p_u), 1e-10)


@every_field
@given(st.tuples(number, small, number, number, small))
def test_quadrature_gives_the_closed_form_of_linear_gaussians(name, point):
    lam, field = FIELDS[name]
    got = field(gaussian_problem(), tensor(point[:2]), tensor(point[2:]))
    assert_field(got, gaussian_wanted(lam, *point), 1e-9)


def test_the_closed_form_of_linear_gaussians_is_the_slope_of_the_kl():
    h, z = 1e-5, np.array(THETA + PHI)
    steps = [np.subtract(gaussian_terms(*(z + h * e)), gaussian_terms(*(z - h * e))) / (2 * h) for e in np.eye(5)]
    A, C = np.array(steps).T
    for lam in (0.0, 0.3, 1.0):
        want = np.concatenate(gaussian_wanted(lam, *z))
        np.testing.assert_allclose(np.concatenate([A[:2] + lam * C[:2], C[2:]]), want, atol=1e-9)


def test_eq_9_drops_the_conditional_kl_from_theta_and_not_from_phi():
    theta, phi, p_v, p_u = tables(4, 3, 1)
    got = modified_gradient(problem_of(p_v, p_u), tensor(theta), tensor(phi))
    (full_theta, on_phi), (only_A, _) = (wanted(lam, theta, phi, p_v, p_u) for lam in (1, 0))
    assert_field(got, (only_A, on_phi), 1e-12)
    assert np.linalg.norm(full_theta - only_A) > 0.05
    assert np.linalg.norm(on_phi) > 0.1


def test_lambda_weighs_what_is_kept_and_not_what_is_dropped():
    theta, phi, p_v, p_u = tables(4, 3, 2)
    problem = problem_of(p_v, p_u)
    for lam in (0, 0.1, 0.9, 1):
        got = interpolated_gradient(problem, tensor(theta), tensor(phi), lam)
        assert_field(got, wanted(lam, theta, phi, p_v, p_u), 1e-12)
    for lam, field in ((1.0, full_gradient), (0.0, modified_gradient)):
        a = field(problem, tensor(theta), tensor(phi))
        b = interpolated_gradient(problem, tensor(theta), tensor(phi), lam)
        assert torch.equal(a.theta, b.theta)
        assert torch.equal(a.phi, b.phi)


@pytest.mark.parametrize("seed", range(3))
def test_full_and_modified_differ_by_the_mean_of_c_times_the_score(seed):
    theta, phi, p_v, p_u = tables(5, 3, seed)
    args = problem_of(p_v, p_u), tensor(theta), tensor(phi)
    q, m = softmax(theta), 3
    c = [
        sum(r * math.log(r / s) for r, s in zip(softmax(phi[m * i : m * i + m]), p_u[i], strict=True)) for i in range(5)
    ]
    score = np.eye(5) - q  # row v: the derivatives of log q(v) on the logits
    want = sum(q[v] * c[v] * score[v] for v in range(5))
    np.testing.assert_allclose(full_gradient(*args).theta - modified_gradient(*args).theta, want, atol=1e-13)


def test_blocks_without_influence_are_zero_and_not_an_error():
    same = KLProblem(
        q_v=lambda theta: Normal(0 * theta[0] + 1, 1.0),
        q_u_given_v=lambda phi: lambda v: Normal(v, 1.0),
        p_v=Normal(tensor(1.0), tensor(1.0)),
        p_u_given_v=lambda v: Normal(v, 1.0),
    )
    field = full_gradient(same, tensor([1.0, 2.0]), tensor([3.0]))
    assert_field(field, (np.zeros(2), np.zeros(1)), 1e-14)


@every_field
def test_parameters_that_require_no_gradient_are_left_alone(name):
    theta, phi = tensor(THETA), tensor(PHI)
    with torch.no_grad():
        field = FIELDS[name][1](gaussian_problem(), theta, phi)
    assert_field(field, gaussian_wanted(FIELDS[name][0], *THETA, *PHI), 1e-9)
    assert not any(x.requires_grad for x in (theta, phi, field.theta, field.phi))
    assert theta.tolist() == list(THETA)


@every_field
@pytest.mark.parametrize("which", ["theta", "phi"])
def test_fields_can_be_differentiated_again(name, which):
    """d(field of phi)/dm and d(field of theta)/db: (2(b - F)m + d)/β, the second with weight λ."""
    lam, field = FIELDS[name]
    theta, phi = tensor(THETA).requires_grad_(which == "theta"), tensor(PHI).requires_grad_(which == "phi")
    got = field(gaussian_problem(), theta, phi)
    if which == "theta":
        (row,) = torch.autograd.grad(got.phi[0], theta)
        weight = 1.0
    else:
        (row,) = torch.autograd.grad(got.theta[0], phi, allow_unused=True, materialize_grads=True)
        weight = lam
    want = weight * (2 * (PHI[0] - F) * THETA[0] + PHI[1]) / BETA
    assert row[0].item() == pytest.approx(want, abs=1e-9)
    assert theta.grad is None
    assert phi.grad is None


@every_field
@pytest.mark.parametrize("bad", [np.zeros((2, 1)), 0.5, np.zeros((1, 2))])
@pytest.mark.parametrize("which", ["theta", "phi"])
def test_parameters_that_are_not_flat_are_refused_by_name(name, bad, which):
    good = {"theta": tensor(THETA), "phi": tensor(PHI)} | {which: tensor(bad)}
    with pytest.raises(ValueError, match=rf"^{which}: expected a flat tensor of floats"):
        FIELDS[name][1](gaussian_problem(), **good)


def test_parameters_that_are_not_floats_are_refused_by_name():
    with pytest.raises(ValueError, match=r"^theta: expected a flat tensor of floats.*int64"):
        full_gradient(gaussian_problem(), torch.tensor([1, 2]), tensor(PHI))


@every_field
@pytest.mark.parametrize(
    "q_v", [StudentT(tensor(5.0)), Independent(Normal(tensor([0.0]), 1.0), 1), Bernoulli(tensor(0.5))]
)
def test_a_q_of_v_without_an_exact_expectation_is_refused_with_a_way_out(name, q_v):
    problem = KLProblem(lambda theta: q_v, lambda phi: lambda v: Normal(v, 1.0), q_v, lambda v: Normal(v, 1.0))
    with pytest.raises(ValueError, match=rf"q_v: expected a Categorical.*{type(q_v).__name__}.*score_function"):
        FIELDS[name][1](problem, tensor(THETA), tensor(PHI))


@pytest.mark.parametrize("lam", [-0.1, 1.1, math.nan, "1"])
def test_a_lambda_outside_the_unit_interval_is_refused(lam):
    with pytest.raises(ValueError, match=r"lam: expected a number from 0 to 1"):
        interpolated_gradient(gaussian_problem(), tensor(THETA), tensor(PHI), lam)


def tiny(latents=(2, 3)):
    torch.manual_seed(0)
    model = HierarchicalVAE(latents, hidden=(8, 6), pixels=12).double()
    x = torch.rand(5, 12).round().double()
    return model, x, model.noise(x)


def on_theta(model, value):
    return torch.cat([g.flatten() for g in torch.autograd.grad(value, model.theta())])


@pytest.mark.parametrize("latents", [(2,), (2, 3), (2, 3, 4)])
def test_the_terms_of_a_vae_add_up_to_the_gradients_that_theta_follows(latents):
    """R - A - C to that of the ELBO's batch mean, R - A to that of eq. (9), A to that of torch's KL."""
    model, x, noise = tiny(latents)
    got = term_gradients(model, x, noise=noise)
    mean, log_scale = model.q_v(x).chunk(2, -1)
    A = kl_divergence(Normal(mean, log_scale.exp()), Normal(0.0, 1.0)).sum(-1).mean()
    exact = {"rtol": 1e-12, "atol": 1e-14}
    torch.testing.assert_close(got.A, on_theta(model, A), **exact)
    torch.testing.assert_close(got.R - got.A, on_theta(model, modified(model, x, noise=noise).elbo.mean()), **exact)
    torch.testing.assert_close(got.R - got.A - got.C, on_theta(model, model(x, noise=noise).elbo.mean()), **exact)
    assert got.C.any() == (len(latents) > 1)
    assert all(p.grad is None for p in model.parameters())


def test_the_terms_of_a_vae_draw_from_the_generator():
    model, x, _ = tiny()
    seeded = [torch.Generator().manual_seed(4) for _ in range(2)]
    one, two = term_gradients(model, x, seeded[0]), term_gradients(model, x, noise=model.noise(x, seeded[1]))
    assert torch.equal(one.R, two.R)
    assert not torch.equal(one.R, term_gradients(model, x, seeded[0]).R)


@pytest.mark.parametrize("latents", [(2,), (2, 3)])
def test_norms_and_cosines_are_those_of_the_vectors(latents):
    got = term_gradients(*tiny(latents)[:2], noise=tiny(latents)[2])
    vectors = {name: getattr(got, name).numpy() for name in "RAC"}
    assert got.norms() == pytest.approx({name: math.sqrt(sum(g * g)) for name, g in vectors.items()}, rel=1e-12)
    for pair, value in got.cosines().items():
        a, b = (vectors[name] for name in pair)
        lengths = math.sqrt(sum(a * a) * sum(b * b))
        assert value == pytest.approx(sum(a * b) / lengths if lengths else 0, rel=1e-12)
    assert list(got.cosines()) == ["RA", "RC", "AC"]


@pytest.mark.parametrize("size", [1.0, 1e-9, 1e-20])
def test_small_gradients_have_the_cosines_of_large_ones_and_none_has_zero(size):
    vectors = TermGradients(torch.tensor([3.0, 4.0]), size * torch.tensor([6.0, 8.0]), torch.zeros(2))
    assert vectors.cosines() == pytest.approx({"RA": 1.0, "RC": 0.0, "AC": 0.0}, abs=1e-6)


def test_no_images_have_no_gradient():
    model = HierarchicalVAE(latents=(2,), hidden=8, pixels=3)
    with pytest.raises(ValueError, match="x: expected at least one image, got none"):
        term_gradients(model, torch.zeros(0, 3))


@pytest.mark.parametrize("lam", [0.0, 0.4, 1.0])
def test_the_first_order_gain_is_the_slope_of_the_elbo_along_thetas_direction(lam):
    model, x, noise = tiny()
    got = term_gradients(model, x, noise=noise)
    theta, h = torch.nn.utils.parameters_to_vector(model.theta()).detach(), 1e-6
    elbos = []
    for sign in (1, -1):
        torch.nn.utils.vector_to_parameters(theta + sign * h * (got.R - got.A - lam * got.C), model.theta())
        elbos.append(model(x, noise=noise).elbo.mean().item())
    assert got.first_order_gain(lam) == pytest.approx((elbos[0] - elbos[1]) / (2 * h), rel=1e-6)
