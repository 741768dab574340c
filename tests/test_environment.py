"""The three lists of packages agree, and nothing in git belongs to one machine."""

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
PINS = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]


def tracked():
    """List the files in git, or all that git would take where nothing is committed yet."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    try:
        found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("there is no git here, or this is no checkout")
    return [path for name in found.stdout.splitlines() if (path := ROOT / name).is_file()]


def normal(name):
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", name)[0]).lower()


def test_the_conda_environment_installs_the_book_with_pip():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    dependencies = environment["dependencies"]
    assert {"python=3.11", "pip"} <= {entry for entry in dependencies if isinstance(entry, str)}
    assert [entry["pip"] for entry in dependencies if isinstance(entry, dict)] == [
        ["-c constraints.txt", "-e .[book,test]"]
    ]


def test_every_constraint_is_one_version_without_a_local_part():
    assert [pin for pin in PINS if not re.fullmatch(r"[\w.-]+==[\w.]+", pin)] == []


def test_the_constraints_pin_every_dependency():
    assert set(EXTRAS) >= {"book", "test", "dev", "cluster", "bench"}
    wanted = {normal(name) for extra in EXTRAS.values() for name in [*extra, *PROJECT["dependencies"]]}
    assert wanted - {normal(pin) for pin in PINS} == set()


def test_no_chapter_carries_outputs():
    chapters = [path for path in tracked() if path.suffix == ".ipynb"]
    cells = [(path.name, cell) for path in chapters for cell in json.loads(path.read_text("utf-8"))["cells"]]
    full = {name for name, cell in cells if cell.get("outputs") or cell.get("execution_count")}
    assert full == set(), "run `make format`, which strips them"


def test_no_file_names_a_path_of_one_machine():
    local = re.compile(rb"/(?:home|Users|root|work|tmp)/\w[\w.-]*/|C:\\\\?Users|\.\./shared")
    found = {str(path.relative_to(ROOT)): hit[0] for path in tracked() if (hit := local.search(path.read_bytes()))}
    found.pop("tests/test_environment.py", None)
    assert found == {}
