"""Folders of each test's own, so that no test touches the recorded runs, and a few finished runs."""

import multiprocessing

import pytest
import tiny

from condkl_studies import fit_run, plans, store
from condkl_studies.files import data_folder

DATA = data_folder()


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Where this test's data folder and cache lie."""
    (tmp_path / "data").mkdir()
    for images in DATA.glob("*mnist"):
        (tmp_path / "data" / images.name).symlink_to(images)
    monkeypatch.setenv("CONDKL_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("CONDKL_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def planned(monkeypatch):
    """Make these the studies, a list of runs for each name; gives them as `plans.studies` does."""

    def make(**runs):
        made = {name: tiny.plan(*configs) for name, configs in runs.items()}
        monkeypatch.setattr(plans, "names", lambda: list(made))
        monkeypatch.setattr(plans, "study", made.__getitem__)
        return made

    return make


@pytest.fixture
def cache(folder):
    return folder / "cache"


@pytest.fixture(scope="session")
def results():
    """The runs of tiny.STUDY, trained once, without a cache."""
    return [fit_run(config) for config in tiny.STUDY]


@pytest.fixture
def recorded(results):
    """The folder of a whole study `tiny`, recorded."""
    for result in results:
        store.write("tiny", result)
    return store.runs_folder() / "tiny"


@pytest.fixture(scope="session")
def processes():
    """Processes that start quickly: a server that has imported torch forks them."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["condkl_studies.engine", "condkl_studies.store", "tiny"])
    return context
