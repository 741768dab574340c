"""The loop on small made-up images: it learns, repeats itself, keeps a record, and stops at NaN."""

import math

import pytest
import torch

from condkl.data import binarise
from condkl.objective import OBJECTIVES, full
from condkl.training import NonFiniteLossError, batches, fit, summary
from condkl.vae import HierarchicalVAE, Terms

PIXELS = 16


def make(latents=(2, 3), seed=0):
    torch.manual_seed(seed)
    return HierarchicalVAE(latents, hidden=8, pixels=PIXELS)


def stripes(n=200):
    """Images of which each is bright in one half: one binary latent explains them."""
    left = torch.rand(n, 1, generator=torch.Generator().manual_seed(1)) < 0.5
    half = (torch.arange(PIXELS) < PIXELS // 2).expand(n, -1)
    return torch.where(half == left, 240, 15).to(torch.uint8)


def train(objective=full, steps=12, seed=3, model=None, **kwargs):
    options = {"batch_size": 20, "every": 5, "progress": False} | kwargs
    return fit(model or make(), objective, stripes(), steps, seed, **options)


def elbos(model):
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        return model(binarise(stripes(1000), generator), generator).elbo


@pytest.mark.parametrize("name", OBJECTIVES)
def test_training_raises_the_elbo(name):
    gain = elbos(train(OBJECTIVES[name], 200, learning_rate=1e-2).model) - elbos(make())
    assert gain.mean() > 4.5 * gain.std() / math.sqrt(len(gain))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_same_seed_gives_the_same_weights_to_the_last_bit(name):
    one, two = train(OBJECTIVES[name]), train(OBJECTIVES[name])
    assert one.history.equals(two.history)
    for a, b in zip(one.model.parameters(), two.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_another_seed_gives_another_run_and_the_global_seed_does_not_matter():
    torch.manual_seed(4)
    one = train()
    torch.manual_seed(5)
    assert train().history.equals(one.history)
    assert not train(seed=6).history.equals(one.history)


def test_training_leaves_the_global_randomness_alone():
    model, before = make(), torch.random.get_rng_state()
    train(model=model)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_model_is_trained_in_place():
    model = make()
    assert train(model=model).model is model


@pytest.mark.parametrize(
    ("steps", "every", "recorded"), [(12, 5, [1, 5, 10, 12]), (10, 5, [1, 5, 10]), (1, 5, [1]), (3, 1, [1, 2, 3])]
)
def test_the_record_holds_the_first_every_nth_and_the_last_step(steps, every, recorded):
    assert train(steps=steps, every=every).history["step"].tolist() == recorded


@pytest.mark.parametrize(("latents", "more"), [((2,), []), ((2, 3), []), ((2, 3, 4), ["C1", "C2"])])
def test_the_record_names_the_terms(latents, more):
    history = train(model=make(latents)).history
    assert list(history) == ["step", "elbo", "R", "A", "C", *more]
    assert abs(history["elbo"] - (history["R"] - history["A"] - history["C"])).max() < 1e-4
    if more:
        assert abs(history["C"] - history[more].sum(axis=1)).max() < 1e-5
    if len(latents) == 1:
        assert (history["C"] == 0).all()


def test_the_summary_takes_means_over_images_and_sums_over_layers():
    terms = Terms(torch.tensor([4.0, 8.0]), torch.tensor([1.0, 2.0]), torch.tensor([[1.0, 2.0], [3.0, 5.0]]))
    assert summary(terms) == {"elbo": -1.0, "R": 6.0, "A": 1.5, "C": 5.5, "C1": 2.0, "C2": 3.5}


def test_each_epoch_shows_every_image_once_in_a_new_order():
    stream = batches(12, 4, torch.Generator().manual_seed(7))
    epochs = [torch.cat([next(stream) for _ in range(3)]).tolist() for _ in range(3)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(12))] * 3
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_the_rest_of_an_epoch_that_fills_no_batch_is_left_out():
    stream = batches(11, 4, torch.Generator().manual_seed(8))
    for _ in range(3):
        epoch = torch.cat([next(stream), next(stream)])
        assert len(epoch.unique()) == 8


@pytest.mark.parametrize(
    ("part", "value", "term"),
    [("p_x", math.nan, "R"), ("p_u", math.nan, "C1"), ("q_v", math.nan, "R")],
)
def test_weights_that_are_nan_stop_training_with_step_and_term(part, value, term):
    model = make()
    with torch.no_grad():
        for parameter in getattr(model, part).parameters():
            parameter.fill_(value)
    with pytest.raises(NonFiniteLossError, match=rf"step 1: the term {term} became nan.*Lower the learning") as caught:
        train(model=model)
    assert (caught.value.step, caught.value.term) == (1, term)


def test_a_scale_that_overflows_names_the_marginal_kl():
    model = make()
    with torch.no_grad():
        model.q_v.out.bias[2:] = 60.0  # the scale is finite in float32, its square is not
    with pytest.raises(NonFiniteLossError, match="step 1: the term A became inf"):
        train(model=model)


def test_training_stops_at_the_step_where_a_term_breaks_and_keeps_that_step_out_of_the_weights():
    seen, weights = [], {}

    def breaks(model, x, generator):
        seen.append(1)
        terms = full(model, x, generator)
        if len(seen) < 3:
            return terms
        weights.update({name: p.detach().clone() for name, p in model.named_parameters()})
        return Terms(terms.R, terms.A, terms.C * math.inf)

    model = make((2, 3, 4))
    with pytest.raises(NonFiniteLossError, match="step 3: the term C1 became inf"):
        train(breaks, model=model)
    assert all(torch.equal(p, weights[name]) for name, p in model.named_parameters())


def test_a_sum_that_overflows_is_named_though_no_term_does():
    huge = torch.full((20,), 3e38)
    with pytest.raises(NonFiniteLossError, match="step 1: the term elbo became -inf"):
        train(lambda *_: Terms(-huge, huge, torch.zeros(20, 1)))


def test_fewer_images_than_a_batch_are_refused():
    with pytest.raises(ValueError, match="images: expected at least batch_size=201 images, got 200"):
        train(batch_size=201)


@pytest.mark.parametrize("name", ["steps", "batch_size", "every"])
def test_counts_below_one_are_refused(name):
    with pytest.raises(ValueError, match=f"{name}: expected a whole number"):
        train(**{name: 0})


def test_a_progress_bar_shows_the_label(capsys):
    train(progress=True, label="a run")
    assert "a run" in capsys.readouterr().err


def test_recording_gradients_changes_no_step_and_adds_what_pulls_on_theta():
    plain, recorded = train(every=4), train(every=4, gradients=True)
    for a, b in zip(plain.model.parameters(), recorded.model.parameters(), strict=True):
        assert torch.equal(a, b)
    added = set(recorded.history) - set(plain.history)
    assert added == {"norm_R", "norm_A", "norm_C", "cos_RA", "cos_RC", "cos_AC", "gain_modified"}
    assert (recorded.history[["norm_R", "norm_A", "norm_C"]] > 0).all(axis=None)
    assert recorded.history[["cos_RA", "cos_RC", "cos_AC"]].abs().le(1 + 1e-6).all(axis=None)
