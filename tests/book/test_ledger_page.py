"""The ledger's table: what its cells say, and links to proofs, code and tests that exist."""

import ast
import importlib
import inspect
import json
import re
from pathlib import Path

import pytest

pytest.importorskip("sphinx")
from docutils.nodes import make_id

from condkl_book.ledger import Check, LedgerRow, code_of, notebooks
from condkl_book.origins import independent, origins

BOOK = Path(__file__).parents[2] / "book"
NOTEBOOKS = {}  # of a chapter, the cells of its companion too
for path in notebooks(BOOK):
    NOTEBOOKS.setdefault(path.stem, []).extend(json.loads(path.read_text("utf-8"))["cells"])


@pytest.fixture
def page(extension):
    return extension("ledger_page")


@pytest.fixture
def links(extension):
    return extension("ledger_links")


def text(name, kind):
    return "\n".join("".join(cell["source"]) for cell in NOTEBOOKS[Path(name).name] if cell["cell_type"] == kind)


def checked(name):
    """What the `check`s of a chapter call the equations, where they say it as a constant."""
    code = "\n".join(line for line in text(name, "code").splitlines() if not line.startswith("%"))
    calls = [n for n in ast.walk(ast.parse(code)) if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "check"]
    named = [k.value for call in calls for k in call.keywords if k.arg == "eq"]
    return {str(value.value) for value in named if isinstance(value, ast.Constant)}


def thing(name):
    module, _, attribute = name.rpartition(".")
    package = "condkl_book" if module.startswith("explorers") else "condkl"
    return getattr(importlib.import_module(f"{package}.{module}"), attribute)


def row(equation="9", chapter="02_gradients", checks=2):
    return LedgerRow(equation, chapter, ["SymPy", "by hand"], checks, 1.6e-10, 0.03, True, "checked")


@pytest.mark.parametrize(("part", "shown"), [(0.0, "0%"), (1e-4, "<1%"), (0.03, "3%"), (1.0, "100%")])
def test_only_a_deviation_of_nothing_uses_nothing_of_its_tolerance(part, shown, page):
    assert page.share(part) == shown


def test_a_row_leads_to_statement_chapter_code_and_tests(page):
    first, code, oracles, worst, status = page.cells(row(), {"SymPy": {"linear.rho"}})
    assert first == "[]{#ledger-9}{eq}`eq-9`\\\n    [chapter 2](02_gradients.ipynb)"
    assert "{py:func}`modified_gradient <.gradients.modified_gradient>`" in code
    assert re.search('<a href="_tests/condkl/test_gradients.html#test_\\w+">test_gradients.py</a>', code)
    assert oracles == "SymPy (calls `linear.rho`); by hand"
    assert (worst, status) == ("2e−10 (3%)", "checked (2)")


def test_statements_are_propositions_sections_or_numbers_not_yet_derived(page):
    assert "{prf:ref}`9, price <prop-price>`" in page.cells(row("9, price"), {})[0]
    assert "[9, Jacobian](02_gradients.ipynb#not-a-gradient)" in page.cells(row("9, Jacobian"), {})[0]
    assert page.cells(row(chapter=None), {})[0] == "[]{#ledger-9}(9)\\\n    –"
    assert page.cells(row("the fold", checks=0), {})[1:4:2] == ("in the chapter", "–")


def test_a_chapter_shows_its_checks_behind_one_line(page):
    one = Check("9, price", "SymPy", 1.6e-10, 1e-9, True)
    shown = page.folded([one], "03_the_kl_alone")
    assert shown.startswith("```{dropdown} 1 check passed\n")
    assert "* 9, price, against SymPy: off by 2e-10, allowed 1e-09" in shown
    assert "(/checks/03_the_kl_alone.ipynb)" in shown
    assert "companion" not in page.folded([one, one], None)
    assert "2 checks passed" in page.folded([one, one], None)


def test_the_name_of_a_file_breaks_after_underscores(page):
    assert ">test_linear_<wbr>kl_<wbr>alone.py</a>" in page.tests(["linear.starvation_law"])


def test_every_check_of_a_chapter_has_a_line(links):
    names = set.union(*map(checked, NOTEBOOKS))
    assert names - set(links.LINKS) == set()
    assert {name for name in links.LINKS if not name.isdigit()} <= names, "a line of no check"
    assert {name for name in links.LINKS if name.isdigit()} == {str(n) for n in range(1, 10)}


def test_no_two_lines_have_one_anchor(links):
    assert len({make_id(f"ledger {name}") for name in links.LINKS}) == len(links.LINKS)


def test_every_proof_is_in_a_chapter(links):
    for name in links.LINKS:
        proof, _ = links.links(name)
        chapter, _, section = proof.rpartition("#")
        if chapter:
            titles = re.findall(r"^#+ (.*)$", text(chapter, "markdown"), re.MULTILINE)
            assert section in map(make_id, titles), f"{name}: {proof}"
        else:
            label = rf":label: {proof}$|\({proof}\)$"
            assert [n for n in NOTEBOOKS if re.search(label, text(n, "markdown"), re.MULTILINE)], f"{name}: {proof}"


def test_every_function_behind_an_equation_exists_and_is_tested(links):
    for name in links.LINKS:
        _, code = links.links(name)
        for function in code:
            assert thing(function).__module__.endswith(f".{function.rpartition('.')[0]}")
        assert not code or links.tests_of(code), f"{name}: no test of {code}"


@pytest.mark.parametrize("number", range(1, 10))
def test_the_code_of_an_equation_says_which_it_is(number, links):
    documented = inspect.getdoc(thing(links.links(str(number))[1][0]))
    spans = re.findall(r"eqs?\. \((\d)\)(?:-\((\d)\))?", documented)
    assert any(int(first) <= number <= int(last or first) for first, last in spans)


def test_the_first_test_of_a_function_may_use_it_through_a_helper(links, tmp_path):
    source = (
        "def test_other():\n    assert True\n\ndef test_it():\n    helper()\n\n"
        "def helper():\n    module.wanted(1)\n\ndef test_later():\n    wanted(2)\n"
    )
    (tmp_path / "test_it.py").write_text(source)
    assert links.first_test(tmp_path / "test_it.py", "wanted") == "test_it"
    assert links.first_test(tmp_path / "test_it.py", "wante") is None


# What both sides of a statement are given: the functions that are differentiated, or points where they are compared.
POINTS = {
    "9, Jacobian": {"gradients.modified_gradient"},
    "9, rate of the KL": {"gradients.modified_gradient"},
    "9, Lyapunov function": {"dynamics.flow", "gradients.modified_gradient"},
    "9, shared optimum": {
        "dynamics.fixed_point",
        "dynamics.flow",
        "gradients.full_gradient",
        "gradients.modified_gradient",
    },
}


def test_two_oracles_of_a_statement_share_no_function_of_the_library(page, links):
    found = [one for path in notebooks(BOOK) for one in origins(code_of(path))]
    alone, unused = {}, dict(POINTS)
    for line in links.LINKS:
        given = unused.pop(line, set())
        sides = {oracle: side - given for oracle, side in page.calls(line, found).items()}
        if len(independent(sides)) < 2:
            alone[line] = sides
    assert alone == {}
    assert unused == {}, "needed no more"


def test_no_function_of_the_library_stands_on_both_sides_of_a_check(links):
    both = {}
    for path in notebooks(BOOK):
        for one in origins(code_of(path)):
            names = links.GIVEN | POINTS.get(one.eq, set())
            allowed = {f"{package}.{name}" for name in names for package in ("condkl", "condkl_studies")}
            if shared := (one.got & one.want) - allowed:
                both[one.eq, one.oracle] = shared
    assert both == {}
