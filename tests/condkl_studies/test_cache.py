"""The saved state of a run: whole or not there, whatever becomes of its files, and one process at a time on it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny import TINY, left, same

from condkl_studies import engine, files, fit_run
from condkl_studies.cache import Cache, RunBusyError, cache_folder
from condkl_studies.config import PROTOCOL
from condkl_studies.engine import initial_model, trained
from condkl_studies.machine import machine
from condkl_studies.state import State

STOPPED = replace(TINY, steps=12)
FILE = "state.safetensors"
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
    assert [name for name in names if name != "lock"] == [FILE]


def truncate(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip(file):
    raw = bytearray(file.read_bytes())
    raw[-5] ^= 1
    file.write_bytes(raw)


def rewrite(file, change):
    """Write the file as it is but for a change of its tensors and header, a whole safetensors file again."""
    with safe_open(file, "pt") as opened:
        header = opened.metadata()
    tensors = load_file(file)
    change(tensors, header)
    save_file(tensors, file, header or None)


def with_row_changed(tensors, header):
    said = json.loads(header["state"])
    said["rows"][0]["elbo"] = -1.0
    header["state"] = json.dumps(said)


BROKEN = {
    "truncated": truncate,
    "altered weights": flip,
    "altered name": lambda file: file.write_bytes(file.read_bytes().replace(b'"first.', b'"f1rst.', 1)),
    "empty": lambda file: file.write_bytes(b""),
    "zeros": lambda file: file.write_bytes(b"\0" * 100),
    "no header": lambda file: file.write_bytes(b"\xff\xfe\xfa"),
    "gone": Path.unlink,
    "weights of another state": lambda file: rewrite(file, lambda tensors, _: [t.add_(1) for t in tensors.values()]),
    "a tensor gone": lambda file: rewrite(file, lambda tensors, _: tensors.popitem()),
    "no description": lambda file: rewrite(file, lambda _, header: header.clear()),
    "truncated description": lambda file: rewrite(file, lambda _, header: header.update(state=header["state"][:99])),
    "description no object": lambda file: rewrite(file, lambda _, header: header.update(state="[1]")),
    "altered row": lambda file: rewrite(file, with_row_changed),
    "no seal": lambda file: rewrite(file, lambda _, header: header.pop("seal")),
}


@pytest.fixture
def break_it(stopped):
    """Break the saved state in that way; it is not the file that it was."""

    def broken(kind):
        file = stopped / FILE
        before = file.read_bytes()
        BROKEN[kind](file)
        assert not file.exists() or file.read_bytes() != before

    return broken


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_state_is_not_used(kind, stopped, break_it):
    break_it(kind)
    state, seconds = Cache(stopped, MADE_BY).load(initial_model(STOPPED))
    assert (state.step, state.rows, seconds) == (0, [], 0.0)
    for one, other in zip(tensors(state), tensors(State.start(initial_model(STOPPED))), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("kind", ["truncated", "gone", "truncated description"])
def test_a_run_with_a_broken_state_starts_anew_and_gets_the_same_numbers(kind, half_way, break_it, cache):
    break_it(kind)
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
    (stopped / f".{FILE}.partial").write_bytes(b"half")
    assert Cache(stopped, MADE_BY).load(initial_model(STOPPED))[0].step == 6
    assert same(fit_run(STOPPED, cache), half_way[2])
    assert [path.name for path in stopped.glob("*.safetensors*")] == [FILE]


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
    assert written == [f".{FILE}.partial"]
