"""The counting model: its terms are those written out by hand, it starts at its priors, and draws what it should."""

import math

import pytest
import torch
from tiny_counting import SIDE, all_by_hand, bits, make, noise

from condkl_studies.counting.model import CountingVAE

SETTINGS = [
    {},
    {"pixels": "gaussian"},
    {"scale_prior": 0.1},
    {"scale_prior": 2.0, "pixels": "gaussian", "ratio": 0.2},
    {"most": 4},
    {"most": 1},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_the_terms_at_every_n_are_those_of_an_enumeration_by_hand(settings):
    model, x = make(**settings), bits()
    e = noise(model)
    counted = model(x, e)
    q, A, R, C, _ = all_by_hand(model, x, e, settings.get("scale_prior", 0.0))
    for got, want in ((counted.q, q), (counted.A, A), (counted.R, R), (counted.C, C)):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)
    by_n = sum(q[:, n] * (R[:, n] - C[:, n]) for n in range(model.most + 1)) - A
    torch.testing.assert_close(counted.elbo, by_n, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("ratio", [1.0, 0.25])
def test_the_prior_is_geometric_and_q_starts_at_it(ratio):
    model = CountingVAE(2, ratio=ratio)
    weights = torch.tensor([1.0, ratio, ratio**2])
    torch.testing.assert_close(model.log_p.exp(), weights / weights.sum())
    x = torch.randint(0, 2, (3, 1024)).float()
    counted = model(x, model.noise(3))
    torch.testing.assert_close(counted.q, (weights / weights.sum()).expand(3, -1))
    assert counted.A.abs().max() < 1e-6


@pytest.mark.parametrize(
    ("settings", "cost"),
    [
        ({}, 0.0),
        ({"scale_prior": 1.0}, 0.0),
        ({"scale_prior": 0.1}, math.log(0.1) + 50 - 0.5),  # 47 nats an object
        ({"scale_prior": 0.1, "encoder_at_prior": True}, 0.0),
    ],
)
def test_an_object_costs_at_the_start_what_its_scale_costs(settings, cost):
    model = CountingVAE(2, **settings)
    counted = model(torch.zeros(2, 1024), model.noise(2))
    torch.testing.assert_close(counted.C, torch.tensor([0.0, cost, 2 * cost]).expand(2, -1), rtol=1e-4, atol=1e-4)


def test_the_first_objects_are_dark_but_grey_with_a_bias_of_0():
    sums = [CountingVAE(1, bias=bias).generate(torch.zeros(1, 1, 12)).sum().item() for bias in (-2.0, 0.0)]
    assert sums == pytest.approx([196 / (1 + math.exp(2)), 98], rel=0.1)  # 14×14 pixels, of look 0


def test_the_canvas_is_white_where_any_object_is():
    model = make(3)
    canvas = torch.zeros(4, SIDE**2).double()
    for one in model(bits(4), noise(model, 4)).drawn:
        alone = model.draw(torch.zeros_like(canvas), one.z[:, model.where :], one.scale, one.shift)
        canvas = 1 - (1 - canvas) * (1 - alone)
        torch.testing.assert_close(one.canvas, canvas)
    assert canvas.min() >= 0
    assert canvas.max() <= 1


def test_generated_canvases_are_those_of_the_prior():
    model = make(2, scale_prior=0.5)
    e = noise(model, 3)
    z = e * torch.tensor([1.0, 1.0, 0.5, 1.0, 1.0]).double()
    canvas = torch.zeros(3, SIDE**2).double()
    for k, got in enumerate(model.generate(e).unbind(1)):
        grown = 0.5 * z[:, k, 2].clamp(-1, 1).exp(), 0.5 * z[:, k, :2].tanh()
        canvas = model.draw(canvas, z[:, k, 3:], *grown)
        torch.testing.assert_close(got, canvas.detach())


def test_theta_phi_and_omega_share_nothing_and_leave_only_the_baseline():
    model = make(baseline=True)
    groups = [model.theta(), model.phi(), model.omega(), list(model.baseline.parameters())]
    ids = [id(p) for group in groups for p in group]
    assert len(ids) == len(set(ids))
    assert set(ids) == {id(p) for p in model.parameters()}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pixels": "grey"}, "pixels: expected one of bernoulli, gaussian, got 'grey'"),
        ({"scale_prior": -1.0}, "scale_prior, ratio: expected 0 or more, and above 0, got -1.0, 1.0"),
        ({"ratio": 0.0}, "scale_prior, ratio: expected"),
        ({"most": 0}, "most: expected a whole number of at least 1, got 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        CountingVAE(**{"most": 2} | settings)
