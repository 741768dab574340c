"""Which runs starve, for how long, and when they first count right: rules on the curves of one setting."""

import math

import numpy as np
import pandas as pd
from pandas import DataFrame

BLANK = 0.5  # of q(0|x) on images with objects
FEW, NEAR = 0.85, 0.05  # of the true mean number of objects: fewer are too few, and this far off is near
BETTER = 5.0  # nats of ELBO
RIGHT = 0.95  # of the images
LASTING = 3  # times as long as the first way took that counted right


def states(curves: DataFrame) -> DataFrame:
    """The validated rows of some runs of one setting with `starved`, "blank", "slot" or "", at that step.

    `curves` has a row for each validation of each run, with `run`, `seed`, `step`, `val_elbo`, `val_n`, `val_n_true`
    and `val_blank`. Blank-starved: q(0|x) is above ½ on images with objects. Slot-starved: the mean n is below .85 of
    the truth, while another run of that seed is at that step 5 nats better with a mean n within 5% of the truth.
    """
    rows = curves.dropna(subset=["val_n"]).reset_index(drop=True)
    counts = (rows["val_n"] - rows["val_n_true"]).abs() <= NEAR * rows["val_n_true"]
    best = rows["val_elbo"].where(counts).groupby([rows["seed"], rows["step"]]).transform("max")
    slot = (rows["val_n"] < FEW * rows["val_n_true"]) & (best >= rows["val_elbo"] + BETTER)
    starved = np.where(rows["val_blank"] > BLANK, "blank", np.where(slot, "slot", ""))
    return rows.assign(starved=starved)


def starvation(curves: DataFrame) -> DataFrame:
    """A row for each run of one setting: whether it starved, and for how long. `curves` are as `states` takes them.

    `run`, `seed`; `starved`, as in `states`, at the last step at which it was; `first_right`, the first step at which
    the likeliest n is right on 95% of the images (`val_right`), nan if there is none; and `lasting`: "no" if it never
    starved, "delay" if it is over at the end, "lasting" if it was starved at three times the step at which the first
    run of that seed was right, or at the next validation after it, and else "open". A mean near the truth is no such
    step, since a q(n|x) that is held at p(n) has it from the start.
    """
    rows = states(curves).sort_values("step")
    right = rows[rows["val_right"] >= RIGHT]
    cleared, first_right = (right.groupby(of)["step"].min() for of in ("seed", "run"))
    found = []
    for (seed, run), one in rows.groupby(["seed", "run"], sort=False):
        starving = one[one["starved"] != ""]
        late = one[one["step"] >= LASTING * cleared.get(seed, math.inf)]
        if starving.empty:
            kind = "no"
        elif one["starved"].iloc[-1] == "":
            kind = "delay"
        else:
            kind = "lasting" if len(late) and late["starved"].iloc[0] != "" else "open"
        last = starving["starved"].iloc[-1] if len(starving) else ""
        first = first_right.get(run, math.nan)
        found.append({"run": run, "seed": seed, "starved": last, "lasting": kind, "first_right": first})
    return pd.DataFrame(found)
