"""How much there is to read, and how it reads."""

import re
from datetime import date

import pytest
import yaml
from visible import BOOK, markdown, sentences, visible

CHAPTERS = sorted(path.name for path in BOOK.glob("[01]*_*.ipynb"))
MATHEMATICS = [name for name in CHAPTERS if name < "06"]


def words(page):
    return len(visible(markdown(page)).split())


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a b\n\n```{dropdown} Proof\nc\n```\nd", "a b d"),
        ("````{dropdown} Proof\n```python\nc\n```\n````\nd", "d"),
        ("```{prf:proposition} Title\n:label: prop-a\n\nb\n```", "Title b"),
        ("`````{exercise} One\nb\n`````\n````{solution} ex\nc\n````", "One b"),
        ("```python\nx = 1\n```", "x = 1"),
    ],
)
def test_what_is_folded_is_not_counted(text, shown):
    assert visible(text).split() == shown.split()


def test_sentences_end_at_stops_and_items():
    assert len(sentences("One {eq}`eq-9` two. Three $a. b$ four\nfive.\n\n- six\n- seven\n\n# A heading")) == 4


def test_the_front_page_is_short_and_in_short_sentences():
    lengths = [len(one.split()) for one in sentences(visible(markdown("index.md")))]
    assert words("index.md") < 2500
    assert sum(lengths) / len(lengths) < 15
    assert max(lengths) <= 35


def test_the_front_page_cites_what_the_citation_file_says():
    cited = yaml.safe_load((BOOK.parent / "CITATION.cff").read_text("utf-8"))
    shown = markdown("index.md")
    day = date.fromisoformat(cited["date-released"])
    assert f"title  = {{{cited['title']}}}" in shown
    assert f"author = {{{{{cited['authors'][0]['name']}}}}}" in shown
    assert f"note   = {{Version {cited['version']}, {day.day} {day:%B %Y}}}" in shown


def test_the_front_page_and_the_citation_file_cite_the_paper_by_its_title():
    cited = yaml.safe_load((BOOK.parent / "CITATION.cff").read_text("utf-8"))["preferred-citation"]
    shown = re.search(
        r"@misc\{condkl2026paper,.*?title  = \{(.*?)\},\n.*?year   = \{(\d+)\}", markdown("index.md"), re.S
    )
    paper = re.search(r"\\title\{(.*?)\}", (BOOK.parent / "paper" / "main.tex").read_text("utf-8"), re.S)
    assert (
        " ".join(re.sub("[{}]", "", shown[1]).split())
        == cited["title"]
        == " ".join(paper[1].replace(r"\\", " ").split())
    )
    assert int(shown[2]) == cited["year"]


def test_the_mathematics_is_short():
    assert sum(map(words, MATHEMATICS)) < 10_500


def test_the_way_from_the_front_page_to_the_verdict_is_short():
    assert [name for name in CHAPTERS if "verdict" in name] == CHAPTERS[-1:], "the way ends elsewhere"
    assert sum(map(words, ["index.md", *CHAPTERS])) < 20_000


@pytest.mark.parametrize("page", CHAPTERS)
def test_no_sentence_is_longer_than_35_words(page):
    assert [one for one in sentences(visible(markdown(page))) if len(one.split()) > 35] == []
