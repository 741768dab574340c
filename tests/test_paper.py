"""The article: what it takes out of the chapters, and that no result in it was typed."""

import ast
import base64
import json
import re
from functools import cache
from pathlib import Path

import pandas as pd
import pytest
import torch

from tools import paper

ROOT = Path(__file__).parents[1]
SOURCES = paper.sources(ROOT / "paper")
TEX = "\n".join(path.read_text("utf-8") for path in SOURCES)
EXECUTED = sorted((ROOT / paper.EXECUTED).glob("*.ipynb"))

#: Numbers that stand in words: what they are, none of them a result.
STRUCTURAL = {"2017": "the post's year", "95": "the level of all intervals"}
#: Numbers that stand alone in mathematics: settings and definitions, none of them a result.
SETTINGS = {
    "0": "a value of v, of n, or of lambda, or a seed",
    "1": "the same",
    "2": "a number of digits, or nats at a start",
    "20": "epochs of stability",
    "40": "epochs of main",
    "150": "epochs of long",
    "75": "epochs of it at lambda = 1",
    "3280": "epochs of the published model",
    "364": "epochs of published",
    "1093": "epochs of published_longer",
    "100": "units of u, a batch, or a factor in a law",
    "50": "units of v",
    "200": "units of a layer, or test images",
    "64": "pixels of the known models, or a batch",
    "10": "units of a look, or nats at a start",
    "47": "nats of an object at the far starts",
    "197": "nats of an object at the farthest",
    "8": "nats that it gains there",
    "12.5": "nats at a start of the two values",
    "800": "the same",
    "60000": "steps that such a fit was given",
    "50000": "images to train on",
    "1000": "test images, or draws",
    "5000": "draws",
    "6000": "steps of counting",
    "5": "seeds",
    "6": "units of the top of five layers",
    "3000": "steps of stability_counting",
    "0.002": "the learning rate",
    "0.01": "a step, or the variance of an active unit",
    "0.1": "the standard deviation of the scale's prior, or where an axis is linear",
    "0.2": "the level of a figure",
    "0.7": "a weight",
    "0.9": "a weight",
    "0.85": "the share of objects below which a run starves",
    "1.5": "the bound of prediction 9",
    "5%": "how near the truth a rescue comes",
    "95%": "the level of all intervals, and of counting right",
}
FAILED = (4, 9, 13, 16, 19, 25, 28, 35, 41, 43, 44, 46, 49, 54, 55, 56, 58, 61, 62, 63, 64, 69)
SETTINGS |= dict.fromkeys(map(str, FAILED), "a prediction")

# What is no prose: comments, programs, what commands are given, and mathematics.
GONE = [
    r"(?<!\\)%.*",
    r"\\begin\{lstlisting\}.*?\\end\{lstlisting\}",
    r"\\\[.*?\\\]",
    r"\\begin\{(equation|align)\}.*?\\end\{\1\}",
    r"\\(?:val|label|ref|eqref|cite[tp]?|input|bibliography\w*|usepackage|documentclass)\*?(?:\[[^\]]*\])*\{[^}]*\}",
    r"\\bookfigure(?:\[[^\]]*\])?\{[^}]*\}|\\booktable\{[^}]*\}",
]
MATH = r"\$[^$]*\$"


def written(tex):
    """The text with its mathematics, and nothing else; of `main.tex` what stands after the preamble."""
    _, _, body = tex.rpartition(r"\begin{document}")
    for pattern in GONE:
        body = re.sub(pattern, " ", body, flags=re.DOTALL if "begin" in pattern or r"\[" in pattern else 0)
    return body


def typed(tex):
    """The numbers that somebody typed: in words, and alone in mathematics."""
    body = written(tex)
    alone = [re.sub(r"\\[,%]|[$+\-]|\\pm", lambda m: "%" if m[0] == r"\%" else "", m) for m in re.findall(MATH, body)]
    words = re.findall(r"\d+(?:[.,]\d+)*", re.sub(MATH, " ", body))
    return [n for n in words if n not in STRUCTURAL] + [
        n for n in alone if re.fullmatch(r"\d[\d.]*%?", n) and n not in SETTINGS
    ]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_no_result_is_typed_by_hand(path):
    assert typed(path.read_text("utf-8")) == []


def test_a_typed_result_is_found_wherever_it_hides():
    assert typed(r"It cost 1.65 nats.") == ["1.65"]
    assert typed(r"It cost $1.65$ nats in $40$ epochs, $+8.2$ more.") == ["1.65", "8.2"]
    assert typed(r"\bookfigure{fig-1}{With 3 seeds. \val{a::b-2}} \citep{neal1998} % 4") == ["3"]
    assert typed(r"A rate of $\lambda=0.9$, eq.~\eqref{eq:9}, and \val{07_two_layers::price-plain-elbo} nats.") == []


def notebook(**values):
    """An executed chapter that glues these values, and shows a figure and a table."""
    glue = [
        {"metadata": {"scrapbook": {"name": key}}, "data": {paper.GLUED: [repr(value)]}}
        for key, value in values.items()
    ]
    frame = pd.DataFrame(
        {"ELBO": ["−1.50 ± 0.20", "–", "+1"]}, index=[("p(x|u)", "λ = ½"), ("p(x|u)", "b"), ("q", "c")]
    )
    frame.index = pd.MultiIndex.from_tuples(frame.index, names=["decoder", "method"])
    pdf = {"data": {"application/pdf": base64.b64encode(b"%PDF").decode()}}
    figure = {"id": "drawn", "metadata": {"mystnb": {"figure": {"name": "fig-one"}}}, "outputs": [pdf]}
    table = {"id": "shown", "metadata": {}, "outputs": [{"data": {"text/html": [frame.to_html()]}}]}
    return {"cells": [{"id": "glued", "metadata": {}, "outputs": glue}, figure, table, {"id": "text", "metadata": {}}]}


def collected(tmp_path, tex, **values):
    """What `collect` writes for a paper of this text, with one chapter."""
    for folder in ("executed", "paper/sections"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "executed" / "03_one.ipynb").write_text(json.dumps(notebook(**values)))
    (tmp_path / "paper" / "main.tex").write_text(tex)
    (tmp_path / "_config.yml").write_text('html: {baseurl: "https://someone.org/a-book/"}')
    paper.collect(tmp_path / "executed", tmp_path / "paper", tmp_path / "_config.yml")
    return (tmp_path / "paper" / "numbers.tex").read_text()


def test_a_value_comes_with_the_chapter_and_the_key_that_it_is_from(tmp_path):
    numbers = collected(tmp_path, r"\val{03_one::cost}, \val{03_one::cost}", cost="1.65 ± 0.21", other="2")
    assert numbers.splitlines()[2:] == [r"\setval{03_one::cost}{1.65~\ensuremath{\pm}~0.21} % 03_one.ipynb, cost"]


def test_captions_lead_to_the_address_of_the_book_and_nowhere_without_one(tmp_path):
    assert collected(tmp_path, "").splitlines()[1] == r"\newcommand{\site}{https://someone.org/a-book}"
    assert paper.address(ROOT / paper.CONFIG) == ""


def test_a_figure_is_found_by_its_name_and_by_its_cell_and_says_where_it_stands(tmp_path):
    numbers = collected(tmp_path, r"\bookfigure[.5]{fig-one}{} \bookfigure{drawn}{}")
    assert r"\setplace{fig-one}{03_one}{chapter~3}" in numbers
    assert (tmp_path / "paper/figures/fig-one.pdf").read_bytes() == b"%PDF"
    assert (tmp_path / "paper/figures/drawn.pdf").read_bytes() == b"%PDF"


def test_a_table_keeps_its_rows_labels_and_groups(tmp_path):
    collected(tmp_path, r"\booktable{03_one::shown}{}")
    lines = (tmp_path / "paper/tables/03_one-shown.tex").read_text().splitlines()
    assert lines[0] == r"\begin{tabular}{llr}"
    assert lines[2] == r"decoder & method & ELBO \\"
    assert lines[4] == (
        r"p(x\ensuremath{\mid}u) & \ensuremath{\lambda} = \ensuremath{\tfrac12} & "
        r"\ensuremath{-}1.50~\ensuremath{\pm}~0.20 \\"
    )
    assert lines[5:8] == [r" & b & -- \\", r"\addlinespace", r"q & c & +1 \\"]


@pytest.mark.parametrize(
    ("tex", "named"),
    [
        (r"\val{03_one::none}", "03_one::none"),
        (r"\val{04_no::cost}", "04_no::cost"),
        (r"\bookfigure{fig-none}{}", "fig-none"),
        (r"\booktable{03_one::text}{}", "03_one::text"),
    ],
)
def test_what_no_chapter_has_stops_the_paper_by_name(tmp_path, tex, named):
    with pytest.raises(LookupError, match=f"found none for {named}. Run `make chapters`"):
        collected(tmp_path, tex, cost="1")


def test_a_sign_that_latex_does_not_know_stops_the_paper():
    with pytest.raises(ValueError, match="Add it to ESCAPES"):
        paper.escape("1 ☂")


def plain(tex):
    """The text that a value in LaTeX shows."""
    tex = re.sub(r"\\ensuremath\{([\d.]+)\\times10\^\{(-?)(\d+)\}\}", r"\1e\2\3", tex)
    tex = tex.replace("~", " ")
    for sign, command in sorted(paper.ESCAPES.items(), key=lambda pair: -len(pair[1])):
        tex = tex.replace(command, sign)
    return tex


def same(text):
    """A value but for how the exponent of a power of ten is written."""
    return re.sub(r"(\de)[+]?([−-]?)0*(\d)", r"\1\2\3", text).replace("e−", "e-")


@pytest.mark.parametrize(
    "text", ["5,007.7", "−1.66 ± 0.17", "3.1e+06", "7e-06", "98% of A_1 & {B} ~ #1 ^2", "λ = ½", "a|b"]
)
def test_a_value_shows_what_it_is(text):
    assert plain(paper.escape(text)) == same(text)


def test_the_switch_for_a_discrete_v_gives_theta_the_weight_and_all_others_the_whole_gradient():
    _, listing = re.findall(r"\\begin\{lstlisting\}(.*?)\\end\{lstlisting\}", TEX, flags=re.DOTALL)
    torch.manual_seed(0)
    logits, r, c = (torch.randn(5, 3, dtype=torch.float64, requires_grad=True) for _ in range(3))
    lam, q = 0.3, logits.softmax(-1)
    names = {"q": q, "r": r, "c": c, "lam": lam}
    exec(listing, names)
    R, C = names["R"], names["C"]
    assert torch.allclose(R - C, (q * (r - c)).sum(-1))
    theta, of_r, of_c = torch.autograd.grad((R - C).sum(), (logits, r, c), retain_graph=True)
    (wanted,) = torch.autograd.grad((q * (r - lam * c)).sum(), logits, retain_graph=True)
    assert torch.allclose(theta, wanted)
    assert torch.allclose(of_r, q)
    assert torch.allclose(of_c, -q)


@pytest.mark.skipif(not EXECUTED, reason="no chapter is executed")
def test_every_value_of_the_paper_is_what_the_page_shows():
    glued = {path.stem: paper.glued(json.loads(path.read_text("utf-8"))) for path in EXECUTED}
    for name in paper.named(TEX, "val"):
        chapter, key = name.split("::")
        if chapter in glued:
            assert plain(paper.escape(glued[chapter][key])) == same(glued[chapter][key])


CHAPTERS = {path.stem: json.loads(path.read_text("utf-8"))["cells"] for path in (ROOT / "book").glob("*.ipynb")}


@cache
def keys(chapter):
    """Patterns of the keys that a chapter glues; where a loop says which, every text of the cells is one."""
    patterns = []
    for cell in CHAPTERS[chapter]:
        for node in ast.walk(ast.parse("".join(cell["source"]) if cell["cell_type"] == "code" else "")):
            match node:
                case ast.Constant(value=str(key)):
                    patterns.append(re.escape(key))
                case ast.Call(func=ast.Name(id="glue" | "say"), args=[ast.JoinedStr(values=parts), *_]):
                    patterns.append("".join(re.escape(p.value) if isinstance(p, ast.Constant) else ".+" for p in parts))
    return re.compile("|".join(patterns))


@pytest.mark.parametrize("name", paper.named(TEX, "val"))
def test_a_cell_glues_every_value_that_the_paper_names(name):
    chapter, key = name.split("::")
    assert keys(chapter).fullmatch(key)


FRONT = (ROOT / "book" / "index.md").read_text("utf-8")
GLUED = re.compile(r"\{glue:text\}`(\w+)\.ipynb::([^`:]+):(\w+)`")
# What is no prose of the front page: code, formulas, roles, addresses of links, numbers of chapters.
NO_PROSE = [
    r"```\w+\n.*?```",
    r"\$\$.*?\$\$",
    r"\{[\w:]+\}`[^`]*`",
    r"\$[^$]*\$",
    r"`[^`]*`",
    r"\]\([^)]*\)",
    r"^- \[\d+\.",
]
#: Numbers with a point, a percent sign or ±, that stand on the front page without being results.
TYPED = {"1.44": "bits in a nat", "95%": "the level of all intervals", "4.0": "of a licence"}


def typed_in_front(text):
    """The numbers of a page of text, with a point, a percent sign or ±, that somebody typed."""
    for pattern in NO_PROSE:
        text = re.sub(pattern, " ", text, flags=re.DOTALL | re.MULTILINE)
    return [found for found in re.findall(r"\d+\.\d+%?|\d+%|±", text) if found not in TYPED]


def test_no_result_of_the_front_page_is_typed_by_hand():
    assert typed_in_front(FRONT) == []
    assert typed_in_front("It cost 1.65 ± 0.21 nats, `2.5` of $3.5$, and 98% of [A](b-1.2).") == [
        "1.65",
        "±",
        "0.21",
        "98%",
    ]


def test_the_front_page_and_the_paper_show_the_same_text_of_a_value():
    shown = GLUED.findall(FRONT)
    assert len(shown) == FRONT.count("{glue:text}"), "a value has a form that this test does not know"
    assert {form for _, _, form in shown} == {"s"}, "another form rounds once more, and the paper does not"
    assert {f"{chapter}::{key}" for chapter, key, _ in shown} & set(paper.named(TEX, "val"))


def test_every_figure_and_table_that_the_paper_names_is_a_cell_of_the_book():
    cells = [(stem, cell) for stem, one in CHAPTERS.items() for cell in one]
    figures = {cell["metadata"].get("mystnb", {}).get("figure", {}).get("name") for _, cell in cells}
    assert set(paper.named(TEX, "bookfigure")) <= figures | {cell["id"] for _, cell in cells}
    assert set(paper.named(TEX, "booktable")) <= {f"{stem}::{cell['id']}" for stem, cell in cells}


def test_the_log_may_not_speak_of_wide_lines_and_missing_things():
    wrapped = "LaTeX Warning: Reference `prop-x' on page 3 undef\nined on input line 4."
    lost = "Missing character: There is no λ in font cmr10!"
    assert paper.problems(wrapped) == ["Reference `prop-x' on page 3 undefined"]
    assert paper.problems(lost) == [lost]
    assert paper.problems("Overfull \\vbox (9.1pt too high)") == ["Overfull \\vbox (9.1pt too high)"]
    assert paper.problems("Overfull \\hbox (4.9pt too wide) in paragraph at lines 1--2") == []
