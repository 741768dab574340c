"""The saved state of a run: whole or not there, whatever becomes of its files, and one process at a time on it."""

import json
import shutil
from dataclasses import replace

import pytest
import tiny
import torch
from tiny import TINY, left, same

from condkl_studies import engine, files, fit_run
from condkl_studies.cache import Cache, RunBusyError, cache_folder
from condkl_studies.config import PROTOCOL
from condkl_studies.engine import initial_model, machine, trained
from condkl_studies.training import State

STOPPED = replace(TINY, steps=12)
MADE_BY = {"protocol": PROTOCOL, "packages": engine._packages(), "machine": machine(), "compiled": False}


@pytest.fixture(scope="module")
def half_way(tmp_path_factory):
    """The cache of a run that was stopped after half of its steps, and what it is to become."""
    folder = tmp_path_factory.mktemp("cache")
    cache, state = Cache(folder / STOPPED.id, MADE_BY), State.start(initial_model(STOPPED))
    cache.folder.mkdir()
    for _ in trained(STOPPED, state):
        cache.save(state, 1.5)
        if state.step == 6:
            break
    return folder, state, fit_run(STOPPED)


@pytest.fixture
def stopped(half_way, cache):
    shutil.copytree(half_way[0], cache)
    return cache / STOPPED.id


def tensors(state):
    return [*state.model.parameters(), *state.first, *state.second]


def test_a_state_is_loaded_as_it_was_saved(half_way, stopped):
    saved = half_way[1]
    state, seconds = Cache(stopped, MADE_BY).load(initial_model(STOPPED))
    assert (state.step, state.rows, seconds) == (6, saved.rows, 1.5)
    assert [row["step"] for row in state.rows] == [2, 4, 6]
    for one, other in zip(tensors(state), tensors(saved), strict=True):
        assert torch.equal(one, other)
    assert any(v.any() for v in state.second)


def test_a_run_goes_on_from_its_state(half_way, stopped, cache, monkeypatch):
    starts = []
    monkeypatch.setattr(
        "condkl_studies.engine.trained", lambda c, s, *rest: (starts.append(s.step), trained(c, s, *rest))[1]
    )
    result = fit_run(STOPPED, cache)
    assert starts == [6]
    assert same(result, half_way[2])
    assert result.provenance["seconds"]["training"] >= 1.5


def test_a_run_whose_state_is_its_last_is_only_evaluated_again(half_way, cache):
    first = fit_run(STOPPED, cache)
    before = left(cache, STOPPED)
    again = fit_run(STOPPED, cache)
    assert same(first, half_way[2])
    assert same(again, first)
    assert left(cache, STOPPED) == before


def test_only_the_last_state_is_kept(cache):
    fit_run(STOPPED, cache)
    names = sorted(path.name for path in (cache / STOPPED.id).iterdir())
    assert [name for name in names if name != "lock"] == ["state.json", "step-00000012.safetensors"]


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    raw = bytearray(path.read_bytes())
    raw[-5] ^= 1
    path.write_bytes(raw)


def edit(folder, change):
    said = json.loads((folder / "state.json").read_text())
    change(said)
    (folder / "state.json").write_text(json.dumps(said))


def of_another_run(folder):
    edit(folder, lambda said: said.update(file="step-00000099.safetensors"))


BROKEN = {
    "truncated weights": lambda folder: truncate(folder / "step-00000006.safetensors"),
    "altered weights": lambda folder: flip(folder / "step-00000006.safetensors"),
    "empty weights": lambda folder: (folder / "step-00000006.safetensors").write_bytes(b""),
    "weights gone": lambda folder: (folder / "step-00000006.safetensors").unlink(),
    "another file named": of_another_run,
    "truncated description": lambda folder: truncate(folder / "state.json"),
    "empty description": lambda folder: (folder / "state.json").write_bytes(b""),
    "description of zeros": lambda folder: (folder / "state.json").write_bytes(b"\0" * 100),
    "description no text": lambda folder: (folder / "state.json").write_bytes(b"\xff\xfe\xfa"),
    "altered row": lambda folder: edit(folder, lambda said: said["rows"][0].update(elbo=-1.0)),
    "no seal": lambda folder: edit(folder, lambda said: said.pop("seal")),
    "description no object": lambda folder: (folder / "state.json").write_text("[1]"),
    "description gone": lambda folder: (folder / "state.json").unlink(),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_state_is_not_used(kind, stopped):
    BROKEN[kind](stopped)
    state, seconds = Cache(stopped, MADE_BY).load(initial_model(STOPPED))
    assert (state.step, state.rows, seconds) == (0, [], 0.0)
    for one, other in zip(tensors(state), tensors(State.start(initial_model(STOPPED))), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("kind", ["truncated weights", "weights gone", "truncated description"])
def test_a_run_with_a_broken_state_starts_anew_and_gets_the_same_numbers(kind, half_way, stopped, cache):
    BROKEN[kind](stopped)
    assert same(fit_run(STOPPED, cache), half_way[2])


@pytest.mark.parametrize("what", MADE_BY)
def test_a_state_that_other_versions_or_another_machine_made_is_not_gone_on_from(
    what, half_way, stopped, cache, monkeypatch
):
    other = Cache(stopped, MADE_BY | {what: "another"})
    assert other.load(initial_model(STOPPED))[0].step == 0
    other.save(half_way[1], 1.5)
    starts = []
    monkeypatch.setattr(
        "condkl_studies.engine.trained", lambda c, s, *rest: (starts.append(s.step), trained(c, s, *rest))[1]
    )
    assert same(fit_run(STOPPED, cache), half_way[2])
    assert starts == [0]


def test_a_cleared_state_is_gone_and_can_be_cleared_again(stopped):
    for _ in range(2):
        Cache(stopped).clear()
        assert Cache(stopped).peek() is None
        assert list(stopped.glob("*.safetensors")) == []


def test_what_a_death_left_half_written_beside_the_state_does_no_harm(half_way, stopped, cache):
    for name in (".state.json.partial", ".step-00000006.safetensors.partial", ".step-00000008.safetensors.partial"):
        (stopped / name).write_bytes(b"half")
    (stopped / "step-00000004.safetensors").write_bytes(b"the state before, not yet deleted")
    assert Cache(stopped, MADE_BY).load(initial_model(STOPPED))[0].step == 6
    assert same(fit_run(STOPPED, cache), half_way[2])
    assert [path.name for path in stopped.glob("*.safetensors")] == ["step-00000012.safetensors"]


def test_two_processes_do_not_train_one_run(processes, cache):
    held = processes.Event()
    other = processes.Process(target=tiny.hold, args=(TINY, cache, held))
    other.start()
    try:
        assert held.wait(120)
        with pytest.raises(RunBusyError, match=rf"{TINY.id}: another process is training this run"):
            fit_run(TINY, cache)
        fit_run(replace(TINY, seed=1, steps=2), cache)  # another run is free
    finally:
        other.kill()
        other.join()
    fit_run(replace(TINY, steps=2), cache)
    assert fit_run(TINY, cache).config == TINY  # the hold ended with the process


def test_the_folder_is_beside_the_data_or_where_the_environment_says(folder, monkeypatch):
    assert cache_folder() == folder / "cache"
    monkeypatch.delenv("CONDKL_CACHE")
    assert cache_folder() == folder / ".cache" / "runs"


def test_a_state_is_never_written_in_place(stopped, monkeypatch):
    written = []
    monkeypatch.setattr(files.Path, "write_bytes", lambda path, raw: written.append(path.name) or len(raw))
    monkeypatch.setattr(files.Path, "replace", lambda path, target: target)
    Cache(stopped).save(State.start(initial_model(STOPPED)), 0.0)
    assert written == [".step-00000000.safetensors.partial", ".state.json.partial"]
