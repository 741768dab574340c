"""The argument checks: what passes comes back as a tensor, and what does not is named."""

import math

import numpy as np
import pytest
import torch

from condkl._checks import as_tensor, at_least_one, at_least_zero, positive, share, unit_interval


@pytest.mark.parametrize("value", [2, 2.0, np.float32(2), torch.tensor(2), [2.0], np.array([2, 2])])
def test_numbers_without_a_floating_type_become_float64(value):
    assert as_tensor("F", value).dtype == torch.float64


def test_a_floating_tensor_comes_back_as_it_is():
    tensor = torch.ones(2, dtype=torch.float32, requires_grad=True)
    assert as_tensor("F", tensor) is tensor


@pytest.mark.parametrize("value", ["1", None, object(), [1, "a"]])
def test_what_is_no_number_is_refused_by_name(value):
    with pytest.raises(TypeError, match=r"F: expected a float or a tensor.*Pass numbers"):
        as_tensor("F", value)


def test_complex_numbers_are_refused():
    with pytest.raises(TypeError, match=r"F: expected real numbers.*Pass a real tensor"):
        as_tensor("F", torch.tensor(1j))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_one_entry_that_is_not_finite_is_enough_for_a_refusal(bad):
    with pytest.raises(ValueError, match=r"F: expected finite numbers.*Check where"):
        as_tensor("F", torch.tensor([1.0, bad]))


@pytest.mark.parametrize("bad", [0.0, -1.0, torch.tensor([1.0, -2.0])])
def test_a_variance_of_zero_or_below_is_refused(bad):
    with pytest.raises(ValueError, match=r"beta: expected numbers above 0, got (0|-1|-2)\. A variance"):
        positive("beta", bad)


@pytest.mark.parametrize("good", [0, 1, 0.0, 0.5, 1.0, np.float32(0.5), np.int64(1)])
def test_the_ends_of_the_unit_interval_belong_to_it(good):
    assert unit_interval("lam", good) == good
    assert isinstance(unit_interval("lam", good), float)


@pytest.mark.parametrize("bad", [-1e-9, 1 + 1e-9, math.nan, math.inf, "0.5", None])
def test_a_weight_outside_the_unit_interval_is_refused(bad):
    with pytest.raises(ValueError, match=r"lam: expected a number from 0 to 1, got .*1 is the full gradient"):
        unit_interval("lam", bad)


@pytest.mark.parametrize("bad", [0, -1, 1.0, True, "1", None])
def test_a_count_that_is_not_a_whole_number_above_zero_is_refused(bad):
    with pytest.raises(ValueError, match=r"steps: expected a whole number of at least 1, got"):
        at_least_one("steps", bad)
    assert at_least_one("steps", 1) == 1


@pytest.mark.parametrize("kind", [int, np.int8, np.int64, np.uint64])
def test_whole_numbers_of_numpy_become_pythons(kind):
    assert type(at_least_one("steps", kind(2))) is int
    assert type(at_least_zero("seed", kind(0))) is int
    assert (at_least_one("steps", kind(2)), at_least_zero("seed", kind(0))) == (2, 0)


@pytest.mark.parametrize("bad", [-1, np.int64(-1), 0.0, True, None])
def test_a_seed_below_zero_is_refused(bad):
    with pytest.raises(ValueError, match=r"seed: expected a whole number of at least 0, got"):
        at_least_zero("seed", bad)


@pytest.mark.parametrize("value", [0, -0.5, 1.5, math.nan, "half"])
def test_what_is_no_share_of_the_training_is_refused(value):
    with pytest.raises(ValueError, match=r"until: expected a share of the training, above 0 and up to 1"):
        share("until", value)


def test_a_share_is_returned_as_a_float():
    assert share("until", 1) == 1.0
