"""What is added later leaves what is there as it is: fields, data sets, models, objectives and studies."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import field, make_dataclass, replace
from pathlib import Path

import pytest
from conftest import DATA
from tiny import TINY

import condkl_studies
from condkl import objectives
from condkl_studies import RunConfig, config, data, fit_run, plans, store
from condkl_studies.__main__ import main
from condkl_studies.cache import Cache
from condkl_studies.config import config_from
from condkl_studies.synthetic import known_model

GROWN = make_dataclass("Grown", [("warmth", float, field(default=0.0))], bases=(RunConfig,), frozen=True)
RECORDED = ("controlled", "cures", "long", "main", "rates", "tuning", "weights")
ALL = [(name, config) for name in RECORDED for config in plans.study(name).configs]


def grown(some, **more):
    return GROWN(**vars(some), **more)


@pytest.fixture
def published(monkeypatch):
    """The records that come with the project."""
    monkeypatch.setenv("CONDKL_DATA", str(DATA))
    return store.runs_folder()


@pytest.fixture
def later(monkeypatch):
    """A version of the project whose configs have one field more."""
    monkeypatch.setattr(config, "RunConfig", GROWN)


def test_the_ids_of_the_plans_are_the_names_of_the_recorded_folders_and_every_record_reads(published):
    assert len(ALL) == 174
    assert {f"{name}/{some.id}" for name, some in ALL} == {
        str(file.parent.relative_to(published)) for name in RECORDED for file in published.glob(f"{name}/*/config.json")
    }
    assert [store.read(name, some).config for name, some in ALL] == [some for _, some in ALL]


def test_a_field_more_changes_no_id_and_every_record_reads_with_its_default(published, later):
    assert [grown(some).id for _, some in ALL] == [some.id for _, some in ALL]
    assert [store.read(name, grown(some)).config for name, some in ALL] == [grown(some) for _, some in ALL]


def test_another_value_of_a_new_field_is_another_run_that_is_written_and_read_back(results, later):
    warm = grown(TINY, warmth=2.0)
    assert warm.id != TINY.id
    assert warm.settings() == TINY.settings() | {"warmth": 2.0}
    assert config_from(json.loads(warm.canonical())) == warm
    folder = store.write("tiny", replace(results[0], config=warm))
    assert json.loads((folder / "config.json").read_text())["warmth"] == 2.0
    assert store.read("tiny", warm).config == warm
    assert "warmth" not in json.loads((store.write("tiny", results[0]) / "config.json").read_text())


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda settings: settings.pop("validate_every"), r"missing: \['validate_every'\]"),
        (lambda settings: settings.update(warmth=2.0), r"unknown: \['warmth'\]"),
    ],
    ids=["lacks a field", "has an unknown one"],
)
def test_a_record_with_other_fields_is_refused_by_their_names(change, named, results, monkeypatch):
    settings = TINY.settings()
    change(settings)
    with monkeypatch.context() as there:
        there.setattr(RunConfig, "settings", lambda self: settings)
        folder = store.write("tiny", results[0])
    with pytest.raises(store.RecordError, match=rf"config.json: settings: expected .*{named}"):
        store.read_folder(folder)


@pytest.mark.parametrize(
    ("spellings", "written"),
    [
        (("lambda=0.70", "lambda=0.7"), "lambda_0.7"),
        (("lambda=0.50", "lambda=.5"), "half"),
        (("lambda=0", "modified"), "modified"),
        (("lambda=1", "lambda=1.0", "full"), "full"),
        (("lambda=0.90+kl_warm_up", "lambda=.9+kl_warm_up"), "lambda_0.9+kl_warm_up"),
        (("lambda=0.5+free_bits", "lambda=.50+free_bits"), "lambda_0.5+free_bits"),
        (("lambda=1+free_bits", "free_bits"), "free_bits"),
        (("lambda=1e-5", "lambda=0.00001"), "lambda_1e-05"),
    ],
)
def test_spellings_of_one_weight_are_one_run_that_the_first_protocol_writes_as_it_did(spellings, written):
    found = [replace(TINY, objective=name, protocol=1) for name in spellings]
    assert len(set(found)) == len({some.id for some in found}) == 1
    assert found[0].settings()["objective"] == written
    assert config_from(json.loads(found[0].canonical())) == found[0]


@pytest.mark.parametrize("name", ["lambda=2", "lambda=nan", "lambda=", "lambda_0.7", "half", "Full"])
def test_a_wrong_spelling_is_refused_with_the_right_one(name):
    with pytest.raises(ValueError, match=rf"objective: expected .*lambda=0\.7 .*got '{name}'"):
        replace(TINY, objective=name)


def made_by(cache):
    return Cache(cache / TINY.id).peek()["made_by"]


def test_an_edit_of_the_sources_that_changes_no_version_leaves_states_good(folder, cache):
    fit_run(TINY, cache)
    packages = Path(condkl_studies.__file__).parents[1]
    for file in (shutil.copytree(packages, folder / "edited") / "condkl_studies").rglob("*.py"):
        file.write_text(file.read_text("utf-8").replace('"""', '"""Edited: ', 1), "utf-8")
    there = f"tiny.Path({str(cache / 'b')!r})"
    code = f"import tiny; assert tiny.store.__doc__.startswith('Edited'); tiny.train(tiny.TINY, {there})"
    path = os.pathsep.join([str(folder / "edited"), str(Path(__file__).parent)])
    subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": path}, check=True)
    assert made_by(cache / "b") == made_by(cache)
    assert set(made_by(cache)) == {"protocol", "packages", "machine", "compiled"}


@pytest.fixture
def add(tmp_path, monkeypatch):
    """Add a module to a package, as a new file would, in a folder on the package's path."""
    added = []

    def new_file(package, text, name="added"):
        place = tmp_path / package.__name__
        place.mkdir()
        (place / f"{name}.py").write_text(f'"""Added by a test."""\n\n{text}\n')
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(place)])
        added.append((package, name))

    yield new_file
    for package, name in added:
        sys.modules.pop(f"{package.__name__}.{name}", None)
        vars(package).pop(name, None)


@pytest.fixture
def unchanged():
    """Holds that every study has the runs that it had."""
    before = {name: [some.id for some in study.configs] for name, study in plans.studies().items()}
    yield
    now = {name: [some.id for some in study.configs] for name, study in plans.studies().items()}
    assert {name: now[name] for name in before} == before


IMAGES = """
import torch

def images(split):
    return torch.full((30, 9), 128, dtype=torch.uint8)
"""
MODEL = """
from condkl_studies.synthetic import KnownModel

model = KnownModel(spread=0.4)
images = model.images
"""
OBJECTIVE = """
from condkl.objectives import Interpolated

objective = Interpolated(0.25)
"""
STUDY = """
from dataclasses import replace

from condkl_studies.plans import BASE, Study

STUDY = Study("A question.", tuple(replace(BASE, seed=seed, steps=7) for seed in range(2)))
"""


@pytest.mark.usefixtures("unchanged")
def test_a_data_set_is_added_as_one_module(add):
    add(data, IMAGES)
    assert "added" in data.names()
    assert data.load("added", "test").shape == (30, 9)
    result = fit_run(replace(TINY, data="added"))
    assert result.metrics["step"].tolist() == [2, 4, 6]
    assert result.samples["prior_u"].shape == (8, 8, 9)


@pytest.mark.usefixtures("unchanged")
def test_a_known_model_is_added_as_one_module(add):
    add(data, MODEL)
    assert "added" in data.names()
    x = data.load("added", "test")[:3] / 255
    assert (known_model("added").log_evidence(x) < 0).all()
    assert len(fit_run(replace(TINY, data="added")).metrics) == 3


@pytest.mark.usefixtures("unchanged")
def test_an_objective_is_added_as_one_module(add):
    add(objectives, OBJECTIVE)
    assert "added" in objectives.names()
    result = fit_run(replace(TINY, objective="added"))
    assert result.metrics.equals(fit_run(replace(TINY, objective="lambda=0.25")).metrics)
    assert result.config.id != replace(TINY, objective="lambda=0.25").id
    store.write("tiny", result)
    assert store.read("tiny", result.config).config.objective == "added"


@pytest.mark.usefixtures("unchanged")
def test_a_study_is_added_as_one_module(add, capsys):
    add(plans, STUDY)
    assert plans.study("added").steps == 14
    assert main(["list"]) == 0
    assert "added          2 runs,        14 steps" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("find", "message"),
    [
        (lambda name: data.load(name, "test"), "data: expected one of .*mnist"),
        (known_model, "data: expected one of .*tight"),
        (plans.study, "study: expected one of .*main"),
    ],
)
@pytest.mark.parametrize("name", ["nothing", "", "__init__", "os.path", "../mnist"])
def test_a_name_that_no_module_has_is_refused_with_those_that_are(find, message, name):
    with pytest.raises(ValueError, match=message):
        find(name)


def test_a_data_set_without_a_known_model_is_refused():
    with pytest.raises(ValueError, match="expected a data set with a known model, as 'tight', got 'mnist'"):
        known_model("mnist")
