"""What make decides to redo, shown in a copy of the project whose Python is a stub that only writes down its calls."""

import os
import re
import shutil
import stat
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CHAPTERS = ("01_first", "02_second", "10_studied", "12_measured")
# Plays pytest (its "run" of a notebook leaves the copy as it is), jupyter-book (makes a page), venv and pip.
STUB = """#!/bin/sh
echo "$0 $*" >> "$LOG"
case "$*" in
  *"$FAIL"*) [ -n "$FAIL" ] && { echo "it broke: $FAIL"; exit 1; } ;;
esac
case "$*" in
  "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
  *"--builder latex"*) for out; do :; done; mkdir -p "$out/_build/latex" ;;
  *--path-output*) for out; do :; done; mkdir -p "$out/_build/html" && echo page > "$out/_build/html/index.html" ;;
esac
"""


# Plays latexmk, in the folder of the sources.
LATEXMK = """#!/bin/sh
echo "$0 $*" >> "$LOG"
for tex; do :; done
echo "$SAYS" > "${tex%.tex}.log"
[ "$SAYS" = "! An error" ] && exit 12
echo paper > "${tex%.tex}.pdf"
"""
PDF = "book/_build/pdf/conditional-kl-gradients.pdf"


class Project:
    """A small copy of the project, and the calls its last make did."""

    def __init__(self, folder):
        self.folder, self.log = folder, folder / "calls.log"
        shutil.copy(ROOT / "Makefile", folder)
        sources = [f"book/{name}.ipynb" for name in CHAPTERS]
        sources += ["book/_config.yml", "book/_ext/a.py", "book/index.md", "src/condkl/a.py", "data/mnist/a.gz"]
        for name in [*sources, "src/condkl/b.py", "pyproject.toml", "constraints.txt"]:
            self.write(name)
        for name in ("tools/python3.11", "tools/python3"):
            self.write(name, STUB).chmod(stat.S_IRWXU)
        self.write("tools/latexmk", LATEXMK).chmod(stat.S_IRWXU)

    def write(self, name, text="x"):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def edit(self, name):
        time.sleep(0.02)  # coarser file systems need not be able to tell two writes apart
        self.write(name, f"edited at {time.time()}")

    def make(self, *arguments, fail="", **environment):
        """Run make and return its calls."""
        self.log.write_text("")
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS", "PY"))}
        path = f"{self.folder / 'tools'}{os.pathsep}{os.environ['PATH']}"
        self.result = subprocess.run(
            ["make", "-C", self.folder, *arguments],
            env=clean | {"PATH": path, "LOG": str(self.log), "FAIL": fail} | environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (self.result.returncode == 0) == (not fail), self.result.stdout + self.result.stderr
        return self.log.read_text().splitlines()

    def executed(self, *arguments, **kwargs):
        """Run make and return the chapters that it executed."""
        calls = [re.search(r"--nbmake .*/(\w+)\.ipynb", call) for call in self.make(*arguments, **kwargs)]
        return sorted(call[1] for call in calls if call)


def built(calls):
    return sum("--path-output" in call for call in calls)


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


@pytest.fixture
def built_project(project):
    assert project.executed("book", "PY=python3") == sorted(CHAPTERS)
    assert project.make("book", "PY=python3") == []
    return project


@pytest.mark.parametrize("name", ["src/condkl/a.py", "src/condkl/new.py", "data/mnist/a.gz", "constraints.txt"])
def test_an_input_of_the_chapters_executes_all_of_them(built_project, name):
    built_project.edit(name)
    assert built_project.executed("book", "PY=python3") == sorted(CHAPTERS)
    assert built_project.make("book", "PY=python3") == []


def test_what_no_chapter_reads_executes_nothing(built_project):
    built_project.edit("data/runs/README.md")
    assert built_project.make("book", "PY=python3") == []


def test_the_benchmark_executes_the_chapter_on_it_alone(built_project):
    module = "src/condkl/bench/a.py"
    for change in (built_project.edit, built_project.edit, lambda name: (built_project.folder / name).unlink()):
        change(module)
        assert built_project.executed("book", "PY=python3") == ["12_measured"]
        assert built_project.make("book", "PY=python3") == []


def test_a_verification_that_comes_changes_or_goes_rebuilds_the_site_and_executes_nothing(built_project):
    file = "data/runs/verified.json"
    for change in (built_project.edit, built_project.edit, lambda name: (built_project.folder / name).unlink()):
        change(file)
        calls = built_project.make("book", "PY=python3")
        assert (built(calls), len(calls)) == (1, 1)
        assert built_project.make("book", "PY=python3") == []


def test_a_recorded_run_that_comes_changes_or_goes_executes_the_chapters_on_the_studies(built_project):
    record = "data/runs/s/1/metrics.csv"
    for change in (built_project.edit, built_project.edit, lambda name: (built_project.folder / name).unlink()):
        change(record)
        assert built_project.executed("book", "PY=python3") == ["10_studied"]
        assert built_project.make("book", "PY=python3") == []


def test_what_the_explorers_show_rebuilds_the_site_and_executes_nothing(built_project):
    for _ in range(2):  # it comes, and it changes
        built_project.edit("src/condkl/explorers/a.py")
        calls = built_project.make("book", "PY=python3")
        assert (built(calls), len(calls)) == (1, 1)


def test_a_deleted_module_executes_all_chapters(built_project):
    (built_project.folder / "src/condkl/b.py").unlink()
    assert built_project.executed("book", "PY=python3") == sorted(CHAPTERS)


@pytest.mark.parametrize("name", ["book/index.md", "book/new.md", "book/_config.yml", "book/_ext/a.py"])
def test_prose_rebuilds_the_site_and_executes_nothing(built_project, name):
    built_project.edit(name)
    calls = built_project.make("book", "PY=python3")
    assert built(calls) == 1
    assert len(calls) == 1


def test_a_chapter_executes_itself_alone(built_project):
    built_project.edit("book/02_second.ipynb")
    assert built_project.executed("book", "PY=python3") == ["02_second"]


@pytest.mark.parametrize("name", ["book/index.md", "book/01_first.ipynb"])
def test_a_deleted_page_leaves_the_site(built_project, name):
    stale = built_project.write("book/_build/html/stale.html")
    (built_project.folder / name).unlink()
    assert built(built_project.make("book", "PY=python3")) == 1
    assert not stale.exists()
    assert not (built_project.folder / "book/_build/source" / Path(name).name).exists()


def test_the_tests_and_the_site_share_one_execution(project):
    assert project.executed("test", "PY=python3") == sorted(CHAPTERS)
    assert project.executed("book", "PY=python3") == []
    assert (project.folder / "book/_build/html/index.html").exists()


def test_a_failed_chapter_is_shown_hides_no_other_and_runs_again(project):
    assert project.executed("book", "PY=python3", fail="01_first.ipynb") == sorted(CHAPTERS)
    assert "it broke" in project.result.stderr
    assert "book/01_first.ipynb failed" in project.result.stderr
    assert not (project.folder / "book/_build/html").exists()
    assert project.executed("book", "PY=python3") == ["01_first"]


def test_an_edit_during_the_run_is_seen_by_the_next_one(built_project):
    source = built_project.folder / "book/01_first.ipynb"
    stub = built_project.folder / "tools/python3"
    stub.write_text(STUB + f'case "$*" in *--nbmake*) echo later > "{source}" ;; esac\n')
    built_project.edit("book/01_first.ipynb")
    assert built_project.executed("chapters", "PY=python3") == ["01_first"]
    stub.write_text(STUB)
    assert built_project.executed("chapters", "PY=python3") == ["01_first"]


def test_a_failed_site_is_not_left_behind_and_fails_again(built_project):
    built_project.edit("book/index.md")
    for _ in range(2):
        assert built(built_project.make("book", "PY=python3", fail="--path-output")) == 1
        assert not (built_project.folder / "book/_build/html").exists()


def test_book_says_where_the_site_is_and_how_long_it_took(project):
    project.make("book", "PY=python3")
    assert re.search(r"^book/_build/html/index.html \(\d+ s\)$", project.result.stdout, re.M)


@pytest.mark.parametrize("target", ["book", "unit", "lint", "format", "lab", "serve", "site-test"])
def test_every_target_makes_the_environment_once(project, target):
    calls = project.make(target)
    assert sum("-m venv .venv" in call for call in calls) == 1
    assert sum("-m pip install" in call for call in calls) == 1
    assert "-c constraints.txt -e .[book,test,dev]" in "\n".join(calls)
    assert all(call.startswith(".venv/bin/python ") for call in calls[2:])  # after finding a Python, and venv
    assert not any("venv .venv" in call or "pip install" in call for call in project.make(target))


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_a_stale_environment_is_brought_up_to_date(project, name):
    project.make("lint")
    project.edit(name)
    assert any("-m pip install" in call for call in project.make("lint"))


def test_a_half_made_environment_does_not_count(project):
    project.make("lint", fail="-m pip install")
    assert (project.folder / ".venv/bin/python").exists()
    assert any("-m pip install" in call for call in project.make("lint"))


@pytest.mark.parametrize("way", ["argument", "environment"])
@pytest.mark.parametrize("target", ["book", "test", "lint"])
def test_py_uses_the_active_environment(project, target, way):
    calls = project.make(target, "PY=python3") if way == "argument" else project.make(target, PY="python3")
    assert calls
    assert not any("venv" in call or "pip" in call for call in calls)
    assert not (project.folder / ".venv").exists()


def test_help_lists_every_target(project):
    makefile = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.M)[1].split()
    project.make("help")
    listed = re.findall(r"^make ([a-z-]+) ", project.result.stdout, re.M)
    assert set(listed) == set(phony) - {"executed", "site"}  # the two steps of `book`
    assert {"book", "test", "lint", "serve", "lab", "clean", "help"} <= set(listed)


def test_pdf_says_where_it_is_and_how_long_it_took_and_is_made_once(project):
    project.make("pdf", "PY=python3")
    assert re.search(rf"^{PDF} \(\d+ s\)$", project.result.stdout, re.M)
    assert (project.folder / PDF).read_text() == "paper\n"
    assert project.make("pdf", "PY=python3") == []
    project.edit("book/index.md")
    assert sum("latexmk" in call for call in project.make("pdf", "PY=python3")) == 1


def test_pdf_without_latex_names_the_target_that_installs_it(project):
    assert project.make("pdf", "PY=python3", "LATEXMK=no-such-latexmk", fail="nothing") == []
    assert "make apt-latex" in project.result.stderr


@pytest.mark.parametrize("says", ["! An error", "Missing character: There is no λ in font"])
def test_an_error_of_latex_or_a_missing_character_is_shown_and_leaves_no_pdf(project, says):
    project.make("pdf", "PY=python3", fail="nothing", SAYS=says)
    assert says in project.result.stderr
    assert "LaTeX failed" in project.result.stderr
    assert not (project.folder / PDF).exists()


def test_the_site_takes_the_pdf_along_unless_a_page_is_newer(project):
    taken = project.folder / "book/_build/source" / Path(PDF).name
    for target, links in (("book", False), ("pdf", False), ("book", True)):
        project.make(target, "PY=python3")
        assert taken.exists() == links
    project.edit("book/index.md")
    assert built(project.make("book", "PY=python3")) == 1
    assert not taken.exists()


def test_clean_leaves_the_environment(project):
    project.make("book")
    project.make("clean")
    assert not (project.folder / "book/_build/html").exists()
    assert (project.folder / ".venv").exists()
