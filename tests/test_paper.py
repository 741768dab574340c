"""The book as one LaTeX paper: a small book goes through Sphinx's latex builder, and its .tex is looked at."""

import re
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

pytest.importorskip("myst_nb")
from sphinx.testing.util import SphinxTestApp
from sphinx.util.docutils import docutils_namespace

EXTENSIONS = Path(__file__).parents[1] / "book" / "_ext"
SETTINGS = {
    "extensions": ["myst_nb", "sphinx_proof", "paper_eq", "data_frames", "paper", "paper_blocks"],
    "myst_enable_extensions": ["amsmath", "dollarmath"],
    "nb_execution_mode": "off",
    "nb_mime_priority_overrides": [("latex", "text/html", 45)],
    "mathjax3_config": {"tex": {"macros": {"KL": r"\operatorname{KL}"}}},
    "math_eqref_format": "({number})",
    "latex_engine": "xelatex",
    "latex_theme": "howto",
    "latex_documents": [("index", "book.tex", "Book", "Somebody", "howto")],
    "html_theme": "basic",
}
INDEX = """
# A question

The question.

```{{if-file}} book.pdf
Take [the paper](book.pdf).
```

```{{toctree}}
:caption: The mathematics

{pages}
```
"""
PYTHON = {
    "kernelspec": {"name": "python3", "display_name": "Python 3"},
    "language_info": {"name": "python", "pygments_lexer": "ipython3"},
}
SPARSE = pd.DataFrame(
    {"mean": ["−1.20 ± 0.10", "3.40 ± 0.20"], "said": ["held", "it failed in every single seed"]},
    index=pd.MultiIndex.from_tuples([("plain", "full"), ("plain", "half")], names=["decoder", "way"]),
)


@pytest.fixture
def build(tmp_path, monkeypatch):
    """Return a function that builds a book of an index and the pages given, and returns its .tex or its index page."""
    monkeypatch.syspath_prepend(str(EXTENSIONS))

    def build(*, builder="latex", **pages):
        for name, page in pages.items():
            if isinstance(page, str):
                (tmp_path / f"{name}.md").write_text(page)
            else:
                nbformat.write(page, tmp_path / f"{name}.ipynb")
        (tmp_path / "index.md").write_text(INDEX.format(pages="\n".join(pages)))
        (tmp_path / "conf.py").write_text("")
        with docutils_namespace():
            app = SphinxTestApp(builder, srcdir=tmp_path, confoverrides=SETTINGS)
            try:
                app.build()
                build.warnings = app.warning.getvalue()
                return Path(app.outdir, "book.tex" if builder == "latex" else "index.html").read_text()
            finally:
                app.cleanup()

    return build


def notebook(*cells):
    return new_notebook(cells=[new_markdown_cell("# 3. Cells"), *cells], metadata=PYTHON)


def cell(source, *outputs, **metadata):
    return new_code_cell(source, outputs=[new_output("display_data", data) for data in outputs], metadata=metadata)


def html(text):
    return {"text/html": text, "text/plain": "plain text"}


def test_equations_have_the_numbers_of_the_site(build):
    text = "# 2. Chain\n\nBefore.\n\n$$\na\n$$ (eq-9)\n\n$$\nb\n$$ (eq-other)\n\n$$\nc\n$$\n\nSee {eq}`eq-9`."
    tex = build(**{"02_chain": text + "\n\n\\begin{align}\nd &= \\begin{matrix}e\\end{matrix}\n\\end{align}\n"})
    for label, number in (("eq-9", "9"), ("eq-other", "2.1")):
        begin = rf"\begin{{equation}}\label{{equation:02_chain:{label}}}"
        assert f"\\renewcommand{{\\theequation}}{{{number}}}{begin}" in tex.replace("\n", "")
    assert r"See (\ref{equation:02_chain:eq-9})." in tex
    assert tex.count(r"\begin{equation}") == 2
    assert "Before.\n\\renewcommand" in tex  # an empty line would be a paragraph
    assert "\\fitline{%\nc}" in tex
    assert "\\begin{align*}\nd &= \\begin{matrix}e\\end{matrix}\n\\end{align*}" in tex
    assert build.warnings == ""


def test_formulas_may_use_the_macros_of_the_site(build):
    assert r"\renewcommand\KL{\operatorname{KL}}" in build(one="# One")


def test_the_index_is_a_chapter_beside_the_others_which_stand_under_the_name_of_their_group(build):
    tex = build(one="# 1. One\n\n## Within", two="# 2. Two")
    parts = [r"\section{A question}", "The question.", r"\bookpart{The mathematics}", r"\section{1. One}"]
    parts += [r"\subsection{Within}", r"\section{2. Two}"]
    places = [tex.index(part) for part in parts]
    assert places == sorted(places)
    assert tex.count(r"\bookpart{") == 1


def test_a_table_of_a_cell_is_a_table_with_numbers_to_the_right(build):
    tex = build(one=notebook(cell("table", html(SPARSE.to_html()))))
    assert "plain text" not in tex
    assert r"\begin{tabulary}{\linewidth}[t]{llRL}" in tex
    assert r"\multirow" in tex or r"\sphinxmultirow" in tex  # "plain" spans two rows
    assert "−1.20 ±\N{NO-BREAK SPACE}0.10" in tex
    head = tex.split(r"\sphinxtoprule")[1].split(r"\sphinxmidrule")[0]
    assert all(name in head for name in ("decoder", "way", "mean", "said"))
    assert head.count(r"\\") == 1


@pytest.mark.parametrize("frame", [SPARSE, SPARSE.reset_index()])
def test_a_long_table_goes_on_to_the_next_page_in_columns_that_fit_the_line(build, frame):
    long = pd.concat([frame.assign(said="a remark of several words"), *[frame] * 30])
    tex = build(one=notebook(cell("table", html(long.to_html(index=isinstance(frame.index, pd.MultiIndex))))))
    assert r"\begin{longtable}{\X{" in tex
    assert r"\begin{tabulary}" not in tex


def test_the_column_that_makes_a_table_long_is_the_widest(build):
    frame = pd.DataFrame({"first": ["a few words here"] * 30, "second": ["many words, so many: they need lines"] * 30})
    tex = build(one=notebook(cell("table", html(frame.to_html(index=False)))))
    first, second = (int(width) for width in re.findall(r"\\X\{(\d+)\}", tex)[:2])
    assert 1.5 * first < second < 4 * first


def test_checks_and_sources_are_one_block_of_small_lines_in_their_order(build):
    outputs = [html(f'<p class="ledger-check">✓ check {i}</p>') for i in range(3)]
    outputs.append(html('<div class="source"><details><summary>Source: 3 runs.</summary><p>ids</p></details></div>'))
    tex = build(one=notebook(cell("check()", *outputs)))
    assert tex.count(r"\begin{sphinxuseclass}{fineprint}") == 1
    places = [tex.index(line) for line in ("check 0", "check 1", "check 2", "Source: 3 runs.")]
    assert places == sorted(places)
    assert "ids" not in tex.split(r"\begin{sphinxuseclass}{fineprint}")[1]


def test_html_of_no_known_kind_is_a_warning(build):
    build(one=notebook(cell("show()", html("<video></video>"))))
    assert "expected a table, a check or a source" in build.warnings


def test_folded_code_stands_at_the_end_and_is_named_where_it_was(build):
    fold = {"tags": ["hide-input"]}
    cells = [cell("shown"), cell("first", **fold), cell("second", **fold), new_markdown_cell("text"), cell("x", **fold)]
    tex = build(one=notebook(*cells), two="# References")
    book, folded = tex.split(r"\section{Folded code}")
    assert r"\PYG{n}{shown}" in book
    assert [name for name in ("first", "second") if rf"\PYG{{n}}{{{name}}}" in book] == []
    places = [folded.index(rf"\PYG{{n}}{{{name}}}") for name in ("first", "second", "x")]
    assert places == sorted(places)
    assert folded.index(r"\section{References}") > places[-1]
    assert book.count(r"\foldedat{") == 2  # a row of folded cells has one line
    assert r"\foldedat{one-1}" in book
    assert r"\folded{one-1}" in folded


def test_a_proof_is_text_with_a_mark_at_its_end(build):
    tex = build(one="# 1. One\n\n```{prf:proposition}\n:label: p\nIt holds.\n```\n\n```{prf:proof}\nClear.\n```")
    assert r"\sphinxstyleemphasis{Proof.} Clear.\hfill$\square$" in tex
    assert tex.count(r"\begin{sphinxadmonition}") == 1
    assert r"\phantomsection" in tex.split(r"\label{one:p}")[0].rsplit("\n\n", 1)[1]


def test_the_site_links_the_paper_only_where_it_is(build, tmp_path):
    assert "the paper" not in build(builder="html", one="# One")
    assert build.warnings == ""
    (tmp_path / "book.pdf").write_bytes(b"%PDF")
    assert "the paper" in build(builder="html", one="# One")
    assert build.warnings == ""
    assert len(list(tmp_path.glob("_build/html/_downloads/*/book.pdf"))) == 1


def test_a_line_that_ends_within_a_cell_does_not_end_its_row(build):
    table = "# One\n\n```{list-table}\n* - first\\\n    second\n  - other\n```\n\nOutside\\\nthe table.\n"
    tex = build(one=table)
    assert "first\\newline\nsecond" in tex
    assert "Outside\\\\\nthe" in tex


def test_bars_in_sentences_are_those_of_formulas_and_code_is_left_alone(build):
    tex = build(one="# About p(x|u)\n\nFor p(x|u) and *q(u|v)*, `a|b` and $p(x|v)$.\n\n    c | d\n")
    assert r"\section{About p(x\textbar{}u)}" in tex
    assert r"For p(x\textbar{}u) and \sphinxstyleemphasis{q(u\textbar{}v)}, \sphinxcode{\sphinxupquote{a|b}}" in tex
    assert r"\(p(x|v)\)" in tex
    assert "c | d" in tex.replace(r"\PYG{o}{|}", "|").replace("\\PYG{n}{c}", "c").replace("\\PYG{n}{d}", "d")
