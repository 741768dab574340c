"""Configs and their ids: one id for one set of numbers, whatever the order of writing, and read back whole."""

import hashlib
import json
import re
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import TINY

from condkl import objectives
from condkl_studies import RunConfig, config, data, plans
from condkl_studies.config import PROTOCOL, PROTOCOLS, canonical_json, config_from
from condkl_studies.schedules import SCHEDULES

COUNTS = st.integers(1, 10**6)
RATES = st.floats(1e-9, 1e3)
PLAIN = st.builds(
    RunConfig,
    objective=st.sampled_from([*objectives.names(), "lambda=0.5", "lambda=0.7", "lambda=0.7+free_bits"])
    | st.floats(0, 1).map("lambda={}".format),
    skip=st.booleans(),
    seed=st.integers(0, 2**40),
    steps=COUNTS,
    data=st.sampled_from(data.names()),
    latents=st.lists(COUNTS, min_size=1, max_size=4).map(tuple),
    hidden=st.tuples(COUNTS, COUNTS),
    batch_size=COUNTS,
    learning_rate=RATES,
    schedule=st.sampled_from(sorted(SCHEDULES)),
    phi_rate=RATES,
    every=COUNTS,
    validate_every=COUNTS,
)
CONFIGS = PLAIN | PLAIN.map(lambda some: replace(some, skip=False, residual=True))
OTHER = {
    "objective": "modified",
    "skip": True,
    "seed": 1,
    "steps": 7,
    "data": "mnist",
    "latents": (2, 3, 4),
    "hidden": (8, 9),
    "batch_size": 21,
    "learning_rate": 2e-3,
    "schedule": "constant",
    "phi_rate": 5.0,
    "every": 3,
    "gradient_batches": 2,
    "validate_every": 3,
    "likelihood_images": 5,
    "likelihood_samples": 11,
    "protocol": PROTOCOL + 1,
    "residual": True,
    "noise_batches": 2,
    "may_diverge": True,
    "pictures": 2,
}
COUNTING = replace(
    TINY, model="counting", data="two_digits", latents=(2,), objective="kl_warm_up", until=0.5, gradient_batches=0
)
OTHER_OF_COUNTING = {
    "pixels": "gaussian",
    "scale_prior": 0.2,
    "count_ratio": 0.5,
    "glimpse_bias": 0.0,
    "encoder_at_prior": True,
    "until": 0.25,
    "estimator": "score",
}


@given(CONFIGS)
def test_a_config_read_from_its_json_is_the_same_with_the_same_id(some):
    again = config_from(json.loads(some.canonical()))
    assert again == some
    assert again.id == some.id


@given(CONFIGS, st.randoms(use_true_random=False))
def test_the_order_of_the_settings_does_not_matter(some, random):
    settings = list(some.settings().items())
    random.shuffle(settings)
    assert canonical_json(dict(settings)) == some.canonical()
    assert config_from(dict(settings)).id == some.id


@given(CONFIGS, CONFIGS)
def test_ids_are_equal_exactly_when_configs_are(one, other):
    assert (one.id == other.id) == (one == other)
    assert replace(one).id == one.id


def test_the_canonical_form_is_written_out_and_its_hash_is_the_id():
    text = RunConfig("full", skip=False, seed=3, steps=20).canonical()
    assert text == (
        '{"batch_size":100,"data":"mnist","every":500,"gradients":0,"hidden":[200,100],"latents":[50,100],'
        '"learning_rate":0.001,"likelihood_images":0,"likelihood_samples":0,"objective":"full","phi_rate":1.0,'
        f'"protocol":{PROTOCOL},"schedule":"constant","seed":3,"skip":false,"steps":20,"validate_every":1}}'
    )
    assert RunConfig("full", skip=False, seed=3, steps=20).id == hashlib.sha256(text.encode()).hexdigest()


def test_every_field_has_its_part_in_the_id(monkeypatch):
    monkeypatch.setattr(config, "PROTOCOLS", (*PROTOCOLS, PROTOCOL + 1))
    assert {*OTHER, *OTHER_OF_COUNTING, "model"} == {f.name for f in fields(RunConfig)}
    for some, others in ((TINY, OTHER), (COUNTING, OTHER_OF_COUNTING)):
        ids = {replace(some, **{name: value}).id for name, value in others.items()}
        assert len(ids | {some.id}) == len(others) + 1
    one, other = (replace(COUNTING, objective="full", until=None, model=name) for name in ("hierarchical", "counting"))
    assert one.id != other.id


def test_a_config_of_another_model_is_read_back_from_its_json():
    for name, value in OTHER_OF_COUNTING.items():
        some = replace(COUNTING, **{name: value})
        assert config_from(json.loads(some.canonical())) == some


def test_another_protocol_is_another_run_and_is_refused(monkeypatch):
    with monkeypatch.context() as later:
        later.setattr(config, "PROTOCOLS", (*PROTOCOLS, PROTOCOL + 1))
        other = replace(TINY, protocol=PROTOCOL + 1)
        settings = json.loads(other.canonical())
        assert other.id != TINY.id
        assert config_from(settings) == other
    with pytest.raises(ValueError, match=re.escape(f"protocol: expected one of {PROTOCOLS}, got {PROTOCOL + 1}")):
        config_from(settings)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"protocol": None}, "protocol: expected"),
        ({"speed": 1}, r"settings: expected.*unknown: \['speed'\]"),
        ({"seed": None}, r"settings: expected.*missing: \['seed'\]"),
        ({"gradients": None}, r"settings: expected.*missing: \['gradient_batches'\]"),
        ({"objective": "magic"}, "objective: expected"),
    ],
)
def test_settings_that_are_no_config_are_refused(change, named):
    settings = {name: value for name, value in (json.loads(TINY.canonical()) | change).items() if value is not None}
    with pytest.raises(ValueError, match=named):
        config_from(settings)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"objective": "magic"}, r"objective: expected one of full, modified.*got 'magic'"),
        ({"schedule": "steep"}, r"schedule: expected one of constant, cosine, six_stages, .*, got 'steep'"),
        ({"steps": 0}, "steps"),
        ({"batch_size": 0}, "batch_size"),
        ({"learning_rate": float("nan")}, "learning_rate: expected a number above 0"),
        ({"phi_rate": 0.0}, "phi_rate: expected a number above 0"),
        ({"gradient_batches": 3}, "gradient_batches: expected 0 to every=2"),
        ({"noise_batches": 1}, "noise_batches: expected 0, or 2 to every=2"),
        ({"validate_every": 0}, "validate_every"),
        ({"pictures": 4}, "pictures: expected 0 to 3, the number of windows, got 4"),
        ({"residual": 2}, "residual: expected True or False, got 2"),
        ({"residual": True, "skip": True}, "residual: expected False with skip"),
        ({"seed": -1}, "seed: expected a whole number of at least 0, got -1"),
        ({"likelihood_images": -1}, "likelihood_images: expected a whole number of at least 0"),
        ({"latents": (2, 0)}, "latents: expected a whole number of at least 1, got 0"),
        ({"likelihood_samples": 0}, "expected both or neither to be 0"),
    ],
)
def test_a_senseless_setting_is_refused_at_once(change, message):
    with pytest.raises(ValueError, match=message):
        replace(TINY, **change)


def test_numbers_of_numpy_and_lists_make_the_same_config():
    kinds = {int: np.int64, float: np.float64, tuple: lambda sizes: [np.int32(n) for n in sizes]}
    spelled = {f.name: getattr(TINY, f.name) for f in fields(TINY) if f.name != "protocol"}
    other = RunConfig(**{name: kinds.get(type(value), lambda same: same)(value) for name, value in spelled.items()})
    assert (other, hash(other), other.id) == (TINY, hash(TINY), TINY.id)
    assert json.loads(other.canonical()) == json.loads(TINY.canonical())


@pytest.mark.parametrize("name", plans.names())
def test_no_study_holds_a_run_twice(name):
    ids = [some.id for some in plans.study(name).configs]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("name", plans.names())
def test_every_study_trains_on_data_that_there_are(name):
    assert {some.data for some in plans.study(name).configs} <= set(data.names())


@pytest.mark.parametrize(
    ("change", "label"),
    [
        ({}, "tiny full p(x|u) seed 0"),
        ({"skip": True, "phi_rate": 5.0}, "tiny full p(x|u,v) phi x5 seed 0"),
        ({"residual": True}, "tiny full residual seed 0"),
        ({"latents": (2,), "seed": 4}, "tiny full one layer seed 4"),
    ],
)
def test_a_label_names_what_a_person_looks_for(change, label):
    assert replace(TINY, **change).label == label
