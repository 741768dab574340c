"""Copies of the chapters for JupyterLab."""

from tools.lab import copy


def test_what_a_reader_changed_stays_and_what_is_missing_comes(tmp_path):
    site, folder = tmp_path / "site", tmp_path / "lab"
    (site / "checks").mkdir(parents=True)
    (site / "one.ipynb").write_text("new")
    (site / "checks" / "one.ipynb").write_text("check")
    (site / "page.md").write_text("text")
    folder.mkdir()
    (folder / "one.ipynb").write_text("mine")
    assert copy(site, folder) == ["checks/one.ipynb"]
    assert (folder / "one.ipynb").read_text() == "mine"
    assert sorted(path.name for path in folder.rglob("*.*")) == ["one.ipynb", "one.ipynb"]
    assert copy(site, folder) == []
