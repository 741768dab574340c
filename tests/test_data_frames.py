"""How the book shows data frames."""

import importlib
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("sphinx")
BOOK = Path(__file__).parents[1] / "book"
TABLE = pd.DataFrame(
    {"ELBO": [-1.5, 2.0], "change": ["−1.20 ± 0.10", "+3.4 ± 0.2"], "said": ["held", "-"], "p": [1e-7, np.nan]},
    index=pd.Index(["full", "eq. (9)"], name="way"),
)


@pytest.fixture
def tidied(monkeypatch):
    """Return a function that gives what the site shows of a table, as pandas reads it, and the tags of its cells."""
    monkeypatch.syspath_prepend(BOOK / "_ext")
    extension = importlib.import_module("data_frames")

    def tidied(table):
        html = extension.tidy(table.to_html())
        cells = extension.BeautifulSoup(html, "html.parser").find_all(["th", "td"])
        return pd.read_html(io.StringIO(html))[0], cells

    return tidied


def test_the_name_of_the_index_stands_in_the_row_of_the_others(tidied):
    shown, _ = tidied(TABLE)
    assert shown.columns.tolist() == ["way", "ELBO", "change", "said", "p"]
    assert shown["way"].tolist() == ["full", "eq. (9)"]
    shown, _ = tidied(TABLE.set_index("said", append=True))
    assert shown.columns.tolist() == ["way", "said", "ELBO", "change", "p"]


def test_headers_that_say_something_in_both_rows_stay_two(tidied):
    shown, _ = tidied(TABLE.rename_axis(columns="measured"))
    assert shown.columns.nlevels == 2
    groups = TABLE.set_axis(pd.MultiIndex.from_product([["a", "b"], ["x", "y"]]), axis=1)
    assert tidied(groups)[0].columns.nlevels == 3


def test_numbers_have_minus_signs_and_stand_to_the_right(tidied):
    _, cells = tidied(TABLE)
    right = [cell.get_text() for cell in cells if "number" in cell.get("class", [])]
    assert right == ["ELBO", "change", "p", "−1.5", "−1.20 ± 0.10", "1.000000e−07", "2.0", "+3.4 ± 0.2", "NaN"]
    assert [cell.get_text() for cell in cells if "number" not in cell.get("class", [])][-1] == "-"


def test_cells_that_span_rows_keep_the_columns_apart(tidied):
    pairs = pd.MultiIndex.from_tuples([("plain", "full"), ("plain", "half")], names=["decoder", "way"])
    _, cells = tidied(pd.DataFrame({"cost": [-1, -2]}, index=pairs))
    assert [cell.get_text() for cell in cells if "number" in cell.get("class", [])] == ["cost", "−1", "−2"]


def test_a_table_without_rows_stays(tidied):
    assert tidied(TABLE[:0])[1]
