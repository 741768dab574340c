"""The API pages have every module and every name, with signatures and docstrings as they are written."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from public import modules

pytest.importorskip("sphinx")
from docutils.frontend import get_default_settings
from docutils.utils import new_document
from sphinx.addnodes import pending_xref

BOOK = Path(__file__).parents[2] / "book"
PAGES = sorted((BOOK / "api").glob("*.md"))


@pytest.fixture
def api(extension):
    return extension("api")


@pytest.fixture
def expanded(api):
    """A function that gives what becomes of a page."""

    def expanded(text):
        api.expand(SimpleNamespace(srcdir=BOOK), "api/index", source := [text])
        return source[0]

    return expanded


def test_every_public_module_is_on_one_page(expanded):
    found = [name for page in PAGES for name in re.findall("automodule:: (.*)", expanded(page.read_text("utf-8")))]
    assert sorted(found) == sorted(name for name in modules() if name != "condkl"), "which offers what its modules do"


def test_every_public_name_of_a_module_is_shown():
    options = yaml.safe_load((BOOK / "_config.yml").read_text("utf-8"))["sphinx"]["config"]["autodoc_default_options"]
    assert options["members"] is True
    assert set(options) <= {"members", "member-order", "ignore-module-all", "no-value"}, "none of these hides a name"


def test_every_page_is_in_the_table_of_contents():
    toc = (BOOK / "_toc.yml").read_text("utf-8")
    assert [page.stem for page in PAGES if f"file: api/{page.stem}\n" not in toc] == []


def test_the_index_has_each_module_with_the_first_line_of_its_docstring(expanded):
    table = expanded("{summary} api/models")
    assert "* - {py:mod}`condkl.objectives.free_bits`\n  - A layer uses some nats without a gradient" in table


def test_bars_stay_bars_and_code_stays_code(api):
    lines = ["KL[q(u|v) || p(u|v)], `|x|`", "", ">>> f(", "...     a | b)", "c | d", "", "p(v|x)"]
    api.keep_bars(None, "", "", None, None, lines)
    assert lines == [r"KL[q(u\|v) \|\| p(u\|v)], `|x|`", *lines[1:6], r"p(v\|x)"]


@pytest.mark.parametrize("name", ["condkl_book.ledger.check", "condkl_book.ledger.Ledger", "condkl.vae.TanhNet"])
def test_a_signature_is_short_and_can_be_read(name, api):
    from sphinx.util.inspect import signature, stringify_signature

    module, _, own = name.rpartition(".")
    written = stringify_signature(
        signature(getattr(__import__(module, fromlist=["x"]), own)), unqualified_typehints=True
    )
    shown, _ = api.shorten(None, "function", name, None, None, written, "")
    assert "_SupportsArray" not in shown
    assert "<" not in shown


@pytest.mark.parametrize(("name", "further"), [("RunConfig", True), ("engine.fit_run", True), ("data", False)])
def test_a_name_may_be_one_of_another_module_but_an_argument_is_none(name, further, api):
    document = new_document("a page", get_default_settings())
    document += pending_xref("", refdomain="py", reftarget=name)
    api.look_further(None, document)
    assert document[0].get("refspecific", False) == further
