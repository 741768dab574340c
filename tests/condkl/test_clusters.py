"""Two clusters: the point where the model stops against a gradient that torch takes, and what a layer is worth."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm

from condkl.clusters import least_weight, loading, worth

SIGMA2 = 0.2


def field(a, w, log_beta, separation, lam):
    """E_x E_{q_λ(v|x)} ∇ E_{p(u|x,v)} log p(x, u, v) of a, w and log β, with x on a grid and v summed."""
    x = torch.linspace(-12, 12, 4001, dtype=torch.float64)
    density = sum(torch.exp(-((x - c) ** 2) / 2) for c in (separation, -separation))
    density = density / density.sum()
    a, w, log_beta = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (a, w, log_beta))
    value = torch.zeros((), dtype=torch.float64)
    with torch.no_grad():
        beta = log_beta.exp()
        D = SIGMA2 + beta * w**2
        odds = 2 * (SIGMA2 + lam * beta * w**2) / D * w * a * x / D  # of p(x|v)^ρ at v = 1 and at -1
    for v, q in ((1.0, odds.sigmoid()), (-1.0, (-odds).sigmoid())):
        with torch.no_grad():  # moments of p(u|x,v)
            precision = 1 / beta + w**2 / SIGMA2
            u, u2 = (a * v / beta + w * x / SIGMA2) / precision, 1 / precision
        of_x = -((x - w * u) ** 2 + w**2 * u2) / (2 * SIGMA2)
        of_u = -((u - a * v) ** 2 + u2) / (2 * log_beta.exp()) - log_beta / 2
        value = value + (density * q * (of_x + of_u)).sum()
    return torch.stack(torch.autograd.grad(value, (a, w, log_beta)))


@pytest.mark.parametrize(("separation", "lam"), [(2.0, 1.0), (2.0, 0.75), (3.0, 0.5), (1.5, 0.9)])
def test_the_gradient_of_the_model_is_zero_where_it_stops(separation, lam):
    g = loading(separation, lam, SIGMA2)
    assert g > 0.9 * separation
    D, w = separation**2 + 1 - g**2, 0.7  # any w will do
    here = (g / w, w, math.log((D - SIGMA2) / w**2))
    assert field(*here, separation, lam).abs().max() < 1e-6
    assert field(here[0] * 1.05, *here[1:], separation, lam).abs().max() > 1e-3


@pytest.mark.parametrize("separation", [0.8, 2.0, 5.0])
def test_the_worth_is_the_gap_between_two_evidences(separation):
    def density(x):
        return (norm.pdf(x, separation) + norm.pdf(x, -separation)) / 2

    gaussian = norm(scale=math.sqrt(separation**2 + 1))
    gap = quad(lambda x: density(x) * (np.log(density(x)) - gaussian.logpdf(x)), -30, 30, points=[0.0], limit=200)[0]
    assert worth(separation, separation) == pytest.approx(gap, abs=1e-6)
    assert worth(0.0, separation) == pytest.approx(0.0, abs=1e-9)


def test_far_apart_it_is_the_gap_of_two_entropies():
    assert worth(9.0, 9.0) == pytest.approx(math.log(82) / 2 - math.log(2), abs=1e-9)


@pytest.mark.parametrize("start", [0.01, 0.5, 1.9])
def test_the_full_gradient_finds_the_clusters_from_any_start(start):
    assert loading(2.0, 1.0, SIGMA2, start=start) == pytest.approx(2.0, abs=1e-6)


@pytest.mark.parametrize("lam", [0.0, 0.5, 0.99])
def test_below_one_a_layer_that_starts_small_is_lost_however_far_the_clusters(lam):
    assert loading(6.0, lam, SIGMA2, start=0.01) == 0
    assert loading(6.0, lam, SIGMA2, start=6.0) == pytest.approx(6.0, abs=1e-3)


def test_what_is_worth_more_survives_a_smaller_weight():
    weights = [least_weight(separation, SIGMA2) for separation in (1.0, 2.0, 3.0, 5.0)]
    assert weights == sorted(weights, reverse=True)
    assert weights[0] > 0.9
    assert weights[-1] == 0
    at = least_weight(2.0, SIGMA2)
    assert loading(2.0, at - 0.01, SIGMA2) == 0 < loading(2.0, at + 0.01, SIGMA2)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: loading(2.0, 1.2, 0.2), "lam: expected a number from 0 to 1, got 1.2"),
    (lambda: loading(2.0, 1.0, 1.5), "sigma2: expected a variance from 0 to below spread² = 1, got 1.5"),
    (lambda: worth(3.0, 1.0), "g: expected a loading from 0 to separation = 1, got 3.0"),
    (lambda: worth(math.nan, 1.0), "g: expected a loading from 0 to separation = 1, got nan"),
    (lambda: loading(2.0, 1.0, 0.2, start=3.0), "start: expected a loading from 0 to separation = 2, got 3.0"),
    (lambda: worth(1.0, 0.0), "separation, spread: expected numbers above 0, got 0.0, 1.0"),
])  # fmt: skip
def test_what_makes_no_sense_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()
