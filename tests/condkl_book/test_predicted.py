"""The predictions as Markdown: a page that has all of them, and a table of their verdicts."""

import json
import re
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from condkl_book import predicted
from condkl_book.style import COLOURS
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
    assert lines == [f"- **{one.number}:** {predicted.plain(getattr(one, kind))}" for one in ALL if getattr(one, kind)]
    assert all(line.endswith(".") and "$" not in line for line in lines)


@pytest.fixture
def dots():
    """Return the dots of a figure in which a few predictions differ from the rest, by number."""
    judged = VERDICTS | {
        1: Verdict(True, "held.", 0.5),
        2: Verdict(False, "failed.", -2.0),
        3: Verdict(None, "open."),
        4: Verdict(True, "far.", 1e6),
        5: Verdict(False, "no number."),
    }
    figure = predicted.plot(judged)
    lines = [line for axis in figure.axes for line in axis.lines if "," in str(line.get_label())]
    yield {int(line.get_label().split(",")[0]): line for line in lines}
    plt.close(figure)


def test_every_prediction_has_a_dot_on_the_line_of_its_number(dots):
    assert list(dots) == [one.number for one in ALL]
    for number, line in dots.items():
        axis = line.axes
        names = dict(zip(axis.get_yticks(), (tick.get_text() for tick in axis.get_yticklabels()), strict=True))
        assert names[line.get_ydata()[0]] == str(number)


def test_a_dot_stands_at_its_margin_and_what_has_none_at_the_end_of_its_side(dots):
    ends = dots[4].get_xdata()[0]
    assert [dots[k].get_xdata()[0] for k in (1, 2, 3, 5)] == [0.5, -2.0, 0.0, -ends]
    assert ends == dots[6].get_xdata()[0] > 10
    low, high = dots[1].axes.get_xlim()
    assert low < -ends < ends < high


def test_a_dot_says_what_became_of_it_by_shape_and_colour(dots):
    shapes = {k: (dots[k].get_marker(), dots[k].get_color()) for k in (1, 2, 3)}
    assert len(set(shapes.values())) == 3
    assert (shapes[1][1], shapes[2][1]) == (COLOURS["full"], COLOURS["modified"])
    assert [k for k in range(1, 7) if dots[k].get_markerfacecolor() == "white"] == [3, 5, 6]


def test_every_study_has_its_name_once(dots):
    axes = {line.axes for line in dots.values()}
    names = [text.get_text() for axis in axes for text in axis.texts]
    assert sorted(names) == sorted({one.section.replace("_", " ") for one in ALL})


def test_what_is_shown_are_the_predictions_named_in_their_order(capsys):
    predicted.show(VERDICTS | {7: Verdict(False, "missed.")}, 7, 2)
    assert capsys.readouterr().out.count("Markdown object") == 2
    with pytest.raises(KeyError):
        predicted.show(VERDICTS, 0)


def test_a_sentence_has_the_verdict_what_was_said_and_what_was_found():
    said = predicted.sentence(13, Verdict(False, "A is 0.2 nats."))
    assert said.startswith("**Prediction 13 failed.** Each keeps v alive with p(x|u): A > 1")
    assert said.endswith("*Found:* A is 0.2 nats.")
