"""What the site shows of an interactive figure before a script runs."""

import json
import re

import pytest

from condkl_book.explorers import EXPLORERS

pytest.importorskip("sphinx")


def test_the_page_shows_the_opening_position_without_a_script(extension):
    tempering = EXPLORERS["tempering"]()
    page = extension("explorers").page("tempering", tempering)
    assert page.count("<noscript>") == 1
    assert 'role="group" aria-label="Controls" hidden' in page
    assert page.count('role="img"') == 2
    table = json.loads(re.search('<script type="application/json">(.*)</script>', page)[1])
    drawn = re.findall(r'<path class="explorer-(?:line|dashed|dotted|dot)[^"]*"[^>]* d="([^"]*)"', page)
    opening = [s["d"][tempering.start([tempering.controls[i].name for i in s["on"]])] for s in table["series"]]
    assert drawn[: len(opening)] == opening
    assert table["sentences"][tempering.start()] in page.split("<script")[0]
