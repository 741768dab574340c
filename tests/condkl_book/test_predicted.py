"""The predictions as Markdown: a page that has all of them, and a table of their verdicts."""

import json
import re
from pathlib import Path

import pytest

from condkl_book import predicted
from condkl_studies.predictions import Verdict, predictions

PAGE = Path(__file__).parents[2] / "book" / "predictions.ipynb"
ALL = predictions()
VERDICTS = {one.number: Verdict(True, "p(x|u) did, in 2 of 3.") for one in ALL}


def test_the_page_shows_every_prediction_once_and_in_order():
    code = [
        "".join(cell["source"]) for cell in json.loads(PAGE.read_text("utf-8"))["cells"] if cell["cell_type"] == "code"
    ]
    shown = [predicted.statements(name) for name in re.findall(r'statements\("(\w+)"\)', "\n".join(code))]
    numbers = [int(number) for text in shown for number in re.findall(r"^(\d+)\. ", text, re.MULTILINE)]
    assert numbers == [one.number for one in ALL]
    assert len(shown) == len(code), "a cell shows something else"


def test_its_text_has_no_prediction_of_its_own():
    cells = json.loads(PAGE.read_text("utf-8"))["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    assert text.startswith("# Predictions\n")
    assert not re.search(r"^\d+\. ", text, re.MULTILINE)


def test_a_statement_keeps_the_number_of_a_chapter_and_loses_the_link():
    text = predicted.statements("weights")
    assert "chapter 7)" in text.replace("[", "").replace("]", "") or "7)" in text
    assert ".ipynb" not in text


def test_a_section_without_predictions_is_an_error():
    with pytest.raises(ValueError, match="section: expected one with predictions, got 'tuning'"):
        predicted.statements("tuning")


def test_the_table_has_a_row_of_four_cells_for_each():
    head, rule, *rows = predicted.table(VERDICTS | {3: Verdict(None, "2 of 45 runs.")}).splitlines()
    cells = [re.split(r"(?<!\\)\|", row) for row in (head, rule, *rows)]
    assert {len(row) for row in cells} == {6}
    assert [int(row[1]) for row in cells[2:]] == [one.number for one in ALL]
    assert cells[4][3:5] == [" open ", " 2 of 45 runs. "]
    assert cells[2][4] == r" p(x\|u) did, in 2 of 3. "


def test_an_evidence_begins_with_a_capital():
    assert "| held | After 2 |" in predicted.table(VERDICTS | {1: Verdict(True, "after 2")})


def test_no_markup_is_left_in_a_plain_statement():
    for one in ALL:
        assert not re.search(r"[\\$`{}*]", predicted.plain(one.statement)), one.number


@pytest.mark.parametrize("kind", ["foreshadowed", "loose"])
def test_what_is_filed_is_listed_with_its_reason(kind):
    lines = predicted.filed(kind).splitlines()
    assert lines == [f"- **{one.number}:** {getattr(one, kind)}" for one in ALL if getattr(one, kind)]
    assert all(line.endswith(".") for line in lines)
