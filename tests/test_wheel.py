"""The wheel has all of the three packages and nothing else, and works where there is no repository."""

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


@pytest.fixture(scope="module")
def run(wheel, tmp_path_factory):
    """Run Python with what the wheel holds, in a folder of its own."""
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    environment = {name: value for name, value in os.environ.items() if name != "CONDKL_DATA"}

    def python(*arguments):
        return subprocess.run(
            [sys.executable, *arguments], env=environment | {"PYTHONPATH": str(folder)}, cwd=folder.parent,
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    return python


def test_the_wheel_has_every_file_of_the_packages_and_no_other(wheel):
    files = {path for path in (ROOT / "src").glob("condkl*/**/*") if path.suffix in (".py", ".pyi", ".typed")}
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == {path.relative_to(ROOT / "src").as_posix() for path in files}
    packages = ("condkl", "condkl_studies", "condkl_book")
    below = ("condkl/objectives", "condkl_studies/data", "condkl_studies/plans", "condkl_book/explorers")
    assert held >= {f"{name}/{file}" for name in packages for file in ("__init__.py", "py.typed")}
    assert held >= {f"{name}/__init__.py" for name in below} | {"condkl/__init__.pyi", "condkl_studies/__init__.pyi"}


EXAMPLES = """
import doctest, importlib, pkgutil, sys
import condkl, condkl_book, condkl_studies
modules = [f"condkl.{one.name}" for one in pkgutil.iter_modules(condkl.__path__) if one.name != "pyro"]  # an extra
for name in [*modules, "condkl_studies.config", "condkl_studies.plans", "condkl_studies.data", "condkl_book.ledger"]:
    assert importlib.import_module(name).__file__.startswith(sys.argv[1]), name
    assert doctest.testmod(sys.modules[name]).failed == 0, name
"""


def test_outside_the_repository_the_examples_give_what_they_say(run, tmp_path_factory):
    ran = run("-c", EXAMPLES, str(tmp_path_factory.getbasetemp()))
    assert (ran.returncode, ran.stdout) == (0, ""), ran.stdout + ran.stderr


def test_outside_the_repository_the_command_line_lists_the_studies_and_misses_the_data(run):
    listed = run("-m", "condkl_studies", "list")
    assert (listed.returncode, listed.stderr) == (0, "")
    assert "main " in listed.stdout
    status = run("-m", "condkl_studies", "status")
    assert (status.returncode, status.stdout, status.stderr.count("\n")) == (1, "", 1)
    assert "no such data folder. Install the package from a clone of the repository" in status.stderr
