"""The figures of the built site in a browser: the page shows the look of its theme, and phones can read them."""

import io
import re
from pathlib import Path

import pytest
from built_site import PAGES, PHONE, SITE, markup
from PIL import Image

pytestmark = pytest.mark.site

# matplotlib draws letters as outlines, a hundred times as large as the size of their font in points.
LETTER = re.compile(r"scale\(([\d.]+) -\1\)")
SHOWN = """(images) => images.map((image) => [
  image.getAttribute("src"), image.getBoundingClientRect().width / Number(image.getAttribute("width"))])"""
WITH_FIGURES = [page for page in PAGES if any(image.endswith(".svg#dark") for image in markup(page).images)]


def test_the_gallery_and_the_chapters_have_figures():
    assert "gallery.html" in WITH_FIGURES
    assert len(WITH_FIGURES) > 8


@pytest.mark.parametrize("page", WITH_FIGURES)
def test_a_figure_has_the_ground_of_its_page(page, tab, bases):
    tab.emulate_media(color_scheme="light")
    tab.goto(f"{bases['http']}/{page}", wait_until="load")
    corners = {}
    for scheme in ("light", "dark"):
        tab.emulate_media(color_scheme=scheme)
        tab.wait_for_function(f"document.documentElement.dataset.theme === '{scheme}'")
        assert tab.locator("article img.only-light:visible").count() == (
            0 if scheme == "dark" else tab.locator("article img.only-light").count()
        )
        shown = tab.locator(f"article img.only-{scheme}").first
        shown.scroll_into_view_if_needed()
        corners[scheme] = Image.open(io.BytesIO(shown.screenshot())).convert("RGB").getpixel((4, 4))
    assert corners == {"light": (255, 255, 255), "dark": (0x12, 0x12, 0x12)}


@pytest.mark.parametrize("page", [page for page in WITH_FIGURES if page != "gallery.html"])  # its pictures lead to them
def test_the_words_of_a_figure_can_be_read_on_a_phone(page, tab, bases):
    tab.emulate_media(color_scheme="light")
    tab.set_viewport_size(PHONE)
    tab.goto(f"{bases['http']}/{page}", wait_until="load")
    tab.evaluate("document.querySelectorAll('details').forEach((folded) => { folded.open = true; })")
    shown = tab.locator(".picture img.only-light").evaluate_all(SHOWN)
    assert shown
    for src, scale in shown:
        letters = LETTER.findall((SITE / Path(page).parent / src).read_text("utf-8"))
        assert min(map(float, letters)) * 100 * 4 / 3 * scale >= 8, src  # pixels
