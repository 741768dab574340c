"""The hierarchical Gaussian at every size of F, as a batch, and inside torch's own distributions."""

import itertools
import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import tensor
from torch.distributions import AffineTransform, Independent, Normal, TransformedDistribution

from condkl.hierarchical import HierarchicalGaussian

F, BETA = tensor([[[0.7], [-1.2]], [[0.0], [0.0]], [[1e-9], [3.0]]]), tensor([0.5, 2.0, 0.1])  # a batch of 3


def scalar(F, beta=1.0):
    return HierarchicalGaussian(tensor(F)[..., None, None], beta)


def log_prob_u_by_mpmath(F, beta, u):
    """Gauss-Legendre pieces around the peaks, in 20 digits; the exponent is shifted by its largest value."""
    with mpmath.workdps(20):
        F, beta, u = mpmath.mpf(F), mpmath.mpf(beta), mpmath.mpf(u)

        def exponent(v):
            variance = beta + (F * v) ** 2
            return -(v * v + (u - F * v) ** 2 / variance + mpmath.log(4 * mpmath.pi**2 * variance)) / 2

        narrow = mpmath.sqrt(beta) / F  # the scale of the peak at v = 0; the others are of width 1/2 or more
        peak = _climb(exponent, u / F)
        half = {mpmath.mpf(2) ** k * min(narrow, 1) / 8 for k in range(_doublings(narrow))} | {abs(peak)}
        half |= {abs(peak) + k * mpmath.mpf(0.5) for k in range(-20, 21)}
        cuts = sorted({s * x for x in half if 0 < x < 10 + 2 * abs(peak) for s in (-1, 1)} | {mpmath.mpf(0)})
        top = exponent(peak)
        x, w = np.polynomial.legendre.leggauss(10)
        total = mpmath.fsum(
            weight * (b - a) / 2 * mpmath.exp(exponent((a + b) / 2 + (b - a) / 2 * node) - top)
            for a, b in itertools.pairwise(cuts)
            for node, weight in zip(x, w, strict=True)
        )
        return float(top + mpmath.log(total))


def _doublings(narrow):
    return 8 + (max(0, int(mpmath.log(1 / narrow, 2)) + 4) if narrow < 1 else 0)


def _climb(exponent, far):
    """The highest point, from the best of some points that grow by halves, in steps that shrink to 1e-4."""
    at = max([mpmath.mpf(0), *(mpmath.mpf(1.5) ** k for k in range(-50, 60) if 1.5**k < far + 20)], key=exponent)
    step = max(at / 2, mpmath.mpf(0.5))
    while step > 1e-4:
        best = max((at, at + step, at - step), key=exponent)
        step, at = (step if best != at else step / 2), best
    return at


def test_small_f_gives_the_value_without_f():
    """−13.4189 = log N(5; 0, 1) at each, where one grid in t for all lost the unit Gaussian in v."""
    got = scalar([1e-6, 1e-7, 1e-8, 1e-12, 1e-200, 0.0]).log_prob_u(tensor([5.0]))
    np.testing.assert_allclose(got, -12.5 - 0.5 * math.log(2 * math.pi), atol=1e-9)


@pytest.mark.parametrize("u", [5.0, 60.0])
def test_the_density_of_u_is_right_from_f_of_1e_minus_14_to_1000(u):
    for beta, sizes in ((1.0, [1e-14, 1e-7, 1e-3, 0.1, 1.0, 1e3]), (1e-4, [1e-14, 1e-3, 0.03, 30.0])):
        got = scalar(sizes, beta).log_prob_u(tensor([u]))
        # A limit of second order: u'' of the density is at most 1/β² of it, and F is squared.
        want = [
            Normal(0.0, tensor(beta).sqrt()).log_prob(tensor(u)).item()
            if size < 1e-6 * math.sqrt(beta) / (1 + u * u / beta)
            else log_prob_u_by_mpmath(size, beta, u)
            for size in sizes
        ]
        np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-8)


@pytest.mark.parametrize("u", [1e8, 1e12])
def test_a_peak_of_width_one_is_found_a_million_away(u):
    """At v = √u, where rounding of the exponent, -u, leaves the digits that it can."""
    got = scalar(1.0, 1e-4).log_prob_u(tensor([u])).item()
    assert got == pytest.approx(log_prob_u_by_mpmath(1.0, 1e-4, u), abs=1e-7 + 4 * u * 2.0**-52)


@settings(max_examples=8)
@given(st.floats(-14, 3), st.floats(-8, 2), st.floats(-3, 2.5))
def test_the_density_of_u_integrates_to_one_and_scales(log_F, log_beta, log_u):
    """p(u; F, β) = p(u/s; F/s, β/s²)/s for every s: the grid must not depend on the unit."""
    F, beta, u = 10**log_F, 10**log_beta, 10**log_u
    here = scalar(F, beta).log_prob_u(tensor([u])).item()
    there = scalar(F / 7, beta / 49).log_prob_u(tensor([u / 7])).item() - math.log(7)
    assert here == pytest.approx(there, rel=1e-11, abs=1e-9)
    t = torch.linspace(-1, 1, 401).double() * math.asinh(60 * (1 + F / math.sqrt(beta)))
    x = math.sqrt(beta) * t.sinh()
    density = scalar(F, beta).log_prob_u(x.unsqueeze(-1)).exp() * math.sqrt(beta) * t.cosh()
    assert torch.trapezoid(density, t).item() == pytest.approx(1, abs=1e-8)


def test_a_zero_f_has_the_gradient_zero_and_the_others_theirs():
    """p(u) is even in F. Without F, ∂ log p/∂β = (u²/β - n)/(2β) and ∂ log p/∂u = -u/β."""
    f, beta, u = F.clone().requires_grad_(), BETA.clone().requires_grad_(), tensor([0.3, -0.8]).requires_grad_()
    HierarchicalGaussian(f, beta).log_prob_u(u)[1].backward()
    assert f.grad.abs().max() < 1e-12
    assert beta.grad[1].item() == pytest.approx((0.73 / 2 - 2) / 4)
    np.testing.assert_allclose(u.grad, [-0.15, 0.4], rtol=1e-12)
    alone = tensor([[0.0]]).requires_grad_()
    HierarchicalGaussian(alone, 1.0).log_prob_u(tensor([0.7])).backward()
    assert alone.grad.abs().item() < 1e-12


def test_the_density_of_u_has_its_slopes_at_every_size_of_f():
    for size in (1e-3, 1e-7):
        f = tensor([[size]]).requires_grad_()
        (slope,) = torch.autograd.grad(HierarchicalGaussian(f, 1.0).log_prob_u(tensor([2.0])).squeeze(), f)
        # To first order the variance is 1 + 2F², of a normal with u'' / p = u² - 1.
        assert slope.item() == pytest.approx(2 * size * 3, rel=1e-4)
    inputs = [x.clone().requires_grad_() for x in (F[[0, 2]], BETA[[0, 2]], tensor([[0.3, -0.8], [1.0, 2.0]]))]
    assert torch.autograd.gradcheck(lambda F, beta, u: HierarchicalGaussian(F, beta).log_prob_u(u), inputs)


def singles():
    return [HierarchicalGaussian(f, b) for f, b in zip(F, BETA, strict=True)]


@pytest.mark.parametrize("of", ["log_prob", "log_prob_u"])
@pytest.mark.parametrize("shape", [(), (3,), (4, 3), (2, 1)])
def test_a_batch_has_the_densities_of_its_members(of, shape):
    size = 3 if of == "log_prob" else 2
    x = torch.randn(*shape, size, generator=torch.Generator().manual_seed(0)).double()
    got = getattr(HierarchicalGaussian(F, BETA), of)(x)
    each = x.expand(*torch.broadcast_shapes(shape, (3,)), size).unbind(-2)
    want = torch.stack([getattr(one, of)(y) for one, y in zip(singles(), each, strict=True)], dim=-1)
    torch.testing.assert_close(got, want, rtol=1e-13, atol=1e-13)


def test_a_batch_has_the_moments_and_draws_of_its_members():
    q = HierarchicalGaussian(F, BETA)
    assert (q.batch_shape, q.event_shape, q.mean.shape, q.stddev.shape) == ((3,), (3,), (3, 3), (3, 3))
    for i, one in enumerate(singles()):
        for got, want in zip(q.moments(), one.moments(), strict=True):
            assert torch.equal(got[i], want)
        assert torch.equal(q.variance[i], one.variance)
    torch.manual_seed(0)
    draws = q.sample((50_000,))
    assert draws.shape == (50_000, 3, 3)
    products = draws.unsqueeze(-1) * draws.unsqueeze(-2)
    error = products.std(0) / math.sqrt(len(draws))
    assert bool(((products.mean(0) - q.moments().covariance).abs() <= 5 * error).all())


def test_shapes_of_f_and_beta_broadcast():
    assert HierarchicalGaussian(1.5, BETA).batch_shape == (3,)
    assert HierarchicalGaussian(F.unsqueeze(1), torch.ones(4)).batch_shape == (3, 4)
    assert HierarchicalGaussian(F, 1.0).rsample((2,)).shape == (2, 3, 3)


def test_expand_repeats_without_copying_and_keeps_the_checks():
    for checked in (True, False):
        q = HierarchicalGaussian(F, BETA, validate_args=checked)
        wide = q.expand((4, 3))
        assert (type(wide), wide.batch_shape, wide.event_shape) == (HierarchicalGaussian, (4, 3), (3,))
        assert wide.F.data_ptr() == q.F.data_ptr()
        assert wide._validate_args is checked
        x = torch.randn(4, 3, 3).double()
        assert torch.equal(wide.log_prob(x), q.log_prob(x))
        assert wide.sample().shape == (4, 3, 3)
    with pytest.raises(RuntimeError, match="expand"):
        q.expand((2,))


def test_torchs_own_wrappers_take_it():
    q, x = HierarchicalGaussian(F, BETA), torch.randn(4, 3, 3).double()
    joint = Independent(q, 1)
    assert (joint.batch_shape, joint.event_shape) == ((), (3, 3))
    torch.testing.assert_close(joint.log_prob(x), q.log_prob(x).sum(-1))
    moved = TransformedDistribution(q, [AffineTransform(1.0, 2.0)])
    assert moved.expand((4, 3)).rsample((2,)).shape == (2, 4, 3, 3)
    torch.testing.assert_close(moved.log_prob(x), q.log_prob((x - 1) / 2) - 3 * math.log(2))


def test_vmap_gives_the_batch():
    x, u = torch.randn(3, 3).double(), torch.randn(3, 2).double()
    for of, value in (("log_prob", x), ("log_prob_u", u)):
        one = lambda F, beta, y, of=of: getattr(HierarchicalGaussian(F, beta, validate_args=False), of)(y)  # noqa: E731
        want = getattr(HierarchicalGaussian(F, BETA), of)(value)
        torch.testing.assert_close(torch.vmap(one)(F, BETA, value), want, rtol=1e-12, atol=1e-12)


def test_checks_can_be_left_out_as_of_torchs_own():
    """Then a wrong number is an answer of NaN, and no error."""
    assert HierarchicalGaussian(1.0, -1.0, validate_args=False).log_prob(tensor([0.1, 2.0])).isnan()
    assert HierarchicalGaussian(1.0, 1.0, validate_args=False).log_prob(tensor([0.1, math.nan])).isnan()
    with pytest.raises(ValueError, match=r"^value: expected finite numbers"):
        HierarchicalGaussian(1.0, 1.0).log_prob(tensor([0.1, math.nan]))
    with pytest.raises(ValueError, match=r"^value: expected a shape that broadcasts with \(3, 3\), got \(2, 3\)"):
        HierarchicalGaussian(F, BETA).log_prob(torch.zeros(2, 3))


def test_numbers_of_other_kinds_are_taken():
    want = HierarchicalGaussian(1.0, 1.0).log_prob(tensor([1.0, 2.0]))
    for value in ([1, 2], np.array([1.0, 2.0]), torch.tensor([1, 2])):
        assert torch.equal(HierarchicalGaussian(np.float32(1), 1).log_prob(value), want)
    assert HierarchicalGaussian(torch.ones(1, 1).half(), 1.0).log_prob_u([1.0]).dtype == torch.float32
