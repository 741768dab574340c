"""How the site's scripts set tables and sentences, on pages of a line: run by ``make site-test``."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytestmark = pytest.mark.site
STATIC = Path(__file__).parents[2] / "book" / "_static"
TABLE = pd.DataFrame(
    {"ELBO": [-1.5, 2.0], "change": ["−1.20 ± 0.10", "+3.4 ± 0.2"], "said": ["held", "-"], "p": [1e-7, np.nan]},
    index=pd.Index(["full", "eq. (9)"], name="way"),
)
CELLS = "rows => rows.map((row) => [...row.cells].map((cell) => cell.textContent))"
NUMBERS = "cells => cells.map((cell) => cell.textContent)"


@pytest.fixture
def shown(tab):
    """A function that shows what the site makes of an article."""

    def shown(html):
        tab.goto("about:blank")  # the scripts declare their names once a document
        scripts = ["MathJax = {};", *((STATIC / name).read_text("utf-8") for name in ("a11y.js", "math.js"))]
        head = "".join(f"<script>{script}</script>" for script in scripts)
        tab.set_content(f"<html><head>{head}</head><body><article>{html}</article></body></html>")
        return tab

    return shown


@pytest.fixture
def tidied(shown):
    """A function that gives the words of a table's rows, and of its cells of numbers."""

    def tidied(table):
        page = shown(table.to_html())
        return page.eval_on_selector_all("tr", CELLS), page.eval_on_selector_all(".number", NUMBERS)

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
    _, right = tidied(TABLE)
    expected = ["ELBO", "change", "p", "−1.5", "−1.20 ± 0.10", "1.000000e−07", "2.0", "+3.4 ± 0.2", "NaN"]
    assert [text.replace("\N{NO-BREAK SPACE}", " ") for text in right] == expected


def test_cells_that_span_rows_keep_the_columns_apart(tidied):
    pairs = pd.MultiIndex.from_tuples([("plain", "full"), ("plain", "half")], names=["decoder", "way"])
    assert tidied(pd.DataFrame({"cost": [-1, -2]}, index=pairs))[1] == ["cost", "−1", "−2"]


def test_a_table_without_rows_stays(tidied):
    assert tidied(TABLE[:0])[0]


def test_a_formula_keeps_its_bracket_and_its_comma(shown):
    page = shown(
        '<p>This (<span class="math">a</span>), and <span class="math">b</span>’s <span class="math">c</span> d</p>'
    )
    page.eval_on_selector_all(".math", "formulas => formulas.forEach(keepMarks)")
    assert page.eval_on_selector_all(".together", NUMBERS) == ["(a),", "b’s"]
    assert page.inner_text("p") == "This (a), and b’s c d"


def test_no_line_ends_beside_the_sign_of_an_interval(shown):
    page = shown("<p>lost <b>1.65 ± 0.21</b> nats</p><pre>1 ± 2</pre>")
    assert page.inner_text("b") == "1.65\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}0.21"
    assert page.inner_text("pre") == "1 ± 2"


def test_the_keyboard_stops_at_a_box_only_while_it_scrolls(shown):
    box = shown('<pre style="width: 9em; overflow-x: auto">a line that is wider than its box</pre>').locator("pre")
    stops = "([box, stops]) => (box.tabIndex === 0) === stops"
    for width, expected in (("9em", True), ("90em", False), ("9em", True)):
        box.evaluate("(box, width) => { box.style.width = width; }", width)
        box.page.wait_for_function(stops, arg=[box.element_handle(), expected], timeout=5000)
