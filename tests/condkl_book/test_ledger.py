"""The ledger: a check fails when it should, and the page counts oracles as a reader would."""

import json
import math

import IPython
import numpy as np
import pytest
import torch

from condkl_book.ledger import EQUATIONS, MIME, Check, check, collect


def output(check_):
    return {"output_type": "display_data", "data": check_._repr_mimebundle_(), "metadata": {}}


def made(eq, oracle, deviation=0.0, tol=1e-9):
    return Check(str(eq), oracle, deviation, tol, deviation <= tol)


def write(folder, name, text="", *checks):
    """An executed chapter: a cell of text, one of code whose output holds the checks, as JSON on disk."""
    cells = [
        {"cell_type": "markdown", "source": text.splitlines(keepends=True), "metadata": {}},
        {"cell_type": "code", "source": [], "metadata": {}, "outputs": [
            {"output_type": "stream", "name": "stdout", "text": ["noise"]}, *map(output, checks)]},
    ]  # fmt: skip
    (folder / f"{name}.ipynb").write_text(json.dumps({"cells": cells, "nbformat": 4, "nbformat_minor": 5}))


def row(folder, eq):
    return {row.equation: row for row in collect(folder).rows}[str(eq)]


@pytest.mark.parametrize(
    ("got", "want", "tol"),
    [
        (1.0, 1.0, 0),
        (1.0, 1.1, 0.11),
        (torch.ones(2, requires_grad=True), [1.0, 1.0], 0.0),
        (np.eye(2), torch.eye(2), torch.tensor(0.0)),
        (math.inf, math.inf, 0.0),
        ([-math.inf, 2], [-math.inf, 2], 0.0),
    ],
)
def test_what_agrees_passes_and_says_so(got, want, tol, capsys):
    assert check(3, "arithmetic", got, want, tol) is None
    assert capsys.readouterr().out.startswith("checked: eq. (3) against arithmetic: deviation ")


@pytest.mark.parametrize(
    ("got", "want", "tol"),
    [
        (1.0, 1.1, 0.09),
        ([0.0, 5.0], [0.0, 0.0], 4.9),
        (math.nan, 1.0, 1e9),
        (math.nan, math.nan, 1e9),
        ([1.0, math.nan], [1.0, 1.0], 1e9),
        (math.inf, 1.0, 1e9),
        (math.inf, -math.inf, 1e9),
    ],
)
def test_what_deviates_or_is_nan_fails_and_is_recorded(got, want, tol, capsys):
    with pytest.raises(AssertionError, match=r"eq\. \(3\) against arithmetic: the largest deviation is .*is wrong"):
        check(3, "arithmetic", got, want, tol)
    assert capsys.readouterr().out.startswith("FAILED: eq. (3)")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"got": [1.0, 1.0]}, r"got, want: expected the same shape.*got \(2,\) and \(\)"),
        ({"got": [], "want": []}, "got, want: expected the same shape with at least one number"),
        ({"tol": -1e-9}, "tol: expected a finite number of at least 0"),
        ({"tol": math.nan}, "tol: expected a finite number of at least 0"),
        ({"tol": math.inf}, "tol: expected a finite number of at least 0"),
        ({"eq": " "}, "eq, oracle: expected names"),
        ({"oracle": ""}, r"eq, oracle: expected names.*Say what is checked"),
    ],
)
def test_a_check_that_compares_nothing_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        check(**{"eq": 3, "oracle": "arithmetic", "got": 1.0, "want": 1.0, "tol": 0.0} | arguments)


def test_a_check_in_a_notebook_is_displayed_and_not_printed(monkeypatch, capsys):
    shown = []
    monkeypatch.setattr(IPython, "get_ipython", object)
    monkeypatch.setattr("IPython.display.display", shown.append)
    check(3, "two  spaces", [1.0, 3.0], [1.0, 2.5], 1.0)
    assert shown == [Check("3", "two spaces", 0.5, 1.0, True)]
    assert capsys.readouterr().out == ""


def test_a_failed_check_in_a_notebook_is_displayed_before_it_raises(monkeypatch):
    shown = []
    monkeypatch.setattr(IPython, "get_ipython", object)
    monkeypatch.setattr("IPython.display.display", shown.append)
    with pytest.raises(AssertionError):
        check("price", "enumeration", 1.0, 2.0, 0.5)
    assert shown == [Check("price", "enumeration", 1.0, 0.5, False)]


def test_without_ipython_a_check_is_printed(monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "IPython", None)
    check(3, "arithmetic", 1.0, 1.0, 0.0)
    assert capsys.readouterr().out.startswith("checked")


def test_the_record_in_the_output_is_json_and_its_html_is_escaped():
    bundle = Check("<b>", "x < y", math.inf, 0.1, False)._repr_mimebundle_(include=None, exclude=None)
    assert json.loads(json.dumps(bundle, allow_nan=False))[MIME]["deviation"] == "inf"
    assert "&lt;b&gt;" in bundle["text/html"]
    assert "<b>" not in bundle["text/html"]
    assert "✗" in bundle["text/html"]
    assert bundle["text/plain"].startswith("FAILED")


def test_without_chapters_every_equation_is_not_yet_derived(tmp_path):
    ledger = collect(tmp_path)
    assert [row.equation for row in ledger.rows] == list(EQUATIONS) == [str(n) for n in range(1, 10)]
    assert {row.status for row in ledger.rows} == {"not yet derived"}
    assert all(math.isnan(row.largest_deviation) and math.isnan(row.worst) for row in ledger.rows)
    assert ledger.gaps == []


def test_two_different_oracles_make_an_equation_checked(tmp_path):
    write(tmp_path, "02_chain", "$$ a $$ (eq-3)", made(3, "enumeration", 2e-10), made(3, "quadrature", 1e-12, 1e-12))
    found = row(tmp_path, 3)
    assert (found.chapter, found.oracles, found.checks) == ("02_chain", ["enumeration", "quadrature"], 2)
    assert (found.largest_deviation, found.worst, found.passed, found.status) == (2e-10, 1.0, True, "checked")
    assert collect(tmp_path).gaps == []


def test_one_oracle_is_a_gap(tmp_path):
    write(tmp_path, "02_chain", "$$ a $$ (eq-3)", made(3, "enumeration"))
    assert row(tmp_path, 3).status == "gap"
    (gap,) = collect(tmp_path).gaps
    assert "eq. (3) is derived in 02_chain but has 1 oracle(s) (enumeration)" in gap


def test_a_derived_equation_without_checks_is_a_gap(tmp_path):
    write(tmp_path, "02_chain", "$$ a $$ (eq-3)")
    assert row(tmp_path, 3).status == "gap"
    assert "0 oracle(s) (none)" in collect(tmp_path).gaps[0]


def test_names_that_differ_only_by_case_are_one_oracle(tmp_path):
    write(tmp_path, "02_chain", "$$ a $$ (eq-3)", made(3, "Enumeration"), made(3, "enumeration"))
    assert (row(tmp_path, 3).oracles, row(tmp_path, 3).status) == (["Enumeration"], "gap")


def test_oracles_stand_in_the_order_of_their_first_use(tmp_path):
    write(tmp_path, "02_chain", "", *(made(3, name) for name in ("scipy", "loops", "Scipy", "mpmath")))
    assert row(tmp_path, 3).oracles == ["scipy", "loops", "mpmath"]


def test_a_failed_check_fails_its_equation_in_spite_of_two_oracles(tmp_path):
    checks = made(3, "enumeration"), made(3, "quadrature", 2.0, 1.0), made(3, "samples", math.inf, 1.0)
    write(tmp_path, "02_chain", "$$ a $$ (eq-3)", *checks)
    found = row(tmp_path, 3)
    assert (found.status, found.passed, found.largest_deviation) == ("failed", False, math.inf)
    assert collect(tmp_path).gaps == ["eq. (3): a check in 02_chain failed."]


def test_no_deviation_uses_nothing_of_a_tolerance_of_zero(tmp_path):
    write(tmp_path, "02_chain", "", made(3, "a", 0.0, 0.0), made(3, "b", 1.0, 4.0), made(4, "a", 1.0, 0.0))
    assert row(tmp_path, 3).worst == 0.25
    assert row(tmp_path, 4).worst == math.inf


def test_a_proposition_is_listed_under_the_chapter_that_checks_it_first(tmp_path):
    write(tmp_path, "03_price", "", made("price of eq. (9)", "enumeration"))
    write(tmp_path, "04_later", "", made("price of eq. (9)", "samples"))
    found = row(tmp_path, "price of eq. (9)")
    assert (found.chapter, found.status) == ("03_price", "checked")
    assert len(collect(tmp_path).rows) == len(EQUATIONS) + 1


@pytest.mark.parametrize(
    ("text", "derived"),
    [
        ("$$ a = b $$ (eq-4)", True),
        ("$$\na\n= b\n$$ (eq-4)\n", True),
        ("```{math}\n:label: eq-4\na\n```", True),
        ("see {eq}`eq-4`", False),
        ("the label eq-4 is elsewhere (eq-4)", False),
        ("$$ a $$ (eq-44)", False),
        (":label: eq-4-more", False),
    ],
)
def test_only_a_label_derives_an_equation(tmp_path, text, derived):
    write(tmp_path, "05_chapter", text)
    assert row(tmp_path, 4).chapter == ("05_chapter" if derived else None)


def test_checks_of_a_companion_count_for_its_chapter(tmp_path):
    (tmp_path / "checks").mkdir()
    write(tmp_path, "02_chain", "$$ a $$ (eq-3)", made(3, "by hand"))
    write(tmp_path / "checks", "02_chain", "", made(3, "enumeration"), made("the fold", "enumeration"))
    assert row(tmp_path, 3).oracles == ["by hand", "enumeration"]
    assert row(tmp_path, 3).status == "checked"
    assert row(tmp_path, "the fold").chapter == "02_chain"


def test_code_that_names_a_label_derives_nothing_and_other_subfolders_are_not_read(tmp_path):
    code = {"cell_type": "code", "source": ["# $$ a $$ (eq-4)"], "outputs": []}
    (tmp_path / "a.ipynb").write_text(json.dumps({"cells": [code]}))
    (tmp_path / "below").mkdir()
    write(tmp_path / "below", "b", "$$ a $$ (eq-4)")
    assert row(tmp_path, 4).status == "not yet derived"
