"""The numbers that a figure shows, as a table."""

import io

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from condkl_book.figure_data import MIME, MOST, bundle, table


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


@pytest.fixture
def axes():
    return plt.subplots()[1]


def shown(axes):
    return table(axes.figure)


def test_a_line_keeps_its_name_its_points_and_the_labels_of_its_axes(axes):
    axes.plot([1, 2, 3], [4.0, 5.0, 6.0], label="A")
    axes.set(xlabel="epoch", ylabel="nats", title="p(x|u)")
    found = shown(axes)
    assert list(found.columns) == ["panel", "series", "kind", "x", "y", "x axis", "y axis"]
    assert found.iloc[0].tolist() == ["p(x|u)", "A", "line", 1, 4.0, "epoch", "nats"]
    assert found["y"].tolist() == [4.0, 5.0, 6.0]


def test_lines_without_a_name_are_told_apart(axes):
    axes.plot([0, 1], [0, 1])
    axes.plot([0, 1], [1, 0])
    assert list(dict.fromkeys(shown(axes)["series"])) == ["no. 1", "no. 2"]


def test_panels_without_a_title_have_numbers():
    figure, (left, right) = plt.subplots(1, 2)
    left.plot([0], [0])
    right.plot([0], [1])
    assert table(figure)["panel"].tolist() == ["1", "2"]


def test_an_interval_has_two_ends_under_the_name_of_its_dots(axes):
    axes.errorbar([1, 2], [3.0, 4.0], yerr=[0.5, 1.0], fmt="o", capsize=3, label="mean")
    found = shown(axes)
    assert set(found["series"]) == {"mean"}
    assert found[found["kind"] == "points"]["y"].tolist() == [3.0, 4.0]
    assert found[found["kind"] == "interval"]["y"].tolist() == [2.5, 3.5, 3.0, 5.0]
    assert len(found) == 6, "caps would repeat the ends"


def test_dots_bars_and_bands_are_read(axes):
    axes.scatter([1.0], [2.0], label="dots")
    axes.bar([1, 2], [5.0, 6.0], bottom=1.0, label="upright")
    axes.barh([1, 2], [7.0, 8.0], label="lying")
    axes.fill_between([0, 1], [0, 0], [1, 1], label="area")
    found = shown(axes).set_index("series")
    assert found.loc["dots", ["kind", "x", "y"]].tolist() == ["points", 1.0, 2.0]
    assert found.loc["upright", ["x", "y"]].to_numpy().tolist() == [[1.0, 6.0], [2.0, 7.0]]
    assert found.loc["lying", ["x", "y"]].to_numpy().tolist() == [[7.0, 1.0], [8.0, 2.0]]
    assert set(found.loc["area", "kind"]) == {"band"}


def test_a_line_across_a_panel_has_no_value_where_it_crosses(axes):
    axes.plot([0, 10], [0, 1])
    axes.axhline(3.0, label="bound")
    bound = shown(axes).set_index("series").loc["bound"]
    assert bound["x"].isna().all()
    assert (bound["y"] == 3).all()


def test_names_of_ticks_stand_for_numbers_also_beside_them(axes):
    axes.plot([1.0, 2.0], [0.1, 0.9], "o")
    axes.set_yticks([0, 1], ["full gradient", "eq. (9)"])
    axes.set_xticks([1, 2], ["1", "2"])
    found = shown(axes)
    assert found["y"].tolist() == ["full gradient", "eq. (9)"]
    assert found["x"].tolist() == [1.0, 2.0]


def test_categories_keep_their_names(axes):
    axes.bar(["v first", "u first"], [1.0, 2.0])
    assert shown(axes)["x"].tolist() == ["v first", "u first"]


def test_powers_of_ten_stay_numbers(axes):
    axes.semilogx([1, 10, 100], [0, 1, 2])
    axes.set_xticks([1, 10, 100])
    assert shown(axes)["x"].tolist() == [1, 10, 100]


def test_a_long_curve_is_thinned_and_keeps_its_ends(axes):
    axes.plot(np.arange(5001), np.zeros(5001))
    found = shown(axes)
    assert len(found) == MOST
    assert found["x"].iloc[[0, -1]].tolist() == [0, 5000]


def test_a_picture_of_pixels_has_no_table(axes):
    axes.imshow(np.eye(3))
    assert bundle(axes.figure) == {}


def test_the_table_can_be_read_again(axes):
    axes.plot([1 / 3, 2 / 3], [1e-9, 2.0], label="a, b")
    found = pd.read_csv(io.StringIO(bundle(axes.figure)[MIME]))
    pd.testing.assert_frame_equal(found, shown(axes), check_dtype=False, rtol=1e-4)
