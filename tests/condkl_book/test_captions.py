"""What stands behind a figure: its runs, and its numbers to take away."""

import base64
import io
import re

import pandas as pd

from condkl_book.captions import source


def rows(study="some", seeds=(0, 1, 2), ids="abc"):
    """Two rows for each run."""
    runs = [
        {"run": f"{one}1234567890", "study": study, "seed": seed, "hours": 1.0, "processor": "a processor"}
        for seed, one in zip(seeds, ids, strict=True)
    ]
    table = pd.DataFrame(runs).assign(device="cpu", commit="0123456789abcdef")
    return pd.concat([table.assign(epoch=1, elbo=-0.1), table.assign(epoch=2, elbo=-1 / 3)])


def html(shown):
    return shown._repr_mimebundle_()["text/html"]


def test_the_source_names_runs_seeds_hardware_and_commit():
    shown = source(rows(), "a-name", rows())
    assert str(shown) == "3 recorded runs of some, seeds 0 to 2, on a processor (cpu), 3.0 hours in all"
    assert "On a processor (cpu), at commit <code>01234567</code>" in html(shown)


def test_several_kinds_of_processors_are_counted_and_named_in_the_fold():
    table = rows()
    table["processor"] = table["processor"].where(table["seed"] > 0, "another")
    shown = source(rows(), "a-name", table)
    assert "on 2 kinds of processor, 3.0 hours" in str(shown)
    assert "On a processor (cpu), another (cpu), at commit" in html(shown)
    assert all(f"<code>{one}1234567</code>" in html(shown) for one in "abc")
    assert shown._repr_mimebundle_()["text/plain"] == f"Source: {shown}."


def test_the_data_come_back_from_the_link():
    data = rows()[["epoch", "elbo"]]
    (coded,) = re.findall(
        r'download="a-name.csv" href="data:text/csv;base64,([^"]+)"', html(source(data, "a-name", rows()))
    )
    again = pd.read_csv(io.BytesIO(base64.b64decode(coded)))
    pd.testing.assert_frame_equal(again, data.reset_index(drop=True), check_dtype=False, rtol=1e-5)


def test_the_ids_of_two_studies_stand_apart():
    table = pd.concat([rows(seeds=[0], ids="a"), rows("other", seeds=[0], ids="b")])
    shown = html(source(table, "a-name", table))
    for study, one in (("some", "a"), ("other", "b")):
        link = f'<a href="runs.html#run-{one}1234567"><code>{one}1234567</code></a>'
        assert f"<code>data/runs/{study}</code>: {link}</p>" in shown


def test_a_source_of_one_seed_says_so():
    table = rows(seeds=[1], ids="a")
    assert str(source(table, "one", table)).startswith("1 recorded run of some, seed 1, on")
