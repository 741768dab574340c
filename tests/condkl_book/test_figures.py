"""Parts of figures: the lines and bands of a table in the colour of their method."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from condkl_book.figures import band, each_seed, kl_axis, method_band
from condkl_book.style import COLOURS

CURVE = pd.DataFrame({"epoch": [1, 2, 3], "mean": [1.0, 2.0, 3.0], "low": [0.5, 1.5, 2.5], "high": [1.5, 2.5, 3.5]})


@pytest.fixture
def axis():
    yield plt.figure().add_subplot()
    plt.close("all")


def test_a_band_is_a_line_between_its_ends(axis):
    band(axis, CURVE, "a name", "#000000", "--")
    (line,), (area,) = axis.lines, axis.collections
    assert (line.get_label(), line.get_linestyle(), to_hex(line.get_color())) == ("a name", "--", "#000000")
    np.testing.assert_array_equal(line.get_xydata(), CURVE[["epoch", "mean"]])
    low, high = area.get_paths()[0].get_extents().intervaly
    assert (low, high) == (0.5, 3.5)


def test_a_method_has_its_name_and_its_colour(axis):
    method_band(axis, CURVE, "modified")
    (line,) = axis.lines
    assert (line.get_label(), line.get_color()) == ("eq. (9)", COLOURS["modified"])


def test_every_seed_has_a_line(axis):
    table = pd.concat([CURVE.assign(seed=seed, A=CURVE["mean"] + seed) for seed in (0, 1)])
    each_seed(axis, table, "A", "full")
    assert [line.get_ydata().tolist() for line in axis.lines] == [[1, 2, 3], [2, 3, 4]]
    assert {line.get_color() for line in axis.lines} == {COLOURS["full"]}


def test_an_axis_of_kls_begins_at_zero_and_spends_little_on_what_is_lost(axis):
    kl_axis(axis, 40)
    assert axis.get_ylim() == (0, 40)
    assert [label.get_text() for label in axis.get_yticklabels()] == ["0", "0.1", "1", "10"]
    heights = axis.transAxes.inverted().transform(axis.transData.transform([(0, y) for y in (0.001, 0.1, 40)]))[:, 1]
    assert heights[0] < 0.01 < heights[1] < 0.3 < heights[2]
