"""The measures: the terms' means, the best q(n|x), how a model counts, and a likelihood that knows no q(n|x)."""

import math

import pytest
import torch
from tiny_counting import all_by_hand, bits, make

from condkl_studies.counting.measures import Measured, log_likelihood, measured

COUNTS = torch.tensor([0, 1, 2, 2, 1])


def generator(seed=2):
    return torch.Generator().manual_seed(seed)


def table(q, counts, R=None, C=None):
    """A `Measured` of these posteriors, with uniform p(n)."""
    q = torch.tensor(q, dtype=torch.float64)
    R, C = (torch.zeros_like(q) if t is None else torch.tensor(t, dtype=torch.float64) for t in (R, C))
    log_p = torch.full((q.shape[-1],), -math.log(q.shape[-1]), dtype=torch.float64)
    A = (torch.xlogy(q, q) - q * log_p).sum(-1)
    return Measured(q, A, R, C, log_p, torch.tensor(counts))


def test_the_terms_are_means_over_the_draws_of_those_by_hand():
    model, x = make(scale_prior=0.5), bits()
    found, draws = measured(model, x, COUNTS, generator(), draws=3), generator()
    by_hand = [all_by_hand(model, x, model.noise(len(x), draws), 0.5) for _ in range(3)]
    q, A, R, C, _ = (torch.stack(values).mean(0) for values in zip(*by_hand, strict=True))
    for got, want in ((found.q, q), (found.A, A), (found.R, R), (found.C, C)):
        torch.testing.assert_close(got, want.detach(), rtol=1e-10, atol=1e-10)
    best = (R - C + model.log_p).exp().sum(-1).log()
    torch.testing.assert_close(found.best_elbo, best.detach(), rtol=1e-10, atol=1e-10)
    scalars = found.scalars()
    want = (q * R).sum(-1).mean() - A.mean() - (q * C).sum(-1).mean()
    assert scalars["elbo"] == pytest.approx(want.item(), rel=1e-10)
    assert scalars["elbo"] == pytest.approx(scalars["R"] - scalars["A"] - scalars["C"], rel=1e-10)


def test_no_q_of_n_beats_the_best_and_the_tilted_one_at_1_reaches_it():
    model, x = make(), bits()
    found = measured(model, x, COUNTS, generator())
    q = found.tilted(1.0)
    A = (q * (q.log() - model.log_p)).sum(-1)
    torch.testing.assert_close((q * (found.R - found.C)).sum(-1) - A, found.best_elbo)
    assert (found.elbo < found.best_elbo).all()
    other = found.tilted(0.5)
    assert (
        (other * (found.R - found.C)).sum(-1) - (other * (other.log() - model.log_p)).sum(-1) < found.best_elbo
    ).all()


def test_the_tilt_raises_the_odds_of_one_object_more_by_its_kl():
    one = table([[0.5, 0.5]], [1], R=[[-5.0, -3.0]], C=[[0.0, 4.0]])
    odds = [(q[0, 1] / q[0, 0]).item() for q in (one.tilted(0.0), one.tilted(0.5), one.tilted(1.0))]
    assert odds == pytest.approx([math.exp(2), 1, math.exp(-2)])
    scalars = one.scalars()
    assert scalars["n_R"] == pytest.approx(1 / (1 + math.exp(-2)))
    assert scalars["n_RC"] == pytest.approx(1 / (1 + math.exp(2)))


def test_counts_by_hand():
    found = table([[0.9, 0.1, 0.0], [0.6, 0.3, 0.1], [0.0, 0.2, 0.8], [0.1, 0.9, 0.0]], [0, 1, 2, 2]).scalars()
    assert found["n"] == pytest.approx((0.1 + 0.5 + 1.8 + 0.9) / 4)
    assert found["n_true"] == 5 / 4
    assert found["right"] == 2 / 4
    assert found["sure"] == pytest.approx((0.9 + 0.3 + 0.8 + 0.0) / 4)
    assert found["blank"] == pytest.approx((0.6 + 0.0 + 0.1) / 3)
    assert [found[f"q_{n}"] for n in range(3)] == pytest.approx([0.4, 0.375, 0.225])
    assert {"R_0", "R_1", "R_2", "C_1", "C_2"} <= set(found)
    assert "C_0" not in found


def test_a_model_that_is_as_sure_as_it_is_right_is_calibrated():
    found = table([[0.25, 0.75]] * 4, [1, 1, 1, 0])
    assert found.scalars()["miscalibrated"] == pytest.approx(0)
    assert found.calibration()[7].tolist() == pytest.approx([1, 0.75, 0.75])
    assert found.calibration().sum().item() == pytest.approx(2.5)
    off = table([[0.25, 0.75]] * 2 + [[1.0, 0.0]] * 2, [0, 1, 0, 1])
    assert off.scalars()["miscalibrated"] == pytest.approx(0.5 * 0.25 + 0.5 * 0.5)


def test_the_means_by_true_number_are_those_of_its_images():
    model, x = make(), bits()
    found = measured(model, x, COUNTS, generator())
    for name, got in found.by_count().items():
        want = [getattr(found, name)[k == COUNTS].mean(0) for k in range(3)]
        torch.testing.assert_close(got, torch.stack(want))


def test_the_images_of_one_chunk_do_not_see_those_of_another():
    model, x = make(), bits()
    one = measured(model, x, COUNTS, generator(), draws=1, chunk=2)
    draws = generator()
    for i, part in enumerate(x.split(2)):
        counted = model(part, model.noise(len(part), draws))
        torch.testing.assert_close(one.R[2 * i : 2 * i + 2], counted.R.detach())


@pytest.mark.parametrize("settings", [{}, {"scale_prior": 0.5, "pixels": "gaussian", "ratio": 0.3}], ids=str)
def test_the_likelihood_is_the_sum_over_n_of_importance_weights_by_hand(settings):
    model, x, draws = make(**settings), bits(2), generator()
    got = log_likelihood(model, x, 5, generator())
    for i, image in enumerate(x):
        copies = image.expand(5, -1)
        _, _, R, _, W = all_by_hand(model, copies, model.noise(5, draws), settings.get("scale_prior", 0.0))
        want = ((R + W).exp().mean(0) * model.log_p.exp()).sum().log()
        assert got[i].item() == pytest.approx(want.item(), rel=1e-10)


def test_the_likelihood_does_not_know_q_of_n_and_is_above_the_best_elbo():
    model, x = make(), bits(3)
    one = log_likelihood(model, x, 300, generator())
    assert (one > measured(model, x, COUNTS[:3], generator(), draws=300).best_elbo).all()
    with torch.no_grad():
        model.q_n.out.bias.add_(torch.tensor([3.0, -1.0, 0.0]))
    assert torch.equal(log_likelihood(model, x, 300, generator()), one)


def test_the_estimate_of_the_likelihood_is_unbiased_at_any_number_of_samples():
    model, x, repeats = make(1), bits(1), 400
    few = log_likelihood(model, x.expand(repeats, -1), 3, generator(5)).exp()
    many = log_likelihood(model, x.expand(repeats, -1), 50, generator(6)).exp()
    error = math.sqrt((few.var() + many.var()).item() / repeats)
    assert abs((few.mean() - many.mean()).item()) < 4.5 * error


@pytest.mark.parametrize(("samples", "chunk"), [(0, 10), (5, 0)])
def test_a_likelihood_of_no_samples_is_refused(samples, chunk):
    with pytest.raises(ValueError, match="expected a whole number of at least 1, got 0"):
        log_likelihood(make(), bits(1), samples, generator(), chunk)


def test_a_likelihood_in_chunks_is_the_mean_of_theirs():
    (model, x), draws = (make(), bits(1)), generator()
    parts = [log_likelihood(model, x, n, draws) + math.log(n) for n in (13, 13, 13, 1)]
    whole = log_likelihood(model, x, 40, generator(), chunk=13)
    torch.testing.assert_close(whole, torch.stack(parts).logsumexp(0) - math.log(40))
