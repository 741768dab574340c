"""A state is saved whole, found broken if it is, and training goes on from it as if it had not stopped."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_cache import BROKEN
from test_training import PIXELS, PLAN, make, same_weights, stripes, train

from condkl.objectives import Objective, full, modified
from condkl.vae import HierarchicalVAE
from condkl_studies.state import State, StateError, description
from condkl_studies.training import fit, windows


def tensors(state):
    return [*state.model.parameters(), *state.first, *state.second]


def after(windows_done, path=None):
    """The state after so many windows of the plan, saved if there is a path."""
    state = State.start(make())
    loop = windows(state, full, stripes(), PLAN, 3)
    for _ in range(windows_done):
        next(loop)
    if path:
        state.film["seen"] = torch.arange(6, dtype=torch.uint8).view(2, 3)
        state.save(path, note="half way")
    return state


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new folder" / "state.safetensors"


def test_a_state_is_loaded_as_it_was_saved_and_training_goes_on_to_the_same_bits(path):
    saved, want = after(2, path), after(5)
    model = make(seed=1)
    state = State.load(path, model)
    assert state.model is model
    assert (state.step, state.rows) == (6, saved.rows)
    assert torch.equal(state.film["seen"], saved.film["seen"])
    assert all(torch.equal(one, other) for one, other in zip(tensors(state), tensors(saved), strict=True))
    assert description(path)["note"] == "half way"
    list(windows(state, full, stripes(), PLAN, 3))
    assert state.rows == want.rows
    assert all(torch.equal(one, other) for one, other in zip(tensors(state), tensors(want), strict=True))


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_state_is_refused_by_the_name_of_its_file_and_changes_no_model(kind, path):
    after(1, path)
    BROKEN[kind](path)
    model = make(seed=1)
    before = copy.deepcopy(model)
    with pytest.raises(StateError, match=path.name):
        State.load(path, model)
    assert same_weights(model, before)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda: make((2, 4)), r"first\..*: torch.float32 of shape .*, got torch.float32 of shape .*Make the model as"),
        (lambda: make((2, 3, 4)), "expected the parameters of this model, first.* got None"),
        (lambda: make().double(), "torch.float64 of shape .*, got torch.float32"),
    ],
)
def test_the_state_of_another_model_is_refused(other, message, path):
    after(1, path)
    with pytest.raises(StateError, match=message):
        State.load(path, other())


def test_a_missing_state_says_so(path):
    with pytest.raises(StateError, match=r"state\.safetensors: no such file\. Save a state there first"):
        State.load(path, make())


# --- fit ------------------------------------------------------------------------------------------------------------


def fitted(path, model=None, plan=PLAN, seed=3):
    return fit(make() if model is None else model, full, stripes(), plan, seed, progress=False, checkpoint=path)


@pytest.mark.parametrize("kind", [Path, str])
def test_a_fit_that_was_interrupted_goes_on_at_the_same_call_to_the_same_bits(kind, path, monkeypatch):
    want, save, saves = fitted(None), State.save, iter(range(10))

    def interrupted(state, *args, **more):
        save(state, *args, **more)
        if next(saves) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(State, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fitted(kind(path))
    assert description(path)["step"] == 6
    again = fitted(kind(path))
    assert again.history.equals(want.history)
    assert same_weights(again.model, want.model)
    assert description(path)["step"] == 13
    finished = fitted(kind(path), make(seed=1))  # nothing is left to train
    assert finished.history.equals(want.history)
    assert same_weights(finished.model, want.model)


@pytest.mark.parametrize("change", [{"seed": 4}, {"plan": replace(PLAN, steps=20)}])
def test_a_fit_goes_on_from_no_other_plan_or_seed(change, path):
    fitted(path)
    with pytest.raises(ValueError, match=r"checkpoint: expected a state of .*'seed'.*Choose another file, delete"):
        fitted(path, **change)


@pytest.mark.parametrize("change", [{"objective": modified}, {"images": 255 - stripes()}])
def test_a_fit_goes_on_from_no_other_objective_or_images(change, path):
    fitted(path)
    given = {"objective": full, "images": stripes()} | change
    with pytest.raises(ValueError, match=r"checkpoint: expected a state of .*Choose another file, delete"):
        fit(make(), given["objective"], given["images"], PLAN, 3, progress=False, checkpoint=path)


def test_a_fit_by_an_objective_without_a_text_of_its_own_goes_on(path):
    class Plain(Objective):
        def follow(self, model, x, noise, weight):
            return full.follow(model, x, noise, weight)

    want = fit(make(), Plain(), stripes(), PLAN, 3, progress=False, checkpoint=path)
    again = fit(make(seed=1), Plain(), stripes(), PLAN, 3, progress=False, checkpoint=path)  # nothing is left
    assert same_weights(again.model, want.model)


def test_a_name_is_no_objective():
    with pytest.raises(TypeError, match="objective: expected an Objective, got 'full'"):
        fit(make(), "full", stripes(), PLAN, 3, progress=False)


def test_a_fit_without_a_checkpoint_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fitted(None)
    assert list(tmp_path.rglob("*.safetensors")) == []


# --- Frozen parameters ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", ["theta", "phi", "omega"])
def test_frozen_parameters_stay_and_the_others_are_trained(group):
    """Each parameter's first step depends on its own gradient alone: that others are frozen changes nothing."""
    model, free = make(), make()
    for parameter in getattr(model, group)():
        parameter.requires_grad_(False)
    frozen = {id(p) for p in getattr(model, group)()}
    for one in (model, free):
        train(model=one, steps=1)
    start = make()
    for p, of_free, before in zip(model.parameters(), free.parameters(), start.parameters(), strict=True):
        assert torch.equal(p, before if id(p) in frozen else of_free)
    assert not any(torch.equal(p, before) for p, before in zip(free.parameters(), start.parameters(), strict=True))


def test_a_model_of_which_all_is_frozen_is_refused():
    with pytest.raises(ValueError, match="model: expected a parameter that requires a gradient, got none"):
        train(model=make().requires_grad_(False))


@pytest.mark.parametrize("name", ["gradient_batches", "noise_batches"])
def test_what_pulls_on_a_frozen_theta_is_not_recorded(name):
    model = HierarchicalVAE((2, 3), 8, pixels=PIXELS)
    model.q_v.requires_grad_(False)
    with pytest.raises(ValueError, match=f"{name}: expected 0 where parameters of theta are frozen"):
        train(model=model, **{name: 2})
