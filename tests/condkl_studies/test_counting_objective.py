"""The loss: each parameter follows what its way says; one sample of n is right on average over all that it may be."""

import itertools

import pytest
import torch
from tiny_counting import bits, make, noise

from condkl_studies.counting.objective import ESTIMATORS, loss, picked

ONE = torch.ones(4).double()
SAMPLED = [name for name in ESTIMATORS if name != "exact"]


def gradients(model, value):
    """Those of every parameter; the graph stays for the next."""
    return torch.autograd.grad(
        value, list(model.parameters()), retain_graph=True, allow_unused=True, materialize_grads=True
    )


def groups(model, found):
    """The gradients of theta, phi and omega, flat."""
    by = {id(p): g for p, g in zip(model.parameters(), found, strict=True)}
    return [torch.cat([by[id(p)].flatten() for p in group]) for group in (model.theta(), model.phi(), model.omega())]


def problem(n=5, **settings):
    model, x = make(**settings), bits(n)
    return model, x, model(x, noise(model, n))


def close(got, want):
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-12)


def test_with_all_weights_1_the_gradient_is_that_of_the_elbo():
    model, x, counted = problem()
    want = gradients(model, -counted.elbo.mean())
    close(gradients(model, loss(model, x, counted, ONE)), want)


def test_under_eq_9_theta_follows_R_minus_A_and_the_others_the_elbo():
    model, x, counted = problem(scale_prior=0.1)
    followed = ((counted.q * counted.R).sum(-1) - counted.A).mean()
    theta, _, _ = groups(model, gradients(model, -followed))
    _, phi, omega = groups(model, gradients(model, -counted.elbo.mean()))
    weights = torch.tensor([0.0, 1.0, 1.0, 1.0]).double()
    got = groups(model, gradients(model, loss(model, x, counted, weights)))
    for one, other in zip(got, (theta, phi, omega), strict=True):
        close(one, other)
    full, _, _ = groups(model, gradients(model, loss(model, x, counted, ONE)))
    assert (full - theta).norm() > 0.1 * theta.norm()


@pytest.mark.parametrize("which", range(3))
def test_each_weight_scales_one_term_for_its_parameters_alone(which):
    model, x, counted = problem()
    terms = (counted.q * counted.C).sum(-1).mean(), counted.A.mean()
    C, A = (groups(model, gradients(model, term)) for term in terms)
    weights = ONE.clone()
    weights[which] = 0.25
    full, got = (groups(model, gradients(model, loss(model, x, counted, w))) for w in (ONE, weights))
    none = [torch.zeros_like(group) for group in full]
    lost = ([C[0], *none[1:]], [none[0], *C[1:]], [A[0], *none[1:]])[which]
    for one, other, less in zip(got, full, lost, strict=True):
        close(one, other - 0.75 * less)


def every_pick(counted):
    """Draws that pick each n of each image together with each of the others, and the probability of that."""
    q, images = counted.q.detach(), torch.arange(len(counted.q))
    middles = q.cumsum(-1) - q / 2  # of the draws that pick that n
    for chosen in itertools.product(range(q.shape[-1]), repeat=len(q)):
        at = images, torch.tensor(chosen)
        yield middles[at], q[at].prod()


def mean_and_variance(model, x, counted, weights, estimator):
    """Those of the gradients of theta, phi and omega over all picks, exactly: no sample has an error to allow for."""
    shares, found = [], []
    for pick, share in every_pick(counted):
        shares.append(share)
        found.append(groups(model, gradients(model, loss(model, x, counted, weights, estimator, pick))))
    shares = torch.stack(shares)[:, None]
    assert shares.sum().item() == pytest.approx(1, abs=1e-12)
    for each in map(torch.stack, zip(*found, strict=True)):
        mean = (shares * each).sum(0)
        yield mean, (shares * (each - mean).square()).sum(0)


FULL, CUT = [1.0, 1.0, 1.0, 1.0], [0.0, 1.0, 0.5, 1.0]  # eq. (9), with A at a half


@pytest.mark.parametrize("weights", [FULL, CUT])
@pytest.mark.parametrize("estimator", SAMPLED)
def test_one_sample_of_n_is_unbiased_for_every_parameter(estimator, weights):
    model, x, counted = problem(3, baseline=True, scale_prior=0.5)
    weights = torch.tensor(weights).double()
    exact = groups(model, gradients(model, loss(model, x, counted, weights)))
    for (mean, variance), want in zip(mean_and_variance(model, x, counted, weights, estimator), exact, strict=True):
        close(mean, want)
        assert variance.max() > 0  # it is a sample


def test_a_baseline_cuts_the_noise():
    model, x, counted = problem(3, baseline=True)
    with torch.no_grad():
        model.baseline.out.weight.zero_()
        model.baseline.out.bias.fill_(float((counted.q * (counted.R - counted.C)).sum(-1).mean()) / 100)
    spread = {}
    for estimator in SAMPLED:
        (_, variance), _, _ = mean_and_variance(model, x, counted, ONE, estimator)
        spread[estimator] = variance.sum().item()
    assert spread["learned"] < 0.5 * spread["score"]
    assert spread["leave_one_out"] < 0.5 * spread["score"]


def test_the_baseline_learns_the_reward_and_nothing_else_follows_its_loss():
    model, x, counted = problem(baseline=True)
    pick = torch.rand(len(x), generator=torch.Generator().manual_seed(5)).double()
    found = gradients(model, loss(model, x, counted, ONE, "learned", pick))
    learned = dict(zip((name for name, _ in model.named_parameters()), found, strict=True))
    reward = (picked(counted, pick) * (counted.R - counted.C)).sum(-1).detach()
    square = ((reward - 100 * model.baseline(x).squeeze(-1)) / 100).square().mean()
    for name, want in zip(*zip(*model.baseline.named_parameters(), strict=True), strict=True):
        close(learned[f"baseline.{name}"], torch.autograd.grad(square, want, retain_graph=True)[0])


def test_n_is_drawn_from_q_and_never_beyond_the_last():
    _, _, counted = problem()
    n = 20_000
    picks = (torch.arange(n).double() + 0.5) / n
    for i in range(len(counted.q)):
        one = type(counted)(counted.log_q[i].expand(n, -1), counted.A, counted.R, counted.C, ())
        torch.testing.assert_close(picked(one, picks).mean(0), counted.q[i].detach(), rtol=0, atol=1e-4)
    last = picked(counted, torch.full((5,), 1 - 1e-16).double())
    assert (last.sum(-1) == 1).all()


def test_the_values_of_the_terms_know_no_way():
    model, x, counted = problem()
    want = [counted.R.clone(), counted.C.clone(), counted.A.clone()]
    loss(model, x, counted, torch.zeros(4).double())
    for got, kept in zip((counted.R, counted.C, counted.A), want, strict=True):
        assert torch.equal(got, kept)
