"""Tables of results: rows in their order, intervals as text, and the account of a layer."""

import numpy as np
import pandas as pd
import pytest

from condkl_studies import results
from condkl_studies.tables import against, balance, in_digits, in_order, summary, true_evidence


def frame(**columns):
    """Two seeds of two methods with two decoders; the second seed has half a nat more."""
    rows = [
        {"decoder": decoder, "method": method, "seed": seed, "elbo": -90.0 - 2 * i - j + seed / 2}
        for i, decoder in enumerate(("p(x|u)", "p(x|u,v)"))
        for j, method in enumerate(("modified", "full"))
        for seed in (0, 1)
    ]
    return pd.DataFrame(rows).assign(**columns)


def test_rows_come_in_the_order_of_the_lists_and_others_go():
    found = in_order(frame(), decoder=["p(x|u,v)", "p(x|u)"], method=("full", "modified", "lambda_drop"))
    assert found[["decoder", "method", "seed"]].values.tolist() == [
        [decoder, method, seed]
        for decoder in ("p(x|u,v)", "p(x|u)")
        for method in ("full", "modified")
        for seed in (0, 1)
    ]
    assert in_order(frame(), method=["full"])["method"].unique() == ["full"]


def test_a_summary_has_a_row_for_each_setting_and_says_what_is_missing():
    table = frame(active_v=[0, 1] * 4, log_likelihood=[np.nan] + [-80.0] * 7)
    found = summary(table, {"elbo": "ELBO", "active_v": "active v", "log_likelihood": "estimate"})
    assert found.index.names == ["decoder", "method"]
    assert found.loc[("p(x|u)", "modified")].tolist() == ["−89.75 ± 3.18", "0.5 ± 6.4", "–"]
    assert found.loc[("p(x|u)", "full"), "estimate"] == "−80.00 ± 0.00"


def test_numbers_get_their_decimals_a_true_minus_and_a_dash_for_what_is_missing():
    table = pd.DataFrame({"ELBO": [-90.126, np.nan], "runs": [3.0, 0.0]}, index=["full", "modified"])
    found = in_digits(table, {"ELBO": 2})
    assert found.loc["full"].tolist() == ["−90.13", "3"]
    assert found.loc["modified"].tolist() == ["–", "0"]


def test_differences_are_in_pairs_of_one_decoder():
    found = against(frame(), {"elbo": "ELBO"}, reference="full")
    assert found["ELBO"].to_dict() == {
        ("p(x|u)", "modified"): "+1.00 ± 0.00",
        ("p(x|u,v)", "modified"): "+1.00 ± 0.00",
    }
    assert against(frame(), {"elbo": "ELBO"}, reference="modified")["ELBO"].tolist() == ["−1.00 ± 0.00"] * 2


def test_the_balance_is_zero_at_its_threshold():
    random = np.random.default_rng(0)
    table = pd.DataFrame({"method": ["full"] * 3 + ["modified"] * 3, "seed": [0, 1, 2] * 2, "data": "tight"})
    table[["R", "A", "C"]] = random.uniform(1, 2, size=(6, 3))
    table.loc[table["method"] == "modified", ["A", "C"]] = [0.0, 9.0]
    found = balance(table, data="tight")
    alive, dead = table[:3].mean(numeric_only=True), table[3:].mean(numeric_only=True)
    saved, gained = dead.C - alive.C, alive.R - dead.R
    assert found["gain at λ = 1"].mean == pytest.approx(gained + saved - alive.A)
    assert found["at λ = ½"].mean == pytest.approx(gained + saved / 2 - alive.A)
    one = balance(table.assign(**table.groupby("method")[["R", "A", "C"]].transform("mean")))
    assert gained + one["λ*"].mean * saved == pytest.approx(alive.A)


def test_the_evidence_is_above_every_bound(monkeypatch):
    monkeypatch.delenv("CONDKL_DATA", raising=False)
    found, ends = true_evidence(), results.frame("controlled")
    assert found.index.tolist() == ["tight", "loose", "crossed"]
    assert found["deviation"].max() < 2e-3
    assert (ends["elbo"] < ends["data"].map(found["all"])).all()
    assert (ends["log_likelihood"] < ends["data"].map(found["estimated"])).all()
