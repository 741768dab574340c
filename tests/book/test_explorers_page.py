"""What the site shows of an interactive figure before a script runs."""

import json
import re

import numpy as np
import pytest

from condkl_book.explorers import EXPLORERS
from condkl_book.explorers.tables import HEIGHT, Axis, Control, Explorer, Panel, Picture, sprite

pytest.importorskip("sphinx")


def test_the_page_shows_the_opening_position_without_a_script(extension):
    tempering = EXPLORERS["tempering"]()
    page = extension("explorers").page("tempering", tempering, "_images")
    assert page.count("<noscript>") == 1
    assert 'role="group" aria-label="Controls" hidden' in page
    assert page.count('role="img"') == 2
    table = json.loads(re.search('<script type="application/json">(.*)</script>', page)[1])
    drawn = re.findall(r'<path class="explorer-(?:line|dashed|dotted|dot)[^"]*"[^>]* d="([^"]*)"', page)
    opening = [s["d"][tempering.start([tempering.controls[i].name for i in s["on"]])] for s in table["series"]]
    assert drawn[: len(opening)] == opening
    assert table["sentences"][tempering.start()] in page.split("<script")[0]


def test_the_longest_sentence_keeps_its_room(extension):
    panel = Panel("A panel.", Axis("", 0, 1, {}), Axis("", 0, 1, {}), ())
    figure = Explorer((Control("k", "k", ("0", "1", "2"), 0),), (panel,), ("at 0", "as long as it gets", "at 2"))
    page = extension("explorers").page("three", figure, "_images")
    assert re.search('<p class="explorer-sentence"[^>]*data-longest="as long as it gets"[^>]*>at 0</p>', page)


def test_a_picture_is_a_file_of_which_the_opening_frame_shows(extension):
    picture = Picture(("k",), (np.zeros((2, 4), np.uint8), np.full((2, 4), 255, np.uint8)))
    panel = Panel("Two.", Axis("", 0, 1, {}), Axis("", 0, 1, {}), (), title="a title", picture=picture)
    figure = Explorer((Control("k", "k", ("0", "1"), 1, seconds=3),), (panel,), ("at 0", "at 1"))
    explorers = extension("explorers")
    page = explorers.page("two", figure, "_images")
    assert f'<image href="_images/explorer-two-0.png" y="-{HEIGHT}"' in page
    assert f'height="{2 * HEIGHT}"' in page
    assert ">a title</text>" in page
    assert explorers.images("two", figure) == {"explorer-two-0.png": sprite(picture).png}
    assert re.search('<button type="button" data-plays="explorer-two-k" data-seconds="3">Play</button>', page)


def test_only_a_slider_that_plays_has_a_button(extension):
    assert "<button" not in extension("explorers").page("tempering", EXPLORERS["tempering"](), "_images")
