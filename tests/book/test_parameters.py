"""What a chapter invites its reader to change can be changed: it runs, or says what was assumed."""

import ast
import re

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from visible import BOOK

MARK = "# change me"
# Of each notebook, what its cells assign as written there, and another value.
FAST = {"01_hierarchies": {"F, beta": "2.0, 0.5"}}
SLOW = {
    "02_gradients": {"F, rate": "4.0, 0.004"},
    "03_the_kl_alone": {"y0, E0": "0.4, 4.0", "start_r": "30.0"},
    "04_the_vae": {"F, beta, sigma2, x": "1.0, 0.4, 0.4, -0.7", "beta, sigma2": "0.5, 0.3", "n, s, c": "6, 1.5, 3.0"},
    "05_more_layers": {"lam, depth": "0.7, 4", "depth, sigma2": "6, 0.05", "variance": "5.0"},
    "06_protocol": {"OBJECTIVE": '"lambda=0.5"', "SKIP": "True", "SEED": "11"},
    "07_two_layers": {"OBJECTIVE, HAS_SKIP, SEED": '"full", False, 11'},
    "first_comparison": {"SEEDS, STEPS": "range(2), 150"},
    "use_it": {"LAM": "0.6"},
}
MARKED = {path.stem for path in BOOK.glob("*.ipynb") if MARK in path.read_text("utf-8")}


def opened(name):
    return nbformat.read(BOOK / f"{name}.ipynb", as_version=4)


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def changed(name, values):
    """The notebook with other values, each assigned in one line of one cell."""
    notebook, places = opened(name), dict.fromkeys(values, 0)
    for cell in code(notebook):
        for names, value in values.items():
            line = re.compile(rf"^{re.escape(names)} = .*$", re.MULTILINE)
            cell.source, found = line.subn(lambda _, names=names, value=value: f"{names} = {value}", cell.source)
            places[names] += found
    assert set(places.values()) == {1}, f"{name}: lines that assign them: {places}"
    return notebook


def answer(notebook):
    """What a run of the notebook stops with, as (kind, message); None if it goes through."""
    try:
        NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(BOOK)}}).execute()
    except CellExecutionError as error:
        return error.ename, error.evalue
    return None


@pytest.mark.parametrize("name", sorted(MARKED))
def test_what_is_marked_is_tried(name):
    lines = [line for cell in code(opened(name)) for line in cell.source.splitlines() if MARK in line]
    assert {line.partition(" = ")[0] for line in lines} == set((FAST | SLOW)[name])


@pytest.mark.parametrize("name", sorted(MARKED))
def test_what_may_not_hold_for_other_values_says_what_was_assumed(name):
    bare = [
        ast.unparse(node)
        for cell in code(opened(name))
        for node in ast.walk(ast.parse(re.sub(r"^%.*$", "", cell.source, flags=re.MULTILINE)))
        if isinstance(node, ast.Assert) and node.msg is None
    ]
    assert bare == []


@pytest.mark.parametrize("name", [*FAST, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_another_value_runs_or_is_answered(name):
    stopped = answer(changed(name, (FAST | SLOW)[name]))
    assert stopped is None or (stopped[0] in {"AssertionError", "ValueError"} and stopped[1].strip()), stopped


@pytest.mark.parametrize(
    ("source", "stopped"),
    [("assert 1 > 2", ("AssertionError", "")), ("assert 1 > 2, 'why'", ("AssertionError", "why"))],
)
def test_a_bare_assertion_is_told_from_an_answer(source, stopped):
    v4 = nbformat.v4
    assert answer(v4.new_notebook(cells=[v4.new_code_cell(source)])) == stopped
