"""Tables in which the predictions on models that count hold, and what makes each of them fail."""

import pandas as pd

from condkl_studies import plans
from condkl_studies.plans.counting import MAIN

TRUE = 1.0
# Objects seen over the true number, by way and start; what is not named counts right.
SEEN = {
    "usual": {"modified": 1.5, "lambda=0.5": 1.1},
    "far": {"modified": 1.4, "lambda=0.5": 1.1, "full": 0.68},
    "blind": {"modified": 1.4, "lambda=0.5": 1.1, "full": 0.68},
}
STEPS = (500, 2000, 6000)
FAR, BLIND = {"scale_prior": 0.1, "pixels": "bernoulli"}, {"scale_prior": 0.1, "pixels": "gaussian"}
USUAL = {"scale_prior": 0.0, "pixels": "bernoulli"}
FULL = {"objective": "full", "encoder_at_prior": False}
# What makes each fail: rows of one of its tables, a column, and what stands there instead.
BREAKS = {
    50: ("counting", {"objective": "modified", "seed": 3, **FAR}, "test_n", 1.1),
    51: ("counting", {"objective": "modified", "seed": 4, **USUAL}, "test_n", 1.05),
    52: ("counting", {**FULL, **BLIND, "seed": range(4)}, "test_n", 0.9),
    53: ("counting", {"objective": "lambda_warm_up", **FAR, "seed": range(3)}, "test_right", 0.9),
    54: ("counting", {"encoder_at_prior": True, **FAR, "seed": range(2)}, "test_right", 0.9),
    55: ("counting", {"objective": "modified", **USUAL}, "test_elbo", -80.0),
    56: ("counting", {"objective": "lambda=0.5", **USUAL}, "test_n", 1.3),
    57: ("counting_curves", {**FULL, "step": 6000, "seed": range(4)}, "val_n", 1.0),
    58: ("counting_harm", {"objective": "kl_warm_up", "glimpse_bias": -2.0, "seed": [0, 1]}, "test_blank", 0.2),
    59: ("counting_harm", {"objective": "modified", "glimpse_bias": 0.0, "seed": [0, 1]}, "test_n", 1.0),
    60: ("counting_doses", {"objective": "full", "scale_prior": 1.0, "seed": [0, 1]}, "test_n", 0.7),
    61: ("counting_controls", {"objective": "modified", "count_ratio": 0.1, **USUAL}, "test_n", 1.6),
    62: (
        "counting_controls",
        {"objective": "modified", "data": "four_digits", "seed": 1, **USUAL},
        "test_n",
        0.5,
    ),
    63: (
        "counting_estimators_curves",
        {"objective": "full", "estimator": "score", "seed": 2},
        "noise_image_full",
        50.0,
    ),
    64: ("counting_estimators", {"objective": "full", "estimator": "score", **USUAL}, "test_elbo", -81.0),
    65: ("stability_counting", {"objective": "modified", "learning_rate": 2e-3, "seed": 1}, "diverged_at", 9.0),
    66: ("stability_counting_curves", {"objective": "modified", "learning_rate": 1e-3}, "pull_modified", 2.0),
}
# And what makes them fail in another of their parts.
PARTS = [
    (51, "counting", {**FULL, **FAR, "seed": 0}, "test_n", 1.4),
    (52, "counting", {**FULL, **USUAL, "seed": 0}, "test_n", 0.8),
    (54, "counting", {"objective": "conditional_warm_up", **BLIND, "seed": range(2)}, "test_right", 0.9),
    (55, "counting", {"objective": "modified", **USUAL}, "test_best_elbo", -80.1),
    (56, "counting", {"objective": "lambda=0.5", **BLIND}, "test_n", 1.5),
    (57, "counting_curves", FULL, "val_n", 1.0),
    (58, "counting_harm", {"objective": "conditional_warm_up", "seed": [0, 1]}, "test_blank", 0.9),
    (59, "counting_harm", {"objective": "frozen_count", "glimpse_bias": 0.0, "seed": [0, 1]}, "test_n", 0.6),
    (60, "counting_doses", {"objective": "full", "scale_prior": 0.05, "seed": [0, 1]}, "test_n", 1.0),
    (60, "counting_doses", {"objective": "full", "scale_prior": 0.5, "seed": [0, 1]}, "test_n", 0.7),
    (61, "counting_controls", {"objective": "modified", "count_ratio": 0.1, **BLIND}, "test_n", 0.9),
    (62, "counting_controls", {"objective": "modified", "data": "four_digits", **USUAL}, "test_elbo", -70.0),
    (63, "counting_estimators_curves", {"objective": "full", "estimator": "score"}, "noise_n_modified", 120.0),
    (64, "counting_estimators", {"objective": "modified", "estimator": "exact", **USUAL}, "test_elbo", -99.0),
    (65, "stability_counting", {"objective": "modified"}, "diverged_at", None),
    (65, "stability_counting_curves", {"objective": "full", "learning_rate": 1e-3, "seed": 4}, "elbo", -800.0),
]
CONTROLS = ("counting_doses", "counting_harm", "counting_controls")
NAMES = ("counting", *CONTROLS, "counting_estimators", "stability_counting")
FIRST_BROKEN = 8e-3


def table(name):
    """The table of that name, as `results` would give it."""
    study = name.removesuffix("_curves")
    return curves(study) if name.endswith("_curves") else ends(study)


def names():
    return {*NAMES, *(f"{name}_curves" for name in NAMES)}


def ends(study):
    """The end of every run."""
    rows = []
    for one in plans.study(study).configs:
        name = "usual" if not one.scale_prior else "far" if one.pixels == "bernoulli" else "blind"
        way = "encoder_at_prior" if one.encoder_at_prior else one.objective
        seen = SEEN[name].get(way, 1.0)
        if one.count_ratio < 1 and way == "modified":
            seen = 1.2
        if study in CONTROLS and way in MAIN:
            seen = _controlled(one, way, seen)
        blank = way == "kl_warm_up" and one.glimpse_bias == -2.0
        elbo = -80.0 - 2.0 * (way == "modified") - 10.0 * (seen < 0.85)
        rows.append(vars(one) | {
            "run": one.id, "way": way, "test_n": seen * TRUE, "test_n_true": TRUE,
            "test_n_R": 1.4 if way != "modified" else seen, "test_n_RC": min(seen, 1.0), "test_right": 0.99,
            "test_blank": 0.9 if blank else 0.0, "test_elbo": elbo - 15.0 * (one.estimator == "score"),
            "test_best_elbo": elbo + 1.0 * (way == "modified"),
        })  # fmt: skip
    table = pd.DataFrame(rows)
    table[["test_n", "test_elbo", "test_best_elbo"]] += 1e-3 * table[["seed"]].to_numpy()
    table["diverged_at"] = 1e5 * table.learning_rate.where(table.learning_rate >= FIRST_BROKEN)
    return table.drop(columns="way")


def curves(study):
    """Three rows of every run, which is at each as at its end."""
    table = ends(study)
    table = table.assign(**{f"val_{name}": table[f"test_{name}"] for name in ("n", "n_true", "right", "blank", "elbo")})
    table = pd.concat([table.assign(step=step) for step in STEPS], ignore_index=True)
    noise = {"noise_n_full": 100.0, "noise_n_modified": 80.0, "noise_image_full": 20.0}
    return table.assign(elbo=-120.0, pull_full=1.0, pull_modified=0.8, **noise)


def _controlled(one, way, seen):
    """Where the controls go otherwise: first objects that cost R, and near starts."""
    if one.glimpse_bias == 0:
        return 0.6
    return 1.0 if way == "full" and one.scale_prior > 0.1 else seen
