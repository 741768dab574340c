"""When make sets .venv up, brings it up to date, or makes it from scratch; the Python is a stub."""

import os
import shutil
import sys

import pytest
from small_project import PYTHONS, Project


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


@pytest.fixture
def ready(project):
    assert steps(project.make("lint")) == ["venv", "pip"]
    assert steps(project.make("lint")) == []
    return project


def steps(calls):
    """The steps of a set-up among the calls."""
    return [step for call in calls for step in ("venv", "pip") if f"-m {step} " in call]


@pytest.mark.parametrize("target", ["book", "unit", "lint", "format", "lab", "serve", "site-test", "picture"])
def test_every_target_makes_the_environment_once(project, target):
    project.write("book/first_comparison.ipynb", "")
    project.name_chapters("first_comparison")
    calls = project.make(target)
    assert steps(calls) == ["venv", "pip"]
    assert calls[1].endswith(
        "-m pip install --quiet --disable-pip-version-check -c constraints.txt -e .[book,test,dev]"
    )
    assert all(call.startswith(".venv/bin/python ") for call in calls[1:])
    assert steps(project.make(target)) == []


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_an_edit_with_an_old_date_brings_it_up_to_date(ready, name):
    path = ready.write(name, "edited")
    os.utime(path, (1, 1))
    assert steps(ready.make("lint")) == ["pip"]
    assert steps(ready.make("lint")) == []


def test_a_half_made_environment_does_not_count(ready):
    ready.write("constraints.txt", "new")
    ready.make("lint", fail="-m pip install")
    ready.write("constraints.txt", "")  # as it was, but who knows what is installed
    assert steps(ready.make("lint")) == ["pip"]


def test_an_environment_that_was_never_complete_is_completed(project):
    project.make("lint", fail="-m pip install")
    assert (project.folder / ".venv/bin/python").exists()
    assert steps(project.make("lint")) == ["pip"]


@pytest.mark.parametrize("way", [shutil.copytree, shutil.move])
def test_a_copied_or_moved_folder_gets_an_environment_of_its_own(ready, way, tmp_path):
    ready.make("chapters")
    way(ready.folder, tmp_path / "copy")
    ready.folder = tmp_path / "copy"
    calls = ready.make("chapters")
    assert steps(calls) == ["venv", "pip"]
    assert not any("--nbmake" in call for call in calls)  # what was executed came along


@pytest.mark.parametrize("old", [(3, 10, 4), (3, 9, 18)])
def test_without_a_python_that_is_new_enough_one_line_says_so(project, old):
    for name in PYTHONS:
        project.python(name, old if name == "python3" else ())
    assert project.make("book", fail="nothing else") == []
    said = f"make: needs Python 3.11 or newer; found python3 3.{old[1]}.{old[2]}. Install it and run again."
    assert project.result.stderr.splitlines()[0] == said
    assert not (project.folder / ".venv").exists()


def test_without_any_python_one_line_says_so(project):
    for name in PYTHONS:
        project.python(name, ())
    project.make("lint", fail="nothing else")
    assert "needs Python 3.11 or newer; found none." in project.result.stderr


def test_an_old_python_first_on_the_path_is_passed_over(project):
    project.python("python3.11", (3, 10, 1))
    assert "/python3.12 -m venv" in project.make("lint")[0]


def test_an_environment_of_an_old_python_or_another_or_one_that_is_gone_is_made_again(ready):
    python = ready.folder / ".venv/bin/python"
    ready.python("old", (3, 10, 4))
    ready.python("newer", (*sys.version_info[:2], 99))
    for other in (ready.bin / "old", ready.bin / "newer", None):
        python.unlink()
        shutil.copy(other, python) if other else python.symlink_to("/nowhere/python")
        assert steps(ready.make("lint")) == ["venv", "pip"]


@pytest.mark.parametrize("way", ["argument", "environment"])
@pytest.mark.parametrize("target", ["book", "test", "lint"])
def test_py_uses_the_active_environment(project, target, way):
    calls = project.make(target, "PY=python3") if way == "argument" else project.make(target, PY="python3")
    assert calls
    assert steps(calls) == []
    assert not (project.folder / ".venv").exists()
