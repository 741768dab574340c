"""The numbers of 20 steps on the CPU, kept in golden.json: they change only together with the protocol.

`python tests/condkl_studies/test_golden.py` adds what is missing there, and renews all when the protocol was raised.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import TINY

from condkl.objectives import names
from condkl_studies import data, engine
from condkl_studies.config import PROTOCOL
from condkl_studies.data import load

GOLDEN = Path(__file__).with_name("golden.json")
RENEW = "`python tests/condkl_studies/test_golden.py`"
BASE = replace(TINY, steps=20, every=5, gradient_batches=2, validate_every=2)
CONFIGS = {
    **{name: replace(BASE, objective=name) for name in [*names(), "lambda=0.5"]},
    "skip": replace(BASE, skip=True),
    "residual": replace(BASE, objective="modified", latents=(2, 3, 2), residual=True),
    "one layer": replace(BASE, latents=(2,), gradient_batches=0),
    "three layers": replace(BASE, objective="modified", latents=(2, 3, 2)),
    "constant rate, faster phi": replace(BASE, schedule="constant", phi_rate=5.0),
}
KEPT = [name for name in data.names() if name not in ("tiny", "made", "counted")]


def numbers(config):
    """All that a run records, by name; the prior samples, which are rounded to bytes, by their means."""
    result = engine.fit_run(config, device="cpu")
    metrics = {name: values.dropna().tolist() for name, values in result.metrics.items()}
    samples = {
        name: [float(array.mean())] if name.startswith("prior") else array.tolist()
        for name, array in result.samples.items()
    }
    return metrics | samples


def bright(name):
    """How many pixels of the first test images are bright."""
    return int((load(name, "test")[:1000] > 127).sum())


def scale(key, kept):
    """What rounding is relative to, where it is not the number itself: what the number is a difference of."""
    if key == "gain_modified":
        return max(value**2 for name in ("norm_R", "norm_A", "norm_C") for value in kept[name])
    return 1.0 if key.startswith("cos_") else 0.1


def renewed(old):
    keep = old if old["protocol"] == PROTOCOL else {"runs": {}, "data": {}}
    runs = {name: numbers(config) for name, config in CONFIGS.items()} | keep["runs"]
    return {"protocol": PROTOCOL, "runs": runs, "data": {name: bright(name) for name in KEPT} | keep["data"]}


@pytest.fixture(scope="module")
def golden():
    return json.loads(GOLDEN.read_text())


def test_the_kept_numbers_are_of_this_protocol(golden):
    assert golden["protocol"] == PROTOCOL, f"the protocol was raised: renew with {RENEW}"
    assert (set(golden["runs"]), set(golden["data"])) == (set(CONFIGS), set(KEPT)), f"add what is missing with {RENEW}"


@pytest.mark.parametrize("name", CONFIGS)
def test_the_numerics_are_those_of_the_protocol(name, golden):
    found, kept = numbers(CONFIGS[name]), golden["runs"][name]
    message = f"the numbers of a run changed: raise PROTOCOL in condkl_studies/config.py and renew with {RENEW}"
    assert set(found) == set(kept), message
    for key, values in found.items():
        np.testing.assert_allclose(
            values, kept[key], rtol=1e-5, atol=1e-5 * scale(key, kept), err_msg=f"{key}: {message}"
        )


@pytest.mark.parametrize("name", KEPT)
def test_the_data_are_those_of_the_protocol(name, golden):
    message = f"the data changed: raise PROTOCOL in condkl_studies/config.py and renew with {RENEW}"
    assert bright(name) == pytest.approx(golden["data"][name], rel=1e-5), message


if __name__ == "__main__":
    torch.set_num_threads(1)
    old = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {"protocol": None}
    GOLDEN.write_text(json.dumps(renewed(old), indent=1) + "\n")
    sys.exit()
