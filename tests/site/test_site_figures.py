"""The figures of the built site in a browser: the page shows the look of its theme."""

import io

import pytest
from built_site import PAGES, markup
from PIL import Image

pytestmark = pytest.mark.site

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
