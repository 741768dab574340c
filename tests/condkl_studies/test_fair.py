"""The learning rates of `fair`: chosen by what is written in `tables`, and no others."""

import math

import pandas as pd
import pytest
from conftest import DATA

from condkl_studies import plans, store
from condkl_studies.plans import fair, fair_tuning
from condkl_studies.results import frame
from condkl_studies.tables import chosen_rates

TUNED = pd.DataFrame(
    [
        *(("full", False, 1e-3, -96.0), ("full", False, 2e-3, -95.0), ("full", False, 4e-3, math.nan)),
        *(("full", True, 1e-3, -93.0), ("full", True, 2e-3, -94.0), ("full", True, 4e-3, -94.0)),
        *(("modified", True, 4e-3, -96.0), ("modified", False, 2e-3, -97.0), ("modified", False, 1e-3, -96.5)),
    ],
    columns=["objective", "skip", "learning_rate", "val_elbo"],
)


def test_the_highest_validation_elbo_chooses_and_a_run_that_diverged_does_not():
    assert chosen_rates(TUNED) == {"full": (2e-3, 1e-3), "modified": (1e-3, 4e-3)}


def test_several_seeds_are_refused():
    with pytest.raises(ValueError, match="table: expected one run for each"):
        chosen_rates(pd.concat([TUNED, TUNED.assign(val_elbo=-90.0)]))


def test_the_two_studies_have_the_same_cells_and_no_common_seed():
    tuned, compared = (plans.study(name).configs for name in ("fair_tuning", "fair"))
    cells = [{(one.objective, one.skip) for one in configs} for configs in (tuned, compared)]
    assert cells[0] == cells[1]
    assert len(cells[0]) == 18
    assert not {one.seed for one in tuned} & {
        one.seed for name in plans.names() for one in plans.study(name).configs if name != "fair_tuning"
    }
    assert {rate for rates in fair.RATES.values() for rate in rates} <= set(fair_tuning.RATES)


def test_the_rates_of_fair_are_those_that_tuning_chose(monkeypatch):
    monkeypatch.setenv("CONDKL_DATA", str(DATA))
    configs = plans.study("fair_tuning").configs
    if plans.study("fair_tuning").open and len(store.recorded("fair_tuning", configs)) < len(configs):
        pytest.skip("fair_tuning is still being trained")
    assert chosen_rates(frame("fair_tuning")) == fair.RATES
