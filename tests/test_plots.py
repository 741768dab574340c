"""One look for all figures."""

import io
import re

import matplotlib.pyplot as plt
import pytest
from matplotlib.colors import to_hex

from condkl.objective import OBJECTIVES
from condkl.plots import COLOURS, NAMES, in_nats, use_style


@pytest.fixture(autouse=True)
def _restored():
    with plt.rc_context():
        yield
    plt.close("all")


def test_every_objective_has_a_colour_and_a_name():
    assert set(OBJECTIVES) <= set(COLOURS)
    assert set(OBJECTIVES) <= set(NAMES)


def test_no_two_meanings_share_a_colour():
    assert len(set(COLOURS.values())) == len(COLOURS)
    assert all(re.fullmatch("#[0-9A-F]{6}", colour) for colour in COLOURS.values())


def test_the_style_takes_the_colours_in_their_order():
    use_style()
    cycle = plt.rcParams["axes.prop_cycle"].by_key()["color"]
    assert [to_hex(colour).upper() for colour in cycle] == list(COLOURS.values())
    assert plt.rcParams["savefig.facecolor"] == "white"


def test_the_same_figure_gives_the_same_file():
    def svg():
        figure, axis = plt.subplots()
        axis.plot([1, 2], clip_on=True)
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
        return file.getvalue()

    use_style()
    assert svg() == svg()


def test_an_axis_in_nats_says_so():
    axis = plt.figure().add_subplot()
    in_nats(axis, "ELBO")
    assert axis.get_ylabel() == "ELBO (nats)"
