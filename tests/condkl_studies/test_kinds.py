"""Models that count are trained, recorded, resumed and checked as all others are."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import COUNTING, TINY, same

from condkl_studies import engine, fit_run, models, replay, results, store
from condkl_studies.counting.objective import ESTIMATORS
from condkl_studies.counting.ways import SCHEDULED
from condkl_studies.data import load
from condkl_studies.randomness import seeded
from condkl_studies.state import State
from condkl_studies.training import NonFiniteLossError, windows


@pytest.fixture(scope="module")
def result():
    return fit_run(COUNTING)


def test_the_kinds_are_found_by_their_names():
    assert set(models.names()) == {"counting", "hierarchical"}
    assert type(models.kind(COUNTING)).__name__ == "Counting"
    assert type(models.kind(TINY)).__name__ == "Hierarchical"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "nothing"}, "model: expected one of counting, hierarchical, got 'nothing'"),
        ({"objective": "free_bits"}, "objective: expected one of full, modified, .*kl_warm_up.*got 'free_bits'"),
        ({"objective": "kl_warm_up"}, "until: expected a share of the training for 'kl_warm_up', got None"),
        ({"until": 0.5}, "until: expected None for 'full'"),
        ({"estimator": "guess"}, "estimator: expected one of exact, .*got 'guess'"),
        ({"pixels": "grey"}, "pixels: expected one of bernoulli, gaussian, got 'grey'"),
        ({"scale_prior": -1}, "scale_prior: expected 0 or more, got -1.0"),
        ({"count_ratio": 0}, "count_ratio: expected a number above 0, got 0.0"),
        ({"glimpse_bias": math.nan}, "glimpse_bias: expected a finite logit, got nan"),
        ({"encoder_at_prior": 2}, "encoder_at_prior: expected True or False, got 2"),
        ({"latents": (2, 3)}, r"latents: expected one width, that of what, got \(2, 3\)"),
        ({"skip": True}, "skip: expected False for a model that counts, got True"),
        ({"noise_batches": 2}, "noise_batches: expected 0 for a model that counts, got 2"),
        ({"data": "tiny"}, "data: expected canvases, as 'two_digits', got 'tiny'"),
    ],
)
def test_a_senseless_setting_of_a_model_that_counts_is_refused_at_once(change, message):
    with pytest.raises(ValueError, match=message):
        replace(COUNTING, **change)


def test_what_belongs_to_other_models_is_refused_by_the_hierarchical_one():
    with pytest.raises(ValueError, match="estimator: expected 'exact' for the model 'hierarchical', got 'score'"):
        replace(TINY, estimator="score")
    with pytest.raises(ValueError, match=r"until: expected None for the model 'hierarchical', got 0\.5"):
        replace(TINY, objective="kl_warm_up", until=0.5)


@pytest.mark.parametrize(
    ("change", "label"),
    [
        ({}, "counted full p(x|u,n) seed 0"),
        (
            {"objective": "kl_warm_up", "until": 0.25, "pixels": "gaussian", "estimator": "score", "phi_rate": 5},
            "counted kl_warm_up until 0.25 p(x|u,n) gaussian score phi x5 seed 0",
        ),
    ],
)
def test_a_label_names_what_a_person_looks_for(change, label):
    assert replace(COUNTING, **change).label == label


def test_the_method_has_what_is_not_usual():
    config = replace(COUNTING, objective="frozen_count", until=0.5, estimator="learned", phi_rate=2)
    assert (COUNTING.method, config.method) == ("full", "frozen_count until 0.5, learned, phi x2")


# --- The step ------------------------------------------------------------------------------------------------------


def trained(config, compiled=False, images=None):
    """The first steps of a run, as they leave the model."""
    state = State.start(engine.initial_model(config, "cpu"))
    images = load(config.data, "train") if images is None else images
    list(windows(state, models.kind(config), images, config.training(), config.seed, compiled))
    return state


def test_a_window_logs_the_means_of_its_steps_terms_and_of_those_at_each_number():
    black_and_white = (load("counted", "train") > 127).byte() * 255  # has one binarisation
    config = replace(COUNTING, steps=1, every=1, batch_size=60)
    row = trained(config, images=black_and_white).rows[0]
    model = engine.initial_model(config, "cpu").double()
    model.log_p = model.log_p.log_softmax(-1)
    assert list(row) == ["step", "elbo", "R", "A", "C", *(f"{t}_{n}" for t in "qRC" for n in range(3) if n or t != "C")]
    assert row["elbo"] == pytest.approx(row["R"] - row["A"] - row["C"], rel=1e-5)
    assert row["R"] == pytest.approx(sum(row[f"q_{n}"] * row[f"R_{n}"] for n in range(3)), rel=1e-5)  # q = p at first
    x = (black_and_white / 255).double()
    assert row["R_0"] == pytest.approx(float(model.log_likelihood(x, torch.zeros_like(x)).mean()), rel=1e-5)


@pytest.mark.parametrize("way", ["full", "modified", *SCHEDULED])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_every_way_and_estimator_trains(way, estimator):
    until = 0.5 if way in SCHEDULED else None
    state = trained(replace(COUNTING, objective=way, until=until, estimator=estimator))
    assert [row["step"] for row in state.rows] == [2, 4, 6]
    assert all(math.isfinite(value) for row in state.rows for value in row.values())


def test_a_frozen_count_stays_where_it_starts_until_it_is_let_go_and_phi_has_its_own_rate():
    config = replace(COUNTING, objective="frozen_count", until=0.5, steps=40, every=20, schedule="constant")
    start, state = engine.initial_model(config, "cpu"), State.start(engine.initial_model(config, "cpu"))
    loop = windows(state, models.kind(config), load("counted", "train"), config.training(), config.seed)
    next(loop)
    assert all(torch.equal(a, b) for a, b in zip(start.theta(), state.model.theta(), strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(start.omega(), state.model.omega(), strict=True))
    next(loop)
    assert not torch.equal(start.q_n.out.bias, state.model.q_n.out.bias)
    slow, fast = (trained(replace(COUNTING, steps=1, every=1, phi_rate=rate)).model for rate in (1.0, 3.0))
    for name, first in start.named_parameters():
        moved = [dict(one.named_parameters())[name].detach() - first.detach() for one in (slow, fast)]
        ratio = 3.0 if name.startswith(("q_where", "q_what")) else 1.0
        torch.testing.assert_close(moved[1], ratio * moved[0], rtol=1e-2, atol=1e-7)


def test_noise_differs_between_steps_and_depends_on_the_seed_and_the_window_alone():
    kind, model = models.kind(replace(COUNTING, estimator="score")), engine.initial_model(COUNTING, "cpu")
    noise, pick = kind.draws(model, (4, 10), seeded(1))
    assert (noise.shape, pick.shape) == ((4, 10, 2, 5), (4, 10))
    assert len(noise.flatten(1).unique(dim=0)) == 4
    assert torch.equal(noise, kind.draws(model, (4, 10), seeded(1))[0])


@pytest.mark.slow
@pytest.mark.parametrize(("way", "estimator"), [("full", "exact"), ("frozen_count", "learned")])
def test_the_compiled_step_makes_the_same_steps(way, estimator):
    config = replace(COUNTING, objective=way, until=0.5 if way in SCHEDULED else None, estimator=estimator)
    for row, other in zip(trained(config, compiled=True).rows, trained(config).rows, strict=True):
        assert row == pytest.approx(other, rel=1e-4, abs=1e-4)


# --- The record ----------------------------------------------------------------------------------------------------


def test_a_run_has_terms_counts_and_what_the_test_split_gives(result):
    assert result.metrics["step"].tolist() == [2, 4, 6]
    assert {"val_elbo", "val_n", "val_right", "val_blank", "val_q_0", "q_2", "R_2", "C_2"} <= set(result.metrics)
    assert result.metrics["val_elbo"].notna().tolist() == [False, True, True]
    assert (result.samples["test"].shape, result.samples["log_likelihood"].shape) == ((4,), (3,))
    assert result.samples["q_by_count"].shape == (3, 3)
    assert result.samples["test_n_true"] == pytest.approx(19 / 20)
    assert result.samples["test"][0] == result.samples["test_elbo"]
    assert result.provenance["products"] == "torch"


def test_what_pulls_on_theta_is_recorded_where_the_config_says_so():
    metrics = fit_run(replace(COUNTING, gradient_batches=1)).metrics
    assert metrics["pull_full"].notna().all()
    assert "pull_full" not in fit_run(COUNTING).metrics


def test_a_record_is_written_and_read_back_and_stands_beside_those_of_other_models(result):
    store.write("tiny", result)
    again = store.read("tiny", COUNTING)
    assert same(again, result)
    assert again.config.settings()["model"] == "counting"
    table = results.frame([again, fit_run(TINY)])
    assert table["model"].tolist() == ["counting", "hierarchical"]
    assert table["test_n_true"].tolist()[0] == pytest.approx(19 / 20)
    assert table[["test_n_true", "val_n", "active_v"]].isna().to_numpy().tolist() == [
        [False, False, True],
        [True, True, False],
    ]
    curves = results.curves([again, fit_run(TINY)])
    assert curves.groupby("model")["val_n"].count().tolist() == [2, 0]


def test_the_first_window_repeats_the_record_to_the_last_bit(result):
    [found] = replay.replay_sample([result], 1, seed=0)
    assert found.passed
    assert found.bits


@pytest.mark.parametrize(("config", "name"), [(TINY, "prior_u"), (COUNTING, "seen")])
def test_a_film_has_the_pictures_at_their_steps_and_ends_with_the_trained_model(config, name):
    whole = fit_run(replace(config, steps=10, pictures=2))
    assert whole.samples["film_step"].tolist() == [6, 10]
    film = whole.samples[f"film_{name}"]
    assert film.dtype == "uint8"
    assert not np.array_equal(*film)
    if name in whole.samples:
        assert np.array_equal(film[-1], whole.samples[name])
    assert same(replace(fit_run(replace(config, steps=10)), config=whole.config), without_film(whole))


def without_film(result):
    return replace(result, samples={k: v for k, v in result.samples.items() if not k.startswith("film_")})


# --- Stops ---------------------------------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_stops_the_run_with_step_and_term():
    with pytest.raises(engine.RunFailedError, match=r"counted full p\(x\|u,n\) seed 0: step \d: the term .* became"):
        fit_run(replace(COUNTING, learning_rate=1e30))
    result = fit_run(replace(COUNTING, learning_rate=1e30, may_diverge=True))
    assert result.samples["diverged_at"] > 0


@pytest.mark.parametrize(("at", "term"), [("q_n", "q_0"), ("p_glimpse", "R_1")])
def test_the_error_names_the_term_at_its_number(at, term):
    state = State.start(engine.initial_model(COUNTING, "cpu"))
    with torch.no_grad():
        getattr(state.model, at).out.bias.fill_(math.nan)
    with pytest.raises(NonFiniteLossError) as caught:
        next(windows(state, models.kind(COUNTING), load("counted", "train"), COUNTING.training(), 0))
    assert caught.value.step == 1
    assert caught.value.term in ("R", "A", term)
