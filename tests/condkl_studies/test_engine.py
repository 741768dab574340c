"""One run: the same numbers again and in any process, the whole record, and an end with a reason when it diverges."""

import json
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import DIVERGING, PIXELS, SIZES, TINY, same

from condkl.objectives import names
from condkl.vae import HierarchicalVAE
from condkl_studies import RunFailedError, fit_run
from condkl_studies.config import config_from
from condkl_studies.engine import initial_model
from condkl_studies.machine import machine
from condkl_studies.models import hierarchical


def test_a_run_repeats_itself_and_leaves_the_global_randomness_alone(results):
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    assert same(fit_run(TINY), results[0])
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_row_for_each_window_with_the_validation_where_it_is_due(results):
    metrics = results[0].metrics
    assert metrics["step"].tolist() == [2, 4, 6]
    due = ["val_elbo", "val_R", "val_A", "val_C", "active_v", "active_u"]
    assert metrics[due].isna().any(axis=1).tolist() == [True, False, False]  # every second row, and the last
    assert np.isfinite(metrics.drop(columns=due)).all(axis=None)
    for kind in ("", "val_"):
        R, A, C = (metrics[kind + name] for name in ("R", "A", "C"))
        np.testing.assert_allclose(metrics[f"{kind}elbo"], R - A - C, rtol=1e-5)


def test_the_samples_are_small_and_of_the_shapes_that_they_are_said_to_have(results):
    samples = results[0].samples
    shapes = {name: array.shape for name, array in samples.items()}
    assert shapes == {
        "test": (4,),
        "variance_v": (2,),
        "kl_v": (2,),
        "kl_u": (3,),
        "prior_u": (8, 8, PIXELS),
        "prior_v": (8, 8, PIXELS),
        "likelihood_image": (4,),
        "log_likelihood": (4,),
    }
    elbo, R, A, C = samples["test"]
    assert elbo == pytest.approx(R - A - C, rel=1e-5)
    assert samples["kl_v"].sum() == pytest.approx(A, rel=1e-4)  # A and C of one draw of the same latents
    assert samples["kl_u"].sum() == pytest.approx(C, rel=1e-4)
    assert samples["likelihood_image"].tolist() == [0, 6, 13, SIZES["test"] - 1]


def test_in_prior_samples_rows_share_v_and_columns_share_the_noise_of_u(monkeypatch):
    monkeypatch.setattr(HierarchicalVAE, "generate", lambda self, noise: torch.cat(list(noise), 1).sigmoid())
    samples = fit_run(replace(TINY, steps=1, every=1)).samples  # its pixels now show the noise: two of v, three of u
    v, new_u = np.split(samples["prior_u"], [2], axis=2)
    new_v, u = np.split(samples["prior_v"], [2], axis=2)
    assert (v == v[:, :1]).all()
    assert (u == u[:1]).all()
    for draws in (v[:, 0], u[0], new_u.reshape(64, -1), new_v.reshape(64, -1)):
        assert len({draw.tobytes() for draw in draws}) == len(draws)


def test_runs_with_one_seed_start_from_the_same_weights_whatever_they_follow():
    first = [fit_run(replace(TINY, objective=name, steps=1, every=1)).metrics.iloc[0] for name in ("full", "modified")]
    assert first[0][["elbo", "R", "A", "C"]].equals(first[1][["elbo", "R", "A", "C"]])


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"skip": True},
        {"residual": True},
        {"objective": "lambda=0.5"},
        {"learning_rate": 2e-3},
        {"schedule": "constant"},
        {"phi_rate": 2.0},
        {"batch_size": 21},
    ],
)
def test_a_setting_of_the_training_changes_its_numbers(change, results):
    other = fit_run(replace(TINY, **change)).metrics
    assert other["elbo"].iloc[-1] != results[0].metrics["elbo"].iloc[-1]


@pytest.mark.parametrize(
    "change",
    [
        {"gradient_batches": 0},
        {"noise_batches": 2},
        {"validate_every": 1},
        {"likelihood_images": 0, "likelihood_samples": 0},
    ],
)
def test_a_setting_of_the_record_leaves_the_training_as_it_is(change, results):
    columns = ["step", "elbo", "R", "A", "C"]
    assert fit_run(replace(TINY, **change)).metrics[columns].equals(results[0].metrics[columns])


def test_the_provenance_says_what_stands_behind_the_numbers(results):
    provenance = results[0].provenance
    assert set(provenance) == {
        *("commit", "protocol", "packages", "python", "machine", "device", "dtype", "compiled", "compiler", "threads"),
        *("seed", "seconds", "finished", "products"),
    }
    assert provenance["protocol"] == TINY.protocol
    assert provenance["machine"] == machine()
    assert provenance["packages"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert (provenance["compiled"], provenance["threads"], provenance["seed"]) == (False, 1, 0)
    assert (provenance["device"], provenance["dtype"]) == (str(torch.zeros(()).device), "torch.float32")
    assert json.loads(json.dumps(provenance)) == provenance


def test_weights_that_the_very_last_step_broke_are_not_recorded(monkeypatch):
    monkeypatch.setattr(hierarchical, "mean_terms", lambda *args: {"elbo": math.nan, "R": math.nan, "A": 1.0, "C": 1.0})
    with pytest.raises(RunFailedError, match=r"step 6: the term elbo on the validation images became nan"):
        fit_run(replace(TINY, validate_every=100))


def test_threads_of_one_process_start_from_the_weights_of_their_seeds():
    alone = {seed: initial_model(replace(TINY, seed=seed)) for seed in range(4)}
    with ThreadPoolExecutor(4) as executor:
        seeds = [seed for _ in range(10) for seed in range(4)]
        for seed, model in zip(
            seeds, executor.map(lambda seed: initial_model(replace(TINY, seed=seed)), seeds), strict=True
        ):
            for one, other in zip(model.parameters(), alone[seed].parameters(), strict=True):
                assert torch.equal(one, other)


@pytest.mark.parametrize("name", [*names(), "lambda=0.5"])
def test_a_loss_that_is_not_finite_ends_the_run_with_step_term_and_config(name, cache):
    config = replace(DIVERGING, objective=name)
    with pytest.raises(RunFailedError, match=r"step \d+: the term (R|A|C|elbo) became (nan|inf|-inf)") as caught:
        fit_run(config, cache)
    message = str(caught.value)
    assert message.startswith(config.label)
    assert config_from(json.loads(message.split("Config: ")[1])) == config


def test_the_real_digits_train_too():
    result = fit_run(replace(TINY, data="mnist", steps=2, likelihood_images=0, likelihood_samples=0))
    assert result.samples["prior_u"].shape == (8, 8, 784)
    assert math.isfinite(result.metrics["val_elbo"].iloc[-1])


def test_a_run_without_a_cache_leaves_no_file(folder):
    before = sorted(Path(folder).rglob("*"))
    fit_run(replace(TINY, steps=2))
    assert sorted(Path(folder).rglob("*")) == before


def test_a_config_of_an_earlier_protocol_is_not_trained_under_its_name():
    with pytest.raises(ValueError, match=r"protocol: expected 2, got 1: .*protocol=2"):
        fit_run(replace(TINY, protocol=1))
