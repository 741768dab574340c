"""The hierarchical Gaussian of eq. (1) against scipy, mpmath and its own samples."""

import math
from functools import partial
from itertools import pairwise

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from condkl.hierarchical import HierarchicalGaussian

Z = 4.5  # standard errors allowed; the seeds are fixed
BETAS = (1e-6, 1e-2, 0.5, 10.0)
F3 = (0.6, -1.1, 0.3)
MATRICES = [[[1.5]], [[0.7, -1.2]], [[0.6], [-1.1], [0.3]], [[0.4, 0.2], [-1.0, 0.5], [0.3, 0.9]]]


def column(numbers):
    return torch.tensor(numbers, dtype=torch.float64).unsqueeze(-1)


def edges(F, beta, u):
    """Where to cut the integral over v: unit pieces around the peak, pieces that double around v = 0."""
    length = np.linalg.norm(F)
    far = 2 * math.sqrt(np.linalg.norm(u) / length) + 20  # the integrand is 100 nats below its peak there
    near = min(math.sqrt(beta) / length / 16, far / 2)
    half = np.union1d(np.geomspace(near, far, 2 + int(math.log2(far / near))), np.arange(0, far))
    return np.concatenate([-half[:0:-1], half])


def log_integrand(F, beta, u, v):
    """Log N(v; 0, 1) N(u; Fv, Fv²F' + βI) for scalar u."""
    variance = beta + (F * v) ** 2
    return -0.5 * (v * v + math.log(4 * math.pi**2 * variance) + (u - F * v) ** 2 / variance)


def log_prob_u_by_scipy(F, beta, u):
    cuts = edges([F], beta, [u])
    f = partial(log_integrand, F, beta, u)
    top = max(f(v) for v in np.concatenate([np.linspace(a, b, 5) for a, b in pairwise(cuts)]))
    pieces = [
        integrate.quad(lambda v: math.exp(f(v) - top), a, b, epsabs=1e-16, epsrel=1e-10)[0] for a, b in pairwise(cuts)
    ]
    return top + math.log(math.fsum(pieces))


def log_prob_u_by_mpmath(F, beta, u, order=12):
    """For any dim_u, with the covariance inverted as it stands, in 40 digits."""
    with mpmath.workdps(40):
        column_F, column_u = mpmath.matrix(F), mpmath.matrix(u)
        total, cuts = mpmath.mpf(0), edges(F, beta, u)
        x, w = np.polynomial.legendre.leggauss(order)
        for a, b in pairwise(cuts):
            for v, weight in zip((a + b) / 2 + (b - a) / 2 * x, (b - a) / 2 * w, strict=True):
                covariance = column_F * column_F.T * mpmath.mpf(v) ** 2 + beta * mpmath.eye(len(u))
                d = column_u - column_F * mpmath.mpf(v)
                quadratic = (d.T * mpmath.lu_solve(covariance, d))[0]
                scale = mpmath.sqrt((2 * mpmath.pi) ** (len(u) + 1) * mpmath.det(covariance))
                total += mpmath.mpf(weight) * mpmath.exp(-(mpmath.mpf(v) ** 2 + quadratic) / 2) / scale
        return float(mpmath.log(total))


@pytest.mark.parametrize("beta", [1e-2, 0.5, 10.0])
@pytest.mark.parametrize("F", MATRICES)
def test_log_prob_is_the_normal_of_v_times_the_normal_of_u_given_v(F, beta):
    F = np.array(F)
    dim_u, dim_v = F.shape
    values = np.random.default_rng(1).normal(scale=2, size=(20, dim_v + dim_u))
    want = [
        stats.multivariate_normal.logpdf(x[:dim_v], np.zeros(dim_v), np.eye(dim_v))
        + stats.multivariate_normal.logpdf(
            x[dim_v:], F @ x[:dim_v], np.outer(F @ x[:dim_v], F @ x[:dim_v]) + beta * np.eye(dim_u)
        )
        for x in values
    ]
    got = HierarchicalGaussian(torch.tensor(F), beta).log_prob(torch.tensor(values))
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-9)


def test_log_prob_cancels_nothing_at_a_tiny_beta():
    with mpmath.workdps(60):
        beta, v, u = mpmath.mpf(1e-12), mpmath.mpf(1.25), [mpmath.mpf(x) for x in (0.75, -1.375, 0.375)]
        w = [mpmath.mpf(f) * v for f in F3]
        d = mpmath.matrix([a - b for a, b in zip(u, w, strict=True)])
        covariance = mpmath.matrix(3, 3)
        for i in range(3):
            for j in range(3):
                covariance[i, j] = w[i] * w[j] + (beta if i == j else 0)
        quadratic = (d.T * mpmath.lu_solve(covariance, d))[0]
        want = -(v**2 + quadratic + mpmath.log((2 * mpmath.pi) ** 4 * mpmath.det(covariance))) / 2
    got = HierarchicalGaussian(column(F3), 1e-12).log_prob(torch.tensor([1.25, 0.75, -1.375, 0.375]).double())
    assert got.item() == pytest.approx(float(want), rel=1e-6)


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("F", [0.01, 1.5, -40.0])
def test_log_prob_u_is_the_integral_over_v_at_every_beta(F, beta):
    u = [ratio * abs(F) for ratio in (0.0, 1e-3, 0.3, -4.0, 50.0, 2000.0)]
    want = [log_prob_u_by_scipy(F, beta, x) for x in u]
    got = HierarchicalGaussian(torch.tensor([[F]], dtype=torch.float64), beta).log_prob_u(column(u))
    np.testing.assert_allclose(got.numpy(), want, rtol=0, atol=1e-8)


@pytest.mark.parametrize("beta", [1e-6, 0.5])
def test_log_prob_u_is_the_integral_over_v_in_forty_digits(beta):
    u = [1e-3, 0.7, 30.0]
    want = [log_prob_u_by_mpmath([1.5], beta, [x], order=16) for x in u]
    got = HierarchicalGaussian(torch.tensor([[1.5]], dtype=torch.float64), beta).log_prob_u(column(u))
    np.testing.assert_allclose(got.numpy(), want, rtol=0, atol=1e-8)


@pytest.mark.parametrize("beta", [1e-6, 10.0, *(pytest.param(beta, marks=pytest.mark.slow) for beta in (1e-2, 0.5))])
def test_log_prob_u_counts_the_directions_across_f(beta):
    u = np.array([0.5, -1.0, 0.8])
    got = HierarchicalGaussian(column(F3), beta).log_prob_u(torch.tensor(u))
    assert got.item() == pytest.approx(log_prob_u_by_mpmath(F3, beta, u), abs=1e-8)


@pytest.mark.parametrize("beta", [1e-2, 0.5, 10.0])
def test_the_density_of_u_normalises_to_one(beta):
    q = HierarchicalGaussian(torch.tensor([[1.5]], dtype=torch.float64), beta)
    x, w = np.polynomial.legendre.leggauss(40)
    cuts = np.concatenate([[0], np.geomspace(math.sqrt(beta) / 64, 100, 24)])
    u = np.concatenate([(a + b) / 2 + (b - a) / 2 * x for a, b in pairwise(cuts)])
    weights = np.concatenate([(b - a) / 2 * w for a, b in pairwise(cuts)])
    assert 2 * (weights @ q.log_prob_u(column(u)).exp().numpy()) == pytest.approx(1, abs=1e-9)


def test_log_prob_u_integrates_what_log_prob_returns():
    q, v = HierarchicalGaussian(column(F3), 0.5), torch.linspace(-12, 12, 20_001, dtype=torch.float64)
    u = torch.tensor([[0.5, -1.0, 0.8], [2.0, 0.1, 0.0]], dtype=torch.float64)
    joint = torch.cat([v.expand(2, -1).unsqueeze(-1), u.unsqueeze(1).expand(-1, len(v), -1)], dim=-1)
    by_hand = torch.trapezoid(q.log_prob(joint).exp(), v, dim=-1).log()
    torch.testing.assert_close(q.log_prob_u(u), by_hand, rtol=0, atol=1e-9)


@given(st.floats(-50, 50), st.floats(-5, 5), st.floats(1e-4, 20))
def test_the_density_of_u_is_even_in_u_and_in_f(u, F, beta):
    one, other = (HierarchicalGaussian(torch.tensor([[f]], dtype=torch.float64), beta) for f in (F, -F))
    got = one.log_prob_u(column([u, -u]))
    assert got[0].item() == pytest.approx(got[1].item(), rel=1e-12)
    assert other.log_prob_u(column([u])).item() == pytest.approx(got[0].item(), rel=1e-12)


def test_without_f_u_is_a_plain_normal():
    u = np.array([[0.5, -1.0, 0.8], [0.0, 3.0, 0.1]])
    q = HierarchicalGaussian(torch.zeros(3, 1, dtype=torch.float64), 0.7)
    want = stats.norm.logpdf(u, scale=math.sqrt(0.7)).sum(-1)
    np.testing.assert_allclose(q.log_prob_u(torch.tensor(u)).numpy(), want, rtol=1e-12)
    assert q.moments().kurtosis.tolist() == pytest.approx([3.0] * 3)


def test_float32_parameters_give_float32_answers_near_those_in_float64():
    u = torch.tensor([[0.5], [-3.0], [40.0]])
    single = HierarchicalGaussian(torch.tensor([[1.5]]), 0.5)
    double = HierarchicalGaussian(torch.tensor([[1.5]]).double(), 0.5)
    assert single.sample().dtype == single.log_prob_u(u).dtype == torch.float32
    torch.testing.assert_close(single.log_prob_u(u).double(), double.log_prob_u(u), rtol=1e-4, atol=1e-4)
    pair = torch.tensor([0.3, 0.9])
    torch.testing.assert_close(single.log_prob(pair).double(), double.log_prob(pair), rtol=1e-5, atol=1e-5)


def test_rows_beyond_one_chunk_come_back_in_order(monkeypatch):
    monkeypatch.setattr("condkl.hierarchical._ROWS_AT_ONCE", 2)
    q = HierarchicalGaussian(torch.tensor([[1.5]], dtype=torch.float64), 0.5)
    u = column([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]])
    alone = torch.stack([q.log_prob_u(row).squeeze() for row in u.reshape(-1, 1)]).reshape(2, 3)
    torch.testing.assert_close(q.log_prob_u(u), alone)


@pytest.mark.parametrize("beta", [1e-2, 0.5])
@pytest.mark.parametrize("F", MATRICES)
def test_moments_are_those_of_gauss_hermite_quadrature(F, beta):
    F = np.array(F)
    dim_u, dim_v = F.shape
    x, w = np.polynomial.hermite_e.hermegauss(8)  # exact up to degree 15
    grid = np.stack([g.ravel() for g in np.meshgrid(*[x] * dim_v)], -1)
    weight = np.prod(np.stack([g.ravel() for g in np.meshgrid(*[w / w.sum()] * dim_v)], -1), -1)
    means = grid @ F.T
    cov_u, cov_uv, fourth = np.zeros((dim_u, dim_u)), np.zeros((dim_u, dim_v)), np.zeros(dim_u)
    for v, m, p in zip(grid, means, weight, strict=True):
        inner = np.outer(m, m) + beta * np.eye(dim_u)
        cov_u += p * (inner + np.outer(m, m))
        cov_uv += p * np.outer(m, v)
        fourth += [p * stats.norm(m[i], math.sqrt(inner[i, i])).moment(4) for i in range(dim_u)]
    moments = HierarchicalGaussian(torch.tensor(F), beta).moments()
    np.testing.assert_allclose(moments.covariance[dim_v:, dim_v:], cov_u, rtol=1e-12)
    np.testing.assert_allclose(moments.covariance[dim_v:, :dim_v], cov_uv, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(moments.covariance[:dim_v, dim_v:], cov_uv.T, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(moments.covariance[:dim_v, :dim_v], np.eye(dim_v))
    np.testing.assert_allclose(moments.kurtosis, fourth / np.diag(cov_u) ** 2, rtol=1e-10)
    assert moments.mean.tolist() == [0.0] * (dim_u + dim_v)


def test_the_kurtosis_tends_to_seven_and_a_half_as_beta_vanishes():
    kurtosis = [HierarchicalGaussian(1.5, beta).moments().kurtosis.item() for beta in (1.0, 1e-3, 1e-9)]
    assert kurtosis == sorted(kurtosis)
    assert kurtosis[-1] == pytest.approx(7.5, abs=1e-8)


@pytest.mark.parametrize("F", MATRICES)
def test_samples_have_the_moments_that_moments_states(F):
    q = HierarchicalGaussian(torch.tensor(F, dtype=torch.float64), 0.5)
    torch.manual_seed(2)
    x = q.sample((100_000,)).numpy()
    products = np.einsum("ni,nj->nij", x, x)
    error = products.std(0) / math.sqrt(len(x))
    assert (np.abs(products.mean(0) - q.moments().covariance.numpy()) < Z * error).all()
    assert (np.abs(x.mean(0)) < Z * x.std(0) / math.sqrt(len(x))).all()
    np.testing.assert_array_equal(q.variance, q.moments().covariance.diagonal())
    np.testing.assert_array_equal(q.mean, q.moments().mean)


def test_samples_follow_the_density_of_u():
    q = HierarchicalGaussian(torch.tensor([[1.5]], dtype=torch.float64), 0.5)
    torch.manual_seed(3)
    u = q.sample((100_000,))[:, 1:]
    grid = torch.linspace(0, 120, 1201, dtype=torch.float64)
    density = q.log_prob_u(grid.unsqueeze(-1)).exp()
    for power in (2, 4):
        mean, error = (u**power).mean().item(), (u**power).std().item() / math.sqrt(len(u))
        assert abs(mean - 2 * torch.trapezoid(grid**power * density, grid).item()) < Z * error


@pytest.mark.parametrize("shape", [(), (4,), (2, 3)])
@pytest.mark.parametrize("F", MATRICES)
def test_the_batch_shape_of_samples_and_densities_is_the_one_asked_for(F, shape):
    q = HierarchicalGaussian(torch.tensor(F), 0.5)
    x = q.sample(shape)
    assert x.shape == (*shape, *q.event_shape)
    assert q.log_prob(x).shape == shape
    if q.dim_v == 1:
        assert q.log_prob_u(x[..., 1:]).shape == shape


def test_rsample_carries_the_gradient_to_f_and_beta():
    F = torch.tensor([[0.6], [-1.1]], dtype=torch.float64, requires_grad=True)
    beta = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)

    def draw(F, beta):
        torch.manual_seed(4)
        return HierarchicalGaussian(F, beta).rsample((3,))

    assert torch.autograd.gradcheck(draw, (F, beta))
    assert not HierarchicalGaussian(F, beta).sample().requires_grad


def test_log_prob_u_is_differentiable_in_f_beta_and_u():
    inputs = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in ([[1.5]], 0.5, [[0.7], [3.0]])]
    assert torch.autograd.gradcheck(lambda F, beta, u: HierarchicalGaussian(F, beta).log_prob_u(u), inputs)


@pytest.mark.parametrize(
    ("F", "beta", "message"),
    [
        (1.0, 0.0, "beta: expected numbers above 0"),
        (1.0, -1.0, "beta: expected numbers above 0"),
        (1.0, math.nan, "beta: expected finite"),
        (torch.ones(3, 1, 1), torch.ones(2), r"beta: expected a shape that broadcasts with \(3,\).*got \(2,\)\. Pass"),
        (math.inf, 1.0, "F: expected finite"),
        (torch.tensor([[math.nan]]), 1.0, "F: expected finite"),
        (torch.ones(3), 1.0, r"F: expected shape \(…, dim_u, dim_v\), got \(3,\)\. Pass a matrix"),
        (torch.ones(0, 1), 1.0, r"F: expected shape \(…, dim_u, dim_v\)"),
    ],
)
def test_parameters_that_make_no_distribution_are_refused(F, beta, message):
    with pytest.raises(ValueError, match=message):
        HierarchicalGaussian(F, beta)


def test_values_of_the_wrong_width_are_refused():
    q = HierarchicalGaussian(column(F3), 0.5)
    with pytest.raises(ValueError, match=r"value: expected the last dimension to be 4.*unsqueeze"):
        q.log_prob(torch.zeros(5, 3))
    for u in (torch.zeros(5, 4), torch.tensor(0.0)):
        with pytest.raises(ValueError, match=r"u: expected the last dimension to be 3"):
            q.log_prob_u(u)


def test_the_density_of_u_refuses_a_vector_v():
    with pytest.raises(NotImplementedError, match=r"log_prob_u: expected scalar v, got dim_v=2\. Integrate"):
        HierarchicalGaussian(torch.ones(1, 2), 0.5).log_prob_u(torch.zeros(1))
