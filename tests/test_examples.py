"""The examples do what they show."""

import importlib.util
import math
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"


def example(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_an_outsiders_vae_learns_and_is_measured_and_eq_9_empties_its_upper_layer():
    two_layer_vae = example("two_layer_vae")
    before, *_ = two_layer_vae.main(steps=1)
    found = {weight: two_layer_vae.main(steps=200, weight=weight) for weight in (1.0, 0.0)}
    for elbo, log_likelihood, _ in found.values():
        assert elbo > before + 10
        assert elbo - 1 < log_likelihood < -64 * entropy(0.05) + 2  # of the noise alone, in which each bit is wrong
    assert [units for *_, units in found.values()] == [[2, 4], [0, 4]]


def entropy(p):
    return -p * math.log(p) - (1 - p) * math.log(1 - p)
