"""The API pages have every module and every name, and the ledger's links lead to proofs, code and tests that exist."""

import ast
import importlib
import inspect
import json
import pkgutil
import re
from pathlib import Path

import pytest
import yaml
from docutils.nodes import make_id

import condkl

BOOK = Path(__file__).parents[1] / "book"
PAGES = sorted((BOOK / "api").glob("*.md"))
COMPETITORS = ("torch_steps", "pyro_steps", "numpyro_steps", "jax_steps")
MODULES = [module.name for module in pkgutil.walk_packages(condkl.__path__, "condkl.")]
PUBLIC = [name for name in MODULES if not re.search(r"\._[a-z]", name) and not name.endswith(COMPETITORS)]
NOTEBOOKS = {path.stem: json.loads(path.read_text("utf-8"))["cells"] for path in sorted(BOOK.glob("*.ipynb"))}


@pytest.fixture
def links(extension):
    return extension("ledger_links")


def text(name, kind):
    return "\n".join("".join(cell["source"]) for cell in NOTEBOOKS[name] if cell["cell_type"] == kind)


def checked(name):
    """What the `check`s of a chapter call the equations, where they say it as a constant."""
    code = "\n".join(line for line in text(name, "code").splitlines() if not line.startswith("%"))
    calls = [n for n in ast.walk(ast.parse(code)) if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "check"]
    named = [k.value for call in calls for k in call.keywords if k.arg == "eq"]
    return {str(value.value) for value in named if isinstance(value, ast.Constant)}


def thing(name):
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(f"condkl.{module}"), attribute)


def test_every_public_module_is_on_one_page(extension):
    module = extension("api_page").MODULE
    found = [name for page in PAGES for name in module.findall(page.read_text("utf-8"))]
    assert sorted(found) == sorted(PUBLIC)


def test_every_public_name_of_a_module_is_shown():
    options = yaml.safe_load((BOOK / "_config.yml").read_text("utf-8"))["sphinx"]["config"]["autodoc_default_options"]
    assert options["members"] is True
    assert set(options) <= {"members", "member-order", "ignore-module-all", "no-value"}, "none of these hides a name"
    for page in PAGES:
        assert not re.search(r"automodule::.*\n\s+:", page.read_text("utf-8")), f"{page.name}: an option may hide names"


def test_every_page_is_in_the_table_of_contents():
    toc = (BOOK / "_toc.yml").read_text("utf-8")
    assert [page.stem for page in PAGES if f"file: api/{page.stem}\n" not in toc] == []


def test_every_check_of_a_chapter_has_a_line(links):
    names = set.union(*map(checked, NOTEBOOKS))
    assert names - set(links.LINKS) == set()
    assert {name for name in links.LINKS if not name.isdigit()} <= names, "a line of no check"
    assert {name for name in links.LINKS if name.isdigit()} == {str(n) for n in range(1, 10)}


def test_no_two_lines_have_one_anchor(links):
    assert len({make_id(f"ledger {name}") for name in links.LINKS}) == len(links.LINKS)


def test_every_proof_is_in_a_chapter(links):
    for name, at in links.LINKS.items():
        chapter, _, section = at.proof.rpartition("#")
        if section and chapter:
            titles = re.findall(r"^#+ (.*)$", text(chapter, "markdown"), re.MULTILINE)
            assert section in map(make_id, titles), f"{name}: {at.proof}"
        else:
            label = rf":label: {at.proof}$|\({at.proof}\)$"
            assert [n for n in NOTEBOOKS if re.search(label, text(n, "markdown"), re.MULTILINE)], f"{name}: {at.proof}"


def test_every_function_behind_an_equation_exists_and_is_tested(links):
    for name, at in links.LINKS.items():
        for function in at.code:
            assert thing(function).__module__ == f"condkl.{function.rpartition('.')[0]}"
        assert not at.code or links.tests_of(at.code), f"{name}: no test of {at.code}"


@pytest.mark.parametrize("number", range(1, 10))
def test_the_code_of_an_equation_says_which_it_is(number, links):
    documented = inspect.getdoc(thing(links.LINKS[str(number)].code[0]))
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


@pytest.mark.parametrize(
    ("what", "name", "shown"),
    [
        ("function", "linear.rho", ("(lam: float | Tensor, beta: float | Tensor, sigma2: float | Tensor)", "Tensor")),
        ("method", "vae.HierarchicalVAE.start_at_mean", ("(images: Tensor)", "HierarchicalVAE")),
        ("method", "vae.Gaussian.kl_from", ("(p: Gaussian)", "Tensor")),
        ("class", "vae.TanhNet", ("(inputs: Sequence[int], hidden: int, outputs: int)", None)),
        ("class", "ledger.Ledger", ("(rows: list[LedgerRow], gaps: list[str] = list())", None)),
        ("class", "linear.Price", ("(full: Tensor, modified: Tensor)", None)),
        ("class", "objective.PriorMixture", None),
        ("exception", "data.DataError", None),
    ],
)
def test_a_signature_is_that_of_the_source(what, name, shown, extension):
    module, *names = name.split(".")
    found = importlib.import_module(f"condkl.{module}")
    for part in names:
        found = getattr(found, part)
    assert extension("api_page").as_written(None, what, name, found, None, "", "") == shown


def test_bars_stay_bars_and_code_stays_code(extension):
    lines = ["KL[q(u|v) || p(u|v)], `|x|`", "", ">>> f(", "...     a | b)", "c | d", "", "p(v|x)"]
    extension("api_page").keep_bars(None, "", "", None, None, lines)
    assert lines == [r"KL[q(u\|v) \|\| p(u\|v)], `|x|`", *lines[1:6], r"p(v\|x)"]


@pytest.mark.parametrize(
    ("name", "module", "meant"),
    [
        ("Path", "dynamics", "condkl.dynamics.Path"),
        ("Path", "studies.store", "pathlib.Path"),
        ("HierarchicalVAE", "gradients", "condkl.vae.HierarchicalVAE"),
        ("Conditional", "gradients", "Conditional"),
        ("engine.run", "studies.schedule", "engine.run"),
    ],
)
def test_a_class_is_the_one_that_its_module_knows(name, module, meant, extension):
    assert extension("api_page").full_name(name, f"condkl.{module}") == meant


@pytest.mark.parametrize(
    ("name", "module", "meant"),
    [
        ("engine.run", "studies.schedule", "condkl_studies.engine.run"),
        ("objective.full", "training", "condkl.objectives.full"),
        ("RecordError", "results", "condkl_studies.store.RecordError"),
        ("run", "results", None),
    ],
)
def test_a_name_of_another_module_is_found(name, module, meant, extension):
    known = ["condkl_studies.store.RecordError", "condkl_studies.engine.run", "condkl.objectives.full"]
    places = extension("api_page").places(name, f"condkl.{module}", known)
    assert next((place for place in places if place in known), None) == meant
