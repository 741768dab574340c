"""The wheel has all of the three packages and nothing else, and works where there is no repository."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("setuptools", minversion="77", reason="the build backend is not installed here")
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy without the network: a build in place would leave files in the repository."""
    copy = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copytree(ROOT / "benchmarks", copy / "benchmarks")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    build = "from setuptools.build_meta import build_wheel; build_wheel('dist')"
    subprocess.run([sys.executable, "-c", build], cwd=copy, check=True, capture_output=True)
    (made,) = (copy / "dist").glob("*.whl")
    return made


# All in one process, whose start takes seconds: first the examples, then two commands as `python -m` runs them.
SCRIPT = """
import contextlib, doctest, importlib, io, json, pkgutil, runpy, sys
import condkl, condkl_book, condkl_studies

modules = [f"condkl.{one.name}" for one in pkgutil.iter_modules(condkl.__path__) if one.name != "pyro"]  # an extra
modules += ["condkl_studies.config", "condkl_studies.plans", "condkl_studies.data", "condkl_book.ledger"]
found = {"files": [importlib.import_module(name).__file__ for name in modules], "failed": [], "commands": {}}
for name in modules:
    examples = io.StringIO()
    with contextlib.redirect_stdout(examples):
        failed = doctest.testmod(sys.modules[name]).failed
    if failed or examples.getvalue():
        found["failed"].append(f"{name}: {examples.getvalue()}")
for name in ("list", "status"):
    sys.argv, out, err = ["condkl_studies", name], io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            runpy.run_module("condkl_studies", run_name="__main__", alter_sys=True)
        except SystemExit as end:
            found["commands"][name] = [end.code, out.getvalue(), err.getvalue()]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(wheel, tmp_path_factory):
    """What Python finds of what the wheel holds, in a folder of its own."""
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    environment = {name: value for name, value in os.environ.items() if name != "CONDKL_DATA"}
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment | {"PYTHONPATH": str(folder)}, cwd=folder.parent,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout + ran.stderr
    found = json.loads(ran.stdout)
    assert all(file.startswith(str(folder)) for file in found["files"])
    return found


def test_the_wheel_has_every_file_of_the_packages_and_no_other(wheel):
    files = {path for path in (ROOT / "src").glob("condkl*/**/*") if path.suffix in (".py", ".pyi", ".typed")}
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == {path.relative_to(ROOT / "src").as_posix() for path in files}
    packages = ("condkl", "condkl_studies", "condkl_book")
    below = ("condkl/objectives", "condkl_studies/data", "condkl_studies/plans", "condkl_book/explorers")
    assert held >= {f"{name}/{file}" for name in packages for file in ("__init__.py", "py.typed")}
    assert held >= {f"{name}/__init__.py" for name in below} | {"condkl/__init__.pyi", "condkl_studies/__init__.pyi"}


def test_outside_the_repository_the_examples_give_what_they_say(found):
    assert len(found["files"]) > 10
    assert found["failed"] == []


def test_outside_the_repository_the_command_line_lists_the_studies_and_misses_the_data(found):
    status, out, err = found["commands"]["list"]
    assert (status, err) == (0, "")
    assert "main " in out
    status, out, err = found["commands"]["status"]
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert "no such data folder. Install the package from a clone of the repository" in err
