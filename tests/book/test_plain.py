"""The notebook that a page offers: its text without roles, and all its code."""

import re

import nbformat
import pytest

pytest.importorskip("sphinx")
from docutils import nodes
from IPython.core.inputtransformer2 import TransformerManager
from small_site import build

PARAGRAPH = nodes.paragraph
FOLDED = """
````{dropdown} Proof
By **hand**: $a$.

- one
- two
````

````{grid} 1
```{grid-item-card} A case
**No.** It costs 2 nats.

*Do:* nothing.
```
````

````{exercise} A task
:label: ex-task
Do it.
````

````{solution} ex-task
:class: dropdown
It is done.
````
"""


@pytest.fixture
def plain(extension):
    return extension("plain")


@pytest.fixture
def writer(plain):
    numbers = {"displaymath": {"equation-eq-9": (9,)}, "proposition": {"prop-price": (6, 3)}}
    return plain.Writer(numbers, {"04_the_vae"})


def line(*parts):
    return PARAGRAPH("", "", *(nodes.Text(part) if isinstance(part, str) else part for part in parts))


def link(text, to):
    return nodes.reference("", "", nodes.Text(text), refuri=to)


def section(title, *children):
    return nodes.section("", nodes.title("", title), *children)


def proposition():
    node = nodes.admonition(ids=["prop-price"])
    node["realtype"] = node["countertype"] = "proposition"
    node += [nodes.title("", " (Price)"), line("It costs ", nodes.math("", "r"), ".")]
    return node


@pytest.mark.parametrize(
    ("node", "text"),
    [
        (
            line("a ", nodes.strong("", "b"), " ", nodes.emphasis("", "c"), " ", nodes.literal("", "d")),
            "a **b** *c* `d`",
        ),
        (line(nodes.math("", r"\KL[q]"), "."), r"$\KL[q]$."),
        (line(link("chapter 4", "04_the_vae.html#x")), "[chapter 4](04_the_vae.ipynb)"),
        (line(link("the ledger", "ledger.html")), "the ledger"),
        (line(nodes.reference("", "", nodes.Text("1.5"), refuri="04_the_vae.html#c", classes=["glued"])), "1.5"),
        (line(link("(9)", "#equation-eq-9")), "(9)"),
        (line(link("the post", "https://example.org/a")), "[the post](https://example.org/a)"),
        (nodes.math_block("", "a = b", ids=["equation-eq-9"]), "$$\na = b \\tag{9}\n$$"),
        (nodes.math_block("", "a = b"), "$$\na = b\n$$"),
        (nodes.literal_block("", "x = 1", language="python"), "```python\nx = 1\n```"),
        (
            nodes.bullet_list("", nodes.list_item("", line("a"), line("b")), nodes.list_item("", line("c"))),
            "- a\n  \n  b\n- c",
        ),
        (nodes.block_quote("", line("a"), line("b")), "> a\n>\n> b"),
        (proposition(), "> **Proposition 6.3 (Price).** It costs $r$."),
        (nodes.raw("", "<b>", format="html"), ""),
        (nodes.figure("", nodes.image(uri="a.png"), nodes.caption("", "What it shows.")), "**Figure.** What it shows."),
    ],
)
def test_a_node_becomes_markdown(node, text, writer):
    assert writer.block(node) == text


def test_a_table_keeps_its_rows(writer):
    rows = [nodes.row("", *(nodes.entry("", line(text)) for text in texts)) for texts in (("a", "b|c"), ("1", "2"))]
    table = nodes.table("", nodes.tgroup("", nodes.thead("", rows[0]), nodes.tbody("", rows[1])))
    assert writer.block(table) == "| a | b\\|c |\n| --- | --- |\n| 1 | 2 |"


def cell(index):
    return nodes.container(nb_element="cell_code", cell_index=index)


def test_text_and_cells_keep_their_order_and_headings_their_depth(writer):
    document = nodes.section("", section("One", line("a"), cell(1), section("Two", line("b"), cell(3), line("c"))))
    assert list(writer.parts(document)) == ["# One", "a", 1, "## Two", "b", 3, "c"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return the text of the notebook that a page offers, made by Sphinx as the book is."""
    cells = [nbformat.v4.new_markdown_cell(FOLDED)]
    settings = {"mathjax3_config": {"tex": {"macros": {}}}, "myst_enable_extensions": ["dollarmath"]}
    extensions = ["sphinx_design", "sphinx_exercise", "plain"]
    site = build(tmp_path_factory.mktemp("site"), cells, extensions, settings=settings)
    notebook = nbformat.read(site / "_sources" / "chapter.ipynb", as_version=4)
    return "\n\n".join(one.source for one in notebook.cells if one.cell_type == "markdown")


def test_what_opens_on_the_page_opens_in_the_notebook(made):
    assert "<details><summary>Proof</summary>\n\nBy **hand**: $a$.\n\n- one\n- two\n\n</details>" in made
    assert re.search(r"<details><summary>Solution[^<]*</summary>\n\nIt is done\.\n\n</details>", made)


def test_a_card_is_its_title_and_its_paragraphs(made):
    assert "**A case.**\n\n**No.** It costs 2 nats.\n\n*Do:* nothing." in made


def test_the_caption_of_a_figure_follows_its_cell(writer):
    drawn = cell(1)
    drawn += nodes.figure("", nodes.image(uri="a.png"), nodes.caption("", "What it shows."))
    assert list(writer.parts(nodes.section("", section("One", drawn)))) == ["# One", 1, "**Figure.** What it shows."]


def test_an_interactive_figure_is_said_to_be_on_the_site(writer):
    class explorer(nodes.General, nodes.Element):  # noqa: N801
        pass

    shown = explorer("", nodes.caption("", "Move it."), ids=["fig-it"])
    writer.numbers["figure"] = {"fig-it": (7,)}
    assert writer.block(shown) == "**On the site, figure 7.** Move it."


def test_a_formula_in_a_proposition_is_in_one_line(plain):
    assert plain.quoted("It is\n\n$$\na\n= b\n$$\n\nthen.") == "> It is\n>\n> $$ a = b $$\n>\n> then."


def test_every_cell_of_code_is_there_once_also_one_that_the_page_hides(plain):
    v4 = nbformat.v4
    sources = ["x = 1", "secret = 2", "y = 3", "last = 4"]
    code = [v4.new_code_cell(source, id=source[0] * 3) for source in sources]
    code[1].metadata["tags"] = ["remove-cell"]
    code[2].outputs = [v4.new_output("stream", text="3")]
    found = v4.new_notebook(cells=[v4.new_markdown_cell("{eq}`eq-9`"), *code])
    made = plain.plain(found, ["text", 1, "more", 3], {"KL": r"\operatorname{KL}"}, "needs = 0")
    nbformat.validate(made)
    needs = ["$\\newcommand{\\KL}{\\operatorname{KL}}$", "needs = 0"]
    assert [one.source for one in made.cells] == [*needs, "text", sources[0], "more", *sources[1:]]
    assert made.cells[5].metadata.jupyter.source_hidden
    assert not any(one.get("outputs") for one in made.cells)


def test_the_first_cell_says_what_is_missing(plain):
    exec(plain.INSTALL.format(cure=plain.CLONED), {})
    with pytest.raises(ModuleNotFoundError, match=r"pip install -e \.\[book\]"):
        exec(plain.INSTALL.replace("condkl_book", "nowhere").format(cure=plain.CLONED), {})


def test_where_there_is_an_address_the_first_cell_fetches_what_is_missing(plain):
    text = plain.INSTALL.format(cure=plain.FETCHED.format(repository="https://example.org/a-book"))
    code = TransformerManager().transform_cell(text)
    compile(code, "the first cell", "exec")
    assert "git clone --quiet --depth 1 https://example.org/a-book condkl" in code
