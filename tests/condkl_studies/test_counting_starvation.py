"""The rules of starvation on made-up curves: who starves, for how long, and when a run first counts right."""

import math

import pandas as pd

from condkl_studies.counting.starvation import starvation, states

STEPS = [100, 200, 300, 400, 600]


def run(name, n, elbo=-100.0, blank=0.0, right=0.5, seed=0):
    """A run's curve; each argument is a number or a list of one for each step."""
    columns = {"val_n": n, "val_elbo": elbo, "val_blank": blank, "val_right": right}
    rows = {key: value if isinstance(value, list) else [value] * len(STEPS) for key, value in columns.items()}
    return pd.DataFrame({"run": name, "seed": seed, "step": STEPS, "val_n_true": 1.0, **rows})


def judged(*runs):
    return starvation(pd.concat(runs, ignore_index=True)).set_index("run")


def test_a_run_is_blank_starved_while_it_sees_nothing_on_images_with_objects():
    found = states(run("a", 0.1, blank=[0.9, 0.51, 0.5, 0.2, 0.0]))["starved"]
    assert found.tolist() == ["blank", "blank", "", "", ""]


def test_a_run_is_slot_starved_only_beside_a_better_one_of_its_seed_that_counts():
    few = run("few", [0.84, 0.85, 0.84, 0.84, 0.84], elbo=-100)
    good = run("good", [1.04, 1.0, 1.06, 0.96, 1.0], elbo=[-95, -90, -90, -95.1, -94])
    both = states(pd.concat([few, good], ignore_index=True))
    assert both[both["run"] == "few"]["starved"].tolist() == ["slot", "", "", "", "slot"]
    assert not both[both["run"] == "good"]["starved"].any()
    assert not states(few)["starved"].any()
    assert not states(pd.concat([few, good.assign(seed=1)]))["starved"].any()


def test_starvation_that_is_over_at_the_end_is_a_delay():
    found = judged(run("a", 1.0, blank=[0.9, 0.9, 0.9, 0.9, 0.1]), run("b", 1.0)).loc["a"]
    assert (found["starved"], found["lasting"]) == ("blank", "delay")


def test_starvation_that_holds_at_three_times_the_first_right_step_is_lasting():
    good = run("good", 1.0, elbo=-80, right=[0.5, 0.95, 1.0, 1.0, 1.0])
    assert judged(run("bad", 0.6), good).loc["bad", "lasting"] == "lasting"  # 200 is the step; 600 is looked at
    late = run("late", 1.0, elbo=-80, right=[0.5, 0.94, 1.0, 1.0, 1.0])
    assert judged(run("bad", 0.6), late).loc["bad", "lasting"] == "open"  # 900 never came
    assert judged(run("bad", 0.1, blank=0.9)).loc["bad", "lasting"] == "open"  # no way ever cleared
    assert judged(run("bad", 0.6), good).loc["good", "lasting"] == "no"


def test_a_run_whose_mean_is_right_by_the_prior_does_not_start_the_clock():
    held = run("held", 1.0, elbo=-80, right=0.33)
    good = run("good", 1.0, elbo=-80, right=[0.5, 0.5, 0.5, 0.5, 1.0])
    assert judged(run("bad", 0.6), held, good).loc["bad", "lasting"] == "open"


def test_a_starvation_that_came_back_after_that_step_is_open():
    good = run("good", 1.0, elbo=-80, right=1.0)
    again = run("again", [0.6, 0.6, 1.0, 1.0, 0.6])
    assert judged(again, good).loc["again", "lasting"] == "open"


def test_the_first_right_step_is_where_most_images_are_counted_right():
    found = judged(run("a", 1.0, right=[0.3, 0.94, 0.95, 0.6, 1.0]), run("b", 1.0))
    assert found.loc["a", "first_right"] == 300
    assert math.isnan(found.loc["b", "first_right"])


def test_rows_without_a_validation_do_not_count():
    curve = run("a", [math.nan, 1.0, 1.0, 1.0, 1.0], blank=[0.9, 0.0, 0.0, 0.0, 0.0])
    assert judged(curve).loc["a", "lasting"] == "no"
