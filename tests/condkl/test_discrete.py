"""Starvation of a discrete v: the laws against the flow, and the flow against gradients that torch takes."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch.distributions import Categorical, Normal, kl_divergence

from condkl.discrete import starvation_exponent, two_state_law, two_state_time

FLOWS = ("logit", "softmax", "natural")


def torch_flow(r, lam, beta, p1, flow, weight=lambda t: 1.0):
    """The change of (theta, b), by automatic differentiation of the KL; `weight` is that of all of it at a time."""
    p_v, p_u = Categorical(torch.tensor([1 - p1, p1], dtype=torch.float64)), Normal(math.sqrt(r * beta), beta**0.5)

    def change(t, state):
        theta, b = torch.tensor(state[:-1], requires_grad=True), torch.tensor(state[-1], requires_grad=True)
        logits = theta if flow == "softmax" else torch.cat([torch.zeros(1, dtype=torch.float64), theta])
        q_v = Categorical(logits=logits)
        A, c = kl_divergence(q_v, p_v), kl_divergence(Normal(b, beta**0.5), p_u)
        (on_theta,) = torch.autograd.grad(A + lam * q_v.probs[1] * c.detach(), theta, retain_graph=True)
        if flow == "natural":
            on_theta = on_theta / (q_v.probs[0] * q_v.probs[1])
        (on_phi,) = torch.autograd.grad(q_v.probs[1].detach() * c, b)
        return [-weight(t) * g for g in [*on_theta.tolist(), on_phi.item()]]

    start = [0.0] * (2 if flow == "softmax" else 1) + [0.0]
    return change, start, lambda state: (state[-1] - math.sqrt(r * beta)) ** 2 / beta


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize(
    ("r", "lam", "beta", "p1"), [(9.0, 1.0, 1.0, 0.5), (12.0, 0.5, 0.5, 0.3), (6.0, 0.0, 2.0, 0.7)]
)
def test_the_time_is_that_of_the_gradients_that_torch_takes(flow, r, lam, beta, p1):
    change, start, misfit = torch_flow(r, lam, beta, p1, flow)

    def reached(_, state):
        return math.log(misfit(state) / 0.2)

    reached.terminal = True
    found = solve_ivp(change, (0, 1e4), start, "LSODA", events=reached, rtol=1e-8, atol=1e-10)
    assert two_state_time(r, lam, 0.2, beta, p1, flow) == pytest.approx(found.t_events[0][0], rel=1e-5)


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize(("lam", "beta", "p1"), [(1.0, 1.0, 0.5), (0.6, 1.0, 0.3), (1.0, 2.5, 0.5), (1.0, 0.6, 0.6)])
def test_the_law_is_the_time_but_for_a_share_that_falls_as_one_over_the_misfit(flow, lam, beta, p1):
    near, far = (
        two_state_law(r, lam, 0.2, beta, p1, flow) / two_state_time(r, lam, 0.2, beta, p1, flow) - 1
        for r in ((30 / lam, 60 / lam) if flow == "natural" else (60 / lam, 120 / lam))
    )
    assert 0 < near < 0.4
    assert 0.35 < far / near < 0.55


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
def test_the_time_grows_with_the_exponent(flow, beta):
    share = starvation_exponent(beta, flow)
    rs = np.array([400.0, 500.0]) / share
    grown = np.diff(np.log([two_state_law(r, 1.0, 0.2, beta, flow=flow) for r in rs]))[0]
    # What is left are powers of r from r⁻¹ to r^-½ (Laplace, Ei): at most log 1.25 of 50.
    assert grown == pytest.approx(50.0, abs=math.log(1.25) + 0.01)


def test_eq_9_waits_for_the_logarithm_of_the_misfit_alone():
    found = [two_state_time(r, 0.0, 0.2, p1=0.5) for r in (20.0, 2000.0)]
    assert found == pytest.approx([math.log(r / 0.2) for r in (20.0, 2000.0)], rel=1e-6)


def test_a_warm_up_of_all_of_the_kl_is_only_another_clock():
    change, start, misfit = torch_flow(16.0, 1.0, 1.0, 0.5, "softmax")
    warmed, _, _ = torch_flow(16.0, 1.0, 1.0, 0.5, "softmax", weight=lambda t: min(1.0, t / 10))
    plain = solve_ivp(change, (0, 10), start, "LSODA", rtol=1e-9, atol=1e-11).y[:, -1]
    slow = solve_ivp(warmed, (0, 15), start, "LSODA", rtol=1e-9, atol=1e-11).y[:, -1]  # ∫ weight = 5 + 5
    assert slow == pytest.approx(plain, rel=1e-5)
    assert 1 < misfit(plain) < 15


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"flow": "adam"}, "flow: expected one of logit, softmax, natural, got 'adam'"),
        ({"lam": 1.5}, "lam: expected a number from 0 to 1, got 1.5"),
        ({"p1": 1.0}, "p1: expected a probability between 0 and 1, got 1.0"),
        ({"level": 30.0}, "r, level, beta: expected 0 < level < r and beta above 0, got 20.0, 30.0, 1.0"),
        ({"beta": -1.0}, "r, level, beta: expected 0 < level < r and beta above 0"),
    ],
)
@pytest.mark.parametrize("function", [two_state_time, two_state_law])
def test_what_makes_no_sense_is_refused_by_name(function, change, message):
    with pytest.raises(ValueError, match=message):
        function(**{"r": 20.0, "lam": 1.0, "level": 0.2} | change)


def test_no_time_is_negative_or_infinite():
    with pytest.raises(ValueError, match=r"r: expected r - 4 log 2.* above level = 2.9 for 'natural', got 0.2"):
        two_state_law(3.0, 1.0, 2.9, flow="natural")
    assert 0 < two_state_time(3.0, 1.0, 2.9, flow="natural") < 0.1
    for call in (two_state_time, two_state_law):
        with pytest.raises(ValueError, match=r"r: expected a misfit whose time float64 can hold, got 5000\. Lower"):
            call(5000.0, 1.0, 0.2)
    with pytest.raises(ValueError, match="r: expected a misfit whose time float64 can hold"):
        two_state_law(5000.0, 1.0, 0.2, flow="natural")


def test_the_law_says_where_it_ends():
    with pytest.raises(ValueError, match=r"r: expected lam \* r of 1 or more, where there is starvation, got 0"):
        two_state_law(20.0, 0.0, 0.2)
    with pytest.raises(ValueError, match=r"r: expected lam \* r up to 70 for 'natural', got 90. Use two_state_law"):
        two_state_time(100.0, 0.9, 0.2, flow="natural")
