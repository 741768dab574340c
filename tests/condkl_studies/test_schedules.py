"""The learning rates by the share of the training that is over: the published stages to the epoch."""

import pytest

from condkl_studies.plans import published, published_longer
from condkl_studies.schedules import SCHEDULES

EPOCHS = {"six_stages": 364, "seven_stages": 1093, "eight_stages": 3280}


@pytest.mark.parametrize("name", EPOCHS)
def test_stage_i_lasts_so_many_epochs_as_published_at_so_much_of_the_rate(name):
    epochs = EPOCHS[name]
    found = [SCHEDULES[name](epoch / epochs) for epoch in range(epochs)]
    assert found == pytest.approx([10 ** (-stage / 7) for stage in range(8) for _ in range(3**stage)][:epochs])


def test_a_longer_run_begins_as_a_shorter_one_at_every_step_that_a_window_may_begin_with():
    six, seven = (SCHEDULES[name] for name in ("six_stages", "seven_stages"))
    assert all(six(epoch / 364) == seven(epoch / 1093) for epoch in range(364))
    assert SCHEDULES["seven_stages"](363.9999 / 1093) > SCHEDULES["seven_stages"](364 / 1093)


def test_the_published_studies_have_those_epochs():
    steps = {one.schedule: one.steps for study in (published, published_longer) for one in study.STUDY.configs}
    assert steps == {name: EPOCHS[name] * 3000 for name in ("six_stages", "seven_stages")}
