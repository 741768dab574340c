"""A linear VAE with a learned decoder: the field by two routes, the theorem by training and by roots, the drift."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch.distributions import Normal

from condkl.learned import log_evidence, model_field, upper_kl, valley_time

SIGMA2 = 0.2
ONE_FACTOR = torch.eye(3, dtype=torch.float64) + 2 * torch.ones(3, 3, dtype=torch.float64)
#: The best evidence of any Gaussian whose covariance is at least σ²I: that of S itself.
BEST = -(torch.logdet(2 * torch.pi * ONE_FACTOR) + 3).item() / 2


def flown(parts, lam, S, learned, until=400.0):
    """F, W and β after that time, from parts of the model of which the named ones are learned."""
    names, shapes = list(parts), [part.shape for part in parts.values()]
    sizes = [shape.numel() for shape in shapes]

    def split(state):
        flat = torch.as_tensor(state, dtype=torch.float64).split(sizes)
        return dict(zip(names, (part.view(shape) for part, shape in zip(flat, shapes, strict=True)), strict=True))

    def change(_, state):
        here = split(state)
        found = model_field(here["F"], here["W"], here["log_beta"].exp().item(), SIGMA2, S, lam)._asdict()
        return torch.cat([(found[name] * (name in learned)).flatten() for name in names]).numpy()

    start = torch.cat([part.flatten() for part in parts.values()]).numpy()
    end = split(solve_ivp(change, (0, until), start, "LSODA", rtol=1e-6, atol=1e-9).y[:, -1])
    return end["F"], end["W"], end["log_beta"].exp().item()


def one_factor():
    zero = torch.zeros((), dtype=torch.float64)
    return {"F": torch.tensor([[0.4], [0.5], [0.8]], dtype=torch.float64), "W": torch.eye(3).double(), "log_beta": zero}


ALL = ("F", "W", "log_beta")


@pytest.mark.parametrize("lam", [0.0, 0.9])
def test_with_a_learned_decoder_the_layer_is_lost_and_nothing_else(lam):
    end = flown(one_factor(), lam, ONE_FACTOR, ALL)
    assert upper_kl(*end, SIGMA2, ONE_FACTOR, lam).item() < 1e-5
    assert log_evidence(*end, SIGMA2, ONE_FACTOR).item() == pytest.approx(BEST, abs=1e-5)


def test_the_full_gradient_keeps_it_at_the_same_evidence():
    end = flown(one_factor(), 1.0, ONE_FACTOR, ALL)
    assert upper_kl(*end, SIGMA2, ONE_FACTOR, 1.0).item() > 0.3
    assert log_evidence(*end, SIGMA2, ONE_FACTOR).item() == pytest.approx(BEST, abs=1e-5)


@pytest.mark.parametrize(("lam", "evidence"), [(1.0, -5.2298), (0.9, -5.2308), (0.5, -5.3461)])
def test_with_a_fixed_decoder_it_lives_and_the_evidence_falls(lam, evidence):
    end = flown(one_factor(), lam, ONE_FACTOR, ("F", "log_beta"))
    assert upper_kl(*end, SIGMA2, ONE_FACTOR, lam).item() > 0.3
    assert log_evidence(*end, SIGMA2, ONE_FACTOR).item() == pytest.approx(evidence, abs=5e-5)


@pytest.mark.parametrize("seed", range(2))
def test_with_fewer_units_than_pixels_what_is_left_is_the_best_of_one_layer(seed):
    draws = torch.Generator().manual_seed(seed)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=draws, dtype=torch.float64)).Q
    S = turn @ torch.diag(torch.tensor([4.0, 2.0, 0.5], dtype=torch.float64)) @ turn.mT
    F, W = (torch.randn(shape, generator=draws, dtype=torch.float64) for shape in ((2, 2), (3, 2)))
    end = flown({"F": F, "W": W, "log_beta": torch.tensor(-0.5, dtype=torch.float64)}, 0.5, S, ("F", "W"))
    assert upper_kl(*end, SIGMA2, S, 0.5).item() < 1e-5
    # Probabilistic PCA with two factors and a known noise: it has the two largest variances, and σ² for the third.
    best = -(3 * math.log(2 * math.pi) + math.log(4.0 * 2.0 * SIGMA2) + 2 + 0.5 / SIGMA2) / 2
    assert log_evidence(*end, SIGMA2, S).item() == pytest.approx(best, abs=1e-5)


def complete(f, w, beta, S, lam):
    """The field of x, u and v numbers, by Gauss-Hermite over x, v and u of ∇ log p(x, u, v), which torch takes."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(8)
    nodes, weights = torch.tensor(nodes), torch.tensor(weights / weights.sum())
    f, w, log_beta = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (f, w, math.log(beta)))
    with torch.no_grad():
        x = math.sqrt(S) * nodes[:, None, None]
        D = SIGMA2 + beta * w**2
        tempered = (SIGMA2 + lam * beta * w**2) / D  # p(v) p(x|v)^ρ
        V = 1 / (1 + tempered * (w * f) ** 2 / D)
        v = V * tempered * w * f / D * x + V.sqrt() * nodes[:, None]
        precision = 1 / beta + w**2 / SIGMA2
        u = (f * v / beta + w * x / SIGMA2) / precision + precision**-0.5 * nodes
    log_p = Normal(w * u, SIGMA2**0.5).log_prob(x) + Normal(f * v, (log_beta / 2).exp()).log_prob(u)
    value = (weights[:, None, None] * weights[:, None] * weights * log_p).sum()
    return torch.stack(torch.autograd.grad(value, (f, w, log_beta)))


@pytest.mark.parametrize(("f", "w", "beta", "S", "lam"), [(0.7, 1.2, 0.5, 2.0, 0.0), (-1.5, 0.4, 2.0, 0.9, 0.6)])
def test_the_field_is_the_mean_gradient_of_the_complete_log_likelihood(f, w, beta, S, lam):
    matrices = [torch.full((1, 1), value, dtype=torch.float64) for value in (f, w, S)]
    found = model_field(matrices[0], matrices[1], beta, SIGMA2, matrices[2], lam)
    assert torch.cat([part.flatten() for part in found]).tolist() == pytest.approx(
        complete(f, w, beta, S, lam).tolist(), rel=1e-10, abs=1e-12
    )


def test_below_one_the_layer_drifts_away_along_the_valley_in_the_time_said():
    S, beta, lam, start, end = 2.0, 0.5, 0.999, 1.0, 3.0

    def change(_, state):
        f, w = (torch.full((1, 1), value, dtype=torch.float64) for value in state)
        found = model_field(f, w, beta, SIGMA2, torch.full((1, 1), S, dtype=torch.float64), lam)
        return [found.F.item(), found.W.item()]

    def reached(_, state):
        return state[1] ** 2 - end

    reached.terminal = True
    at = math.sqrt((S - SIGMA2) / start - beta), math.sqrt(start)
    there = solve_ivp(change, (0, 1e5), at, "LSODA", events=reached, rtol=1e-8, atol=1e-10).t_events[0][0]
    assert valley_time(lam, S, beta, SIGMA2, start, end) == pytest.approx(there, rel=0.01)  # of order 1 - λ
    half = valley_time(1 - 2 * (1 - lam), S, beta, SIGMA2, start, end)
    assert half == pytest.approx(valley_time(lam, S, beta, SIGMA2, start, end) / 2)


@pytest.mark.parametrize(("wrong", "message"), [
    ({"lam": 1.0}, "lam: expected a number from 0 to below 1, got 1.0. At 1 the layer stays"),
    ({"end": 9.0}, r"start, end: expected 0 < start < end < \(S - sigma2\)/beta = 3.6, got 1.0, 9.0"),
    ({"beta": 0.0}, "beta: expected numbers above 0"),
])  # fmt: skip
def test_a_valley_that_is_none_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        valley_time(**{"lam": 0.9, "S": 2.0, "beta": 0.5, "sigma2": 0.2, "start": 1.0, "end": 3.0} | wrong)


def test_shapes_that_do_not_fit_are_refused_by_all():
    F, W, S = torch.ones(2, 1), torch.ones(3, 2), torch.eye(3)
    calls = (lambda *m: model_field(*m[:2], 1.0, 1.0, m[2], 1.0), lambda *m: upper_kl(*m[:2], 1.0, 1.0, m[2], 1.0))
    for call, wrong in itertools.product(calls, [(F.mT, W, S), (F, W[0], S), (F, W, S[:2])]):
        with pytest.raises(ValueError, match="F, W, S: expected shapes"):
            call(*wrong)


@pytest.mark.parametrize("S", [-20 * torch.eye(2), torch.tensor([[1.0, 0.5], [0.0, 1.0]])])
def test_what_is_no_covariance_is_refused(S):
    with pytest.raises(ValueError, match="S: expected a covariance, symmetric and without negative eigenvalues"):
        upper_kl(torch.ones(1, 1), torch.ones(2, 1), 0.5, 0.5, S, 1.0)


def test_matrices_of_several_kinds_are_of_the_widest():
    F, W, S = torch.ones(1, 1), torch.ones(2, 1, dtype=torch.float64), torch.eye(2)
    assert upper_kl(F, W, 0.5, 0.5, S, 1.0) == upper_kl(F.double(), W, 0.5, 0.5, S.double(), 1.0)
