"""How the book shows data frames."""

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("sphinx")
TABLE = pd.DataFrame(
    {"ELBO": [-1.5, 2.0], "change": ["−1.20 ± 0.10", "+3.4 ± 0.2"], "said": ["held", "-"], "p": [1e-7, np.nan]},
    index=pd.Index(["full", "eq. (9)"], name="way"),
)


@pytest.fixture
def tidied(extension):
    """Return a function that gives what the site shows of a table: the words of its rows, and the tags of its cells."""
    frames = extension("data_frames")

    def tidied(table):
        shown = frames.BeautifulSoup(frames.tidy(table.to_html()), "html.parser")
        rows = [[cell.get_text() for cell in row.find_all(["th", "td"])] for row in shown.find_all("tr")]
        return rows, shown.find_all(["th", "td"])

    return tidied


def test_the_name_of_the_index_stands_in_the_row_of_the_others(tidied):
    head, *body = tidied(TABLE)[0]
    assert head == ["way", "ELBO", "change", "said", "p"]
    assert [row[0] for row in body] == ["full", "eq. (9)"]
    assert tidied(TABLE.set_index("said", append=True))[0][0] == ["way", "said", "ELBO", "change", "p"]


def test_headers_that_say_something_in_both_rows_stay_two(tidied):
    rows, _ = tidied(TABLE.rename_axis(columns="measured"))
    assert [row[0] for row in rows] == ["measured", "way", "full", "eq. (9)"]
    groups = TABLE.set_axis(pd.MultiIndex.from_product([["a", "b"], ["x", "y"]]), axis=1)
    assert [row[0] for row in tidied(groups)[0]] == ["", "", "way", "full", "eq. (9)"]


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
