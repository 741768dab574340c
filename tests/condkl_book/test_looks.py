"""One picture with two looks."""

import io
import re
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import numpy as np
import pytest

from condkl_book.looks import FRAGMENT, GROUND, INK, dark, two_looks
from condkl_book.style import COLOURS, DARK, use_style


@pytest.fixture(autouse=True)
def _restored():
    with plt.rc_context():
        use_style()
        yield
    plt.close("all")


@pytest.fixture
def drawn():
    """Return the SVG of a figure with lines, a band, dots, pixels and a legend, as a notebook has it."""
    figure, (left, right) = plt.subplots(1, 2)
    x = np.linspace(0, 1, 400)
    left.plot(x, np.sin(9 * x), color=COLOURS["full"], label="a line")
    left.fill_between(x, -x, x, color=COLOURS["modified"], alpha=0.2)
    left.scatter([0.5], [0], color="black")
    left.legend()
    right.imshow(np.eye(3))
    file = io.StringIO()
    figure.savefig(file, format="svg")
    return file.getvalue()


def values(svg, of):
    """Return the variables of a look of the picture, by name."""
    return dict(re.findall(r"(--c\d+):(#[0-9a-f]{6})", re.search(re.escape(of) + r"{([^}]*)}", svg)[1]))


def test_every_colour_of_the_picture_is_there_in_both_looks(drawn):
    svg = two_looks(drawn)
    light, shade = values(svg, ":root"), values(svg, ":root:target")
    assert set(light.values()) == {"#000000", *re.findall("(?:fill|stroke): (#[0-9a-f]{6})", drawn)}
    assert shade == {name: dark(colour) for name, colour in light.items()}
    body = svg.split("</style>", 1)[1]
    assert not re.search("(?:fill|stroke): #", body)
    assert set(re.findall(r"var\((--c\d+)\)", body)) <= set(light)


def test_the_light_look_has_the_colours_that_were_drawn(drawn):
    svg = two_looks(drawn)
    light = values(svg, ":root")
    plain = re.sub(r"var\((--c\d+)\)", lambda name: light[name[1]], svg.split("</style>", 1)[1])
    paints = r"(?:fill|stroke): (?:none|#[0-9a-f]{6})"
    assert re.findall(paints, plain) == re.findall(paints, drawn)


def test_what_has_no_colour_is_black_and_turns_light():
    svg = two_looks('<svg width="1pt"><path d="M 0 0"/></svg>')
    assert "fill:var(--c0)" in svg
    assert values(svg, ":root")["--c0"] == "#000000"
    assert values(svg, ":root:target")["--c0"] == INK.lower()


def test_white_becomes_the_ground_and_grey_stays_between():
    assert dark("#ffffff") == GROUND
    assert GROUND < dark("#cccccc") < dark("#262626") < INK.lower()


def test_a_tint_stays_a_tint():
    red, green, blue = (int(dark("#f4efdc")[k : k + 2], 16) for k in (1, 3, 5))
    assert 80 > red > green > blue


def test_every_colour_of_a_method_has_its_own_in_the_dark():
    assert list(DARK) == list(COLOURS)
    assert [dark(COLOURS[name]) for name in COLOURS] == [colour.lower() for colour in DARK.values()]


def test_the_picture_is_the_target_of_its_address_and_still_one(drawn):
    root = ElementTree.fromstring(two_looks(drawn))
    assert root.get("id") == FRAGMENT
    assert root.get("viewBox") in drawn
    assert len(root.findall(".//{*}path")) == len(ElementTree.fromstring(drawn).findall(".//{*}path"))


def test_no_point_moves_by_more_than_half_a_hundredth(drawn):
    def numbers(svg):
        places = "\n".join(re.findall(r'\sd="([^"]*)"', svg))
        return np.array(re.findall(r"-?\d+(?:\.\d+)?", places), float)

    assert np.abs(numbers(two_looks(drawn)) - numbers(drawn)).max() <= 0.005 + 1e-9


def test_pixels_stay_as_they_are_and_the_whole_is_smaller(drawn):
    (pixels,) = re.findall(r'href="data:image/png;base64,\s*([^"]+)"', drawn)
    svg = two_looks(drawn)
    assert re.sub(r"\s", "", pixels) in re.sub(r"\s", "", svg)
    assert len(svg) < 0.9 * len(drawn)


def test_what_is_no_svg_is_an_error():
    with pytest.raises(ValueError, match="svg: expected the text of one, got 'PNG'"):
        two_looks("PNG")
