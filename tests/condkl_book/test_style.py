"""One look for all figures."""

import io
import re
from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pytest
from colorspacious import cspace_convert
from jupyter_client.manager import start_new_kernel
from matplotlib.colors import to_hex, to_rgb

from condkl_book.figure_data import MIME
from condkl_book.looks import GROUND
from condkl_book.style import COLOURS, DARK, NAMES, colour_of, in_nats, name_of, use_style
from condkl_studies import plans

# The colours that stand side by side in a figure.
TOGETHER = [
    ("full", "modified", "lambda=0.5", "lambda_warm_up"),
    ("full", "modified", "lambda_drop", "lambda_warm_up"),
    ("full", "modified", "kl_warm_up", "free_bits", "full, phi x5", "prior_mixture"),
    ("full", "modified", "lambda=0.5", "exact", "other", "muted"),
    ("full", "modified", "lambda_warm_up", "exact", "muted"),
    ("full", "modified", "interpolated", "exact"),
]
PALETTES = {"light": COLOURS, "dark": DARK}
SIGHTS = ("normal", "protanomaly", "deuteranomaly", "tritanomaly")


@pytest.fixture(autouse=True)
def _restored():
    with plt.rc_context():
        yield
    plt.close("all")


def test_every_way_to_train_that_has_a_name_has_a_colour_of_its_own():
    assert set(NAMES) <= set(COLOURS)
    assert {"full", "modified", "lambda_warm_up", "kl_warm_up"} <= set(NAMES)
    assert (name_of("full"), colour_of("full")) == (NAMES["full"], COLOURS["full"])


def test_no_two_methods_of_the_studies_share_a_name():
    methods = {config.method for study in plans.studies().values() for config in study.configs}
    assert len({name_of(method) for method in methods}) == len(methods)


def test_an_objective_that_is_added_needs_no_line():
    assert name_of("layer_norm") == "layer norm"
    assert colour_of("layer_norm") == colour_of("full, phi x3") == COLOURS["other"]
    assert (name_of("lambda=0.25"), colour_of("lambda=0.25")) == ("λ = 0.25", COLOURS["interpolated"])


def test_a_notebook_shows_its_figures_as_vectors_and_as_pixels_and_keeps_their_numbers(monkeypatch):
    monkeypatch.delenv("MPLBACKEND", raising=False)  # the kernel has its own
    cell = """
import matplotlib.pyplot as plt, condkl_book.style
condkl_book.style.use_style()
plt.plot([1, 2]); plt.show()
"""
    shown = []
    manager, client = start_new_kernel(kernel_name="python3")
    try:
        client.execute_interactive(cell, timeout=300, output_hook=shown.append)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    (figure,) = (message["content"]["data"] for message in shown if message["msg_type"] == "display_data")
    assert {"image/svg+xml", "application/pdf", "image/png"} <= set(figure)
    assert figure[MIME].splitlines() == ["series,kind,x,y", "no. 1,line,0,1", "no. 1,line,1,2"]


@pytest.mark.parametrize("palette", PALETTES.values(), ids=PALETTES)
def test_no_two_meanings_share_a_colour(palette):
    assert len(set(palette.values())) == len(palette)
    assert all(re.fullmatch("#[0-9A-F]{6}", colour) for colour in palette.values())


def seen(colour, sight):
    """Return a colour in CAM02-UCS, as it is seen with a kind of colour blindness in full (Machado et al., 2009)."""
    rgb = to_rgb(colour)
    if sight != "normal":
        rgb = cspace_convert(rgb, {"name": "sRGB1+CVD", "cvd_type": sight, "severity": 100}, "sRGB1")
    return cspace_convert(np.clip(rgb, 0, 1), "sRGB1", "CAM02-UCS")


def distances(colours, sight):
    places = [(colour, seen(colour, sight)) for colour in colours]
    return {(a, b): np.linalg.norm(one - other) for (a, one), (b, other) in combinations(places, 2)}


def test_every_colour_is_compared_with_those_beside_it():
    assert {name for names in TOGETHER for name in names} == set(COLOURS)


@pytest.mark.parametrize("palette", PALETTES.values(), ids=PALETTES)
@pytest.mark.parametrize("names", TOGETHER, ids="-".join)
def test_colours_of_one_figure_stay_apart_with_any_colour_blindness(names, palette):
    # The measure is Petroff's ten colours, which were optimised for this distance: no pair is closer than his closest.
    petroff = [entry["color"] for entry in plt.style.library["petroff10"]["axes.prop_cycle"]]
    least = min(min(distances(petroff, sight).values()) for sight in SIGHTS)
    assert 10 < least < 20
    ours = [palette[name] for name in names]
    close = [(sight, pair) for sight in SIGHTS for pair, apart in distances(ours, sight).items() if apart < least]
    assert close == []


def luminance(colour):
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


@pytest.mark.parametrize(("palette", "ground"), [(COLOURS, "white"), (DARK, GROUND)], ids=PALETTES)
def test_every_colour_stands_out_from_its_ground(palette, ground):
    behind = luminance(ground)
    pairs = {name: sorted((luminance(colour), behind)) for name, colour in palette.items()}
    contrast = {name: (lighter + 0.05) / (darker + 0.05) for name, (darker, lighter) in pairs.items()}
    assert [name for name, ratio in contrast.items() if ratio < 3] == [], "WCAG 2.2, 1.4.11"


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
