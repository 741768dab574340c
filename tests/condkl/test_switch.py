"""The switch keeps every value, gives λ to each path through v, and leaves the conditionals' own parameters alone."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.distributions import (
    Bernoulli,
    Binomial,
    Categorical,
    Dirichlet,
    Gamma,
    Independent,
    LogisticNormal,
    MultivariateNormal,
    Normal,
    Poisson,
    StudentT,
    kl_divergence,
)
from torch.func import grad, vmap

from condkl import conditional_kl, scale_gradient

N, D = 5, 2


def tensor(number):
    return torch.tensor(number, dtype=torch.float64)


# --- scale_gradient ------------------------------------------------------------------------------------------------


@given(st.floats(0, 1), st.floats(-1e6, 1e6))
def test_a_scaled_path_keeps_the_value_and_scales_the_gradient(lam, value):
    v = torch.tensor(value, dtype=torch.float64, requires_grad=True)
    for weight in (lam, tensor(lam)):
        scaled = scale_gradient(v, weight)
        assert torch.equal(scaled, v)
        assert scaled.requires_grad == (lam > 0 or weight is not lam)  # only the number 0 cuts the path
        if scaled.requires_grad:
            assert torch.autograd.grad(scaled, v)[0] == lam


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0, tensor(0.3)])
def test_whole_numbers_stay_whole_numbers(weight):
    v = torch.arange(3)
    assert scale_gradient(v, weight).dtype == torch.int64


# --- conditional_kl ------------------------------------------------------------------------------------------------


def net(outputs):
    return nn.Linear(D, outputs).double()


def independent_normal(f, v):
    mean, log_scale = f(v).chunk(2, -1)
    return Independent(Normal(mean, log_scale.exp()), 1)


def plain_normal(f, v):
    mean, log_scale = f(v).chunk(2, -1)
    return Normal(mean, log_scale.exp())


def correlated_normal(f, v):
    out = f(v)
    tril = torch.stack([out[..., 2].exp(), 0 * out[..., 0], out[..., 3], out[..., 1].exp()], -1)
    return MultivariateNormal(out[..., :2], scale_tril=tril.unflatten(-1, (2, 2)))


def gamma(f, v):
    return Gamma(*f(v).exp().chunk(2, -1))


def bits(f, v):
    return Independent(Bernoulli(logits=f(v)), 1)


def categories(f, v):
    return Categorical(logits=f(v))


FAMILIES = [independent_normal, plain_normal, correlated_normal, gamma, bits, categories]
SHAPES = [(N, D), (3, N, D), (D,)]


def problem(family, shape=(N, D)):
    torch.manual_seed(0)
    q_net, p_net = net(4), net(4)
    v = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    return partial(family, q_net), partial(family, p_net), v, list(q_net.parameters()), list(p_net.parameters())


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0, tensor(0.3)])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_value_stays_v_gets_lambda_and_the_parameters_get_all(family, shape, weight):
    q, p, v, phi, omega = problem(family, shape)
    plain, found = conditional_kl(q, p, v), conditional_kl(q, p, v, weight)
    assert torch.equal(found, plain)
    torch.testing.assert_close(plain, kl_divergence(q(v), p(v)), rtol=1e-12, atol=1e-14)
    assert found.shape == q(v).batch_shape
    want = torch.autograd.grad(plain.sum(), [v, *phi, *omega])
    got = torch.autograd.grad(found.sum(), [v, *phi, *omega], allow_unused=True)
    assert (got[0] is None) == (not isinstance(weight, torch.Tensor) and weight == 0)
    through_v = torch.zeros_like(v) if got[0] is None else got[0]
    torch.testing.assert_close(through_v, float(weight) * want[0], rtol=1e-12, atol=1e-14)
    assert all(torch.equal(a, b) for a, b in zip(got[1:], want[1:], strict=True))


def test_the_gradient_is_lambda_times_the_slope_of_the_formula():
    """KL[N(2v, e^v) || N(sin v, 1)] by hand, and its derivative by differences: both arguments move with v."""

    def by_hand(v):
        return -v + 0.5 * (np.exp(2 * v) + (2 * v - np.sin(v)) ** 2 - 1)

    v = torch.tensor([-0.7, 0.2, 1.1], dtype=torch.float64, requires_grad=True)
    found = conditional_kl(lambda v: Normal(2 * v, v.exp()), lambda v: Normal(v.sin(), 1.0), v, 0.3)
    at, h = v.detach().numpy(), 1e-5
    np.testing.assert_allclose(found.detach(), by_hand(at), rtol=1e-12)
    (got,) = torch.autograd.grad(found.sum(), v)
    np.testing.assert_allclose(got, 0.3 * (by_hand(at + h) - by_hand(at - h)) / (2 * h), rtol=1e-8)


def test_a_layer_that_is_made_of_the_plain_v_feels_all_of_its_own_term():
    """With u drawn from the plain v, as a decoder sees it, nothing of R is lost: eq. (9) drops C alone."""
    q, p, v, *_ = problem(independent_normal)
    u = q(v).mean
    loss = -(u.square().sum()) + conditional_kl(q, p, v, 0.0).sum()
    (got,) = torch.autograd.grad(loss, v, retain_graph=True)
    assert torch.equal(got, torch.autograd.grad(-(u.square().sum()), v)[0])


def test_a_discrete_v_is_weighed_by_the_probability_of_its_values():
    logits = torch.tensor([0.3, -1.0, 0.5], dtype=torch.float64, requires_grad=True)
    q_v, means = Categorical(logits=logits), tensor([0.0, 1.0, 3.0])
    c = conditional_kl(
        lambda v: Normal(means[v], 1.0), lambda v: Normal(torch.zeros_like(means[v]), 1.0), torch.arange(3), 0.3
    )
    torch.testing.assert_close(c, tensor([0.0, 0.5, 4.5]))
    (got,) = torch.autograd.grad((scale_gradient(q_v.probs, 0.3) * c).sum(), logits)
    mass = np.exp(logits.detach().numpy()) / np.exp(logits.detach().numpy()).sum()
    by_hand = mass * (c.numpy() - mass @ c.numpy())  # the softmax's derivative of Σ q c
    np.testing.assert_allclose(got, 0.3 * by_hand, rtol=1e-12)


def test_a_finite_u_without_a_closed_form_is_summed():
    rate = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64, requires_grad=True)
    found = conditional_kl(lambda v: Binomial(2, 0.3 + 0 * v), Poisson, rate, 0.5)
    mass = [0.49, 0.42, 0.09]
    want = [
        sum(m * (math.log(m) + r - k * math.log(r) + math.lgamma(k + 1)) for k, m in enumerate(mass))
        for r in rate.tolist()
    ]
    np.testing.assert_allclose(found.detach(), want, rtol=1e-12)
    (got,) = torch.autograd.grad(found.sum(), rate)
    np.testing.assert_allclose(got, [0.5 * (1 - 0.6 / r) for r in rate.tolist()], rtol=1e-12)


def test_a_conditional_that_ignores_v_broadcasts_where_the_kl_is_an_integral():
    v, one, other = tensor([0.1, -0.5, 2.0]), StudentT(tensor(5.0)), Normal(tensor(0.0), 1.0)
    for q, p in ((lambda v: StudentT(5.0, v), lambda v: other), (lambda v: one, lambda v: Normal(v, 1.0))):
        want = conditional_kl(lambda v: q(v).expand(v.shape), lambda v: p(v).expand(v.shape), v)  # noqa: B023
        assert torch.equal(conditional_kl(q, p, v), want)


def test_it_can_be_mapped_and_differentiated_over_images():
    q, p, v, *_ = problem(independent_normal)
    one = vmap(grad(lambda z: conditional_kl(q, p, z, 0.3)))(v.detach())
    (want,) = torch.autograd.grad(conditional_kl(q, p, v, 0.3).sum(), v)
    torch.testing.assert_close(one, want, rtol=1e-12, atol=1e-14)


def standard(v):
    return Normal(torch.zeros_like(v), 1.0)


V = torch.zeros(3)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((standard(V), standard, V), TypeError, r"q: expected a function from v to a distribution, got Normal\. The"),
        (
            (standard, V, standard),
            TypeError,
            r"p: expected a function from v to a distribution, got Tensor\. The order",
        ),
        ((standard, lambda v: v, V), TypeError, "p: expected it to return a torch distribution, got Tensor"),
        (
            (standard, lambda v: Independent(standard(v), 1), V),
            ValueError,
            r"p: expected the event shape \(\) of q, got",
        ),
        ((standard, standard, 1.0), TypeError, r"v: expected a tensor of draws, got float\. The order is q, p, v"),
        (
            (lambda v: Categorical(torch.ones(1)), lambda v: Categorical(torch.ones(2)), V),
            ValueError,
            "p: expected 1 categories as in q, got 2. Pad with zero",  # else log 4 in place of log 2
        ),
        (
            (lambda v: Normal(v, 1.0), lambda v: Normal(v[:, None], 1.0), V),
            ValueError,
            r"p: expected the batch shape \(3,\) of q, or one that expands to it, got \(3, 1\)\. Squeeze",
        ),
        (
            (lambda v: Normal(v, 1.0), lambda v: Normal(torch.zeros(5), 1.0), V),
            ValueError,
            r"p: expected the batch shape \(3,\) of q, .* got \(5,\)",
        ),
        ((standard, standard, V, 1.5), ValueError, r"weight: expected a number from 0 to 1, got 1\.5"),
        ((standard, standard, V, "full"), ValueError, "weight: expected a number from 0 to 1, got 'full'"),
        (
            (lambda v: Dirichlet(torch.ones(3, 3)), lambda v: LogisticNormal(torch.zeros(3, 2), 1.0), V),
            ValueError,
            r"q, p: .*torch.distributions.kl.register_kl.*made again at scale_gradient\(v, weight\) with the same",
        ),
    ],
)
def test_what_makes_no_conditional_kl_is_refused_by_name(arguments, error, message):
    with pytest.raises(error, match=message):
        conditional_kl(*arguments)


@pytest.mark.parametrize("weight", [np.float32(0.5), np.float64(0.5), np.int64(1), 1, True])
def test_numbers_of_numpy_are_weights_too(weight):
    v = torch.ones(2, requires_grad=True)
    conditional_kl(lambda v: Normal(v, 1.0), standard, v, weight).sum().backward()
    torch.testing.assert_close(v.grad, torch.full((2,), float(weight)))
