"""The profile: every part of a step and of a run is found, and a run that is timed is the run."""

import json

import pytest
from test_bench import make

from benchmarks import profile
from condkl_studies import RunConfig, fit_run

CONFIG = RunConfig(
    "full",
    skip=False,
    seed=0,
    steps=8,
    data="tight",
    latents=(2, 3),
    hidden=(8, 8),
    every=2,
    gradient_batches=1,
    validate_every=2,
)


def test_the_parts_of_a_step_are_shares_that_add_up_to_one():
    found = profile.step_parts(make(window=5), compiled=False)
    assert set(found) == set(profile.PARTS)
    assert sum(found.values()) == pytest.approx(1)
    assert found["products"] > 0  # of the eager step, whose loops have other names


def test_a_timed_run_knows_its_parts_and_leaves_the_functions_as_they_were():
    before = fit_run(CONFIG)
    found = profile._timed_run(CONFIG, compiled=False)
    assert set(found) == {"first window", "steps", "gradients of the terms", "validation", "states", "end"}
    assert all(value > 0 for value in found.values())
    assert fit_run(CONFIG).metrics.equals(before.metrics)


def test_the_command_prints_and_records(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(profile, "make_problem", make)
    monkeypatch.setattr(profile, "step_parts", lambda _: {"products": 1.0})
    monkeypatch.setattr(profile, "run_parts", lambda config: {"steps": 2.0, "steps_a_second": config.steps / 2.0})
    monkeypatch.setattr(profile, "data_folder", lambda: tmp_path)
    assert profile.main() == 0
    (path,) = tmp_path.glob("bench/*-profile.json")
    assert json.loads(path.read_text())["run"]["steps_a_second"] == 1500.0
    assert "products 1" in capsys.readouterr().out
