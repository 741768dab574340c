"""What make decides to redo, shown in a copy of the project whose Python is a stub that only writes down its calls."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from small_project import CHAPTERS, ROOT, SHOW, Project

ALL = [*CHAPTERS, "site"]
SITE = "book/_build/html/index.html"


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    project = Project(tmp_path_factory.mktemp("original"))
    (project.folder / "data/runs/empty").mkdir()
    assert project.build() == ALL
    return project


@pytest.fixture
def built(original, project):
    """A copy of a project that was built: what was built comes along."""
    shutil.copytree(original.folder, project.folder, dirs_exist_ok=True)
    return project


def test_nothing_to_do_does_nothing_and_says_where_the_site_is_and_how_long_it_took(built):
    assert built.build() == []
    assert re.fullmatch(rf"{SITE} \(\d+ s\)\n", built.result.stdout)
    assert built.result.stderr == ""


EDITED = {
    "src/one.py": ["01_first", "site"],
    "src/two.py": ["02_second"],
    "data/digits.gz": ["02_second"],
    "data/runs/s/metrics.csv": ["10_studied"],
    "tests/test_one.py": ["site"],
    "book/index.md": ["site"],
    "book/_ext/a.py": ["site"],
    "book/images/a picture.png": ["site"],
}


def test_an_edit_executes_what_reads_the_file_whatever_its_date_and_size(built):
    for name, executed in EDITED.items():  # one after the other: the next build also shows that nothing is left over
        built.edit(name)
        # The chapter is a part of the site, which is thrown away before one is executed.
        assert built.build() == [*[name for name in executed if name != "site"], "site"], name
    assert built.build() == []


def test_a_chapter_edited_with_an_older_date_is_executed_alone(built):
    chapter = built.write("book/02_second.ipynb", "import two, sys\n")
    os.utime(chapter, (1, 1))
    assert built.build() == ["02_second", "site"]


COMING = {
    "data/runs/new/metrics.csv": ["10_studied", "site"],
    "data/runs/empty/metrics.csv": ["10_studied", "site"],
    "tests/test_new.py": ["site"],
    "data/verified.json": ["site"],
    "book/new.md": ["site"],
}


def test_a_file_that_comes_and_goes_is_seen_by_what_lists_it_or_asks_for_it(built):
    for name, reader in COMING.items():
        built.edit(name)
        assert built.build() == reader, name
        (built.folder / name).unlink()
        assert built.build() == reader, name
    assert built.build() == []


def test_a_module_beside_others_and_what_nobody_reads_execute_nothing(built):
    for name in ("src/new.py", "data/README.md", "notes.txt", "README.md", "book/.DS_Store"):
        built.edit(name)
    assert built.build() == []


def test_a_deleted_module_executes_what_imported_it(built):
    (built.folder / "src/two.py").unlink()
    assert built.build(fail="nothing else") == ["02_second"]
    assert "No module named 'two'" in built.result.stderr


def test_a_copy_of_a_module_hides_no_edit_and_no_failure(built):
    built.write("src/one copy.py", "")
    built.write("book/01_first.ipynb", "raise ValueError('broken')\n")
    assert built.build(fail="nothing else") == ["01_first"]
    assert "broken" in built.result.stderr
    assert not (built.folder / SITE).exists()


def test_another_version_of_any_package_executes_all(project):
    def build_with(version):
        project.write("packages/some.dist-info/METADATA", f"Metadata-Version: 2.1\nName: some\nVersion: {version}\n")
        return project.build(PYTHONPATH=str(project.folder / "packages"))

    assert [build_with("1"), build_with("1"), build_with("2")] == [ALL, [], ALL]
    project.edit("constraints.txt", "some==2\n")  # says what should be installed, not what is
    assert build_with("2") == []


def test_another_data_folder_executes_all_and_is_traced(built, tmp_path):
    data = tmp_path / "elsewhere.csv"
    data.write_text("1")
    built.write("book/01_first.ipynb", f"open({str(data)!r}).close()\n")
    assert built.build(CONDKL_DATA=str(tmp_path)) == ALL
    data.write_text("2")
    assert built.build(CONDKL_DATA=str(tmp_path)) == ["01_first", "site"]


def test_the_tests_and_the_site_share_one_execution(project):
    assert project.build("test") == list(CHAPTERS)
    assert project.build() == ["site"]


def test_a_failed_chapter_is_shown_hides_no_other_and_runs_again(built):
    for name in CHAPTERS:
        built.write(f"book/{name}.ipynb", "import one, two\n")
    assert built.build(fail="01_first.ipynb") == list(CHAPTERS)
    assert "it broke" in built.result.stderr
    message = "book/01_first.ipynb failed (above); its outputs up to there are in .cache/running/01_first.ipynb"
    assert message in built.result.stderr
    assert (built.folder / ".cache/running/01_first.ipynb").exists()
    assert built.result.stderr.splitlines()[-2] == "make: a chapter failed, so there is no site"
    assert "Unmet" not in built.result.stdout
    assert "02_second.ipynb: 1 passed" in built.result.stdout
    assert not (built.folder / "book/_build/html").exists()  # no page shows what is no longer so
    assert built.build() == ["01_first", "site"]


def test_a_stale_site_is_not_served(built):
    built.edit("src/one.py")
    calls = built.make("serve", "PY=python3", fail="01_first.ipynb")
    assert not any("http.server" in call for call in calls)
    assert not (built.folder / "book/_build/html").exists()


@pytest.mark.parametrize("name", ["book/01_first.ipynb", "src/one.py", "book/index.md"])
def test_an_edit_during_the_run_is_seen_by_the_next_one(built, name):
    later = f"open({str(built.folder / name)!r}, 'a').write('# later')\n"
    built.write("book/01_first.ipynb", f"import one\n{later}")
    built.write("show.py", SHOW + later)
    executed = built.build()
    built.write("show.py", SHOW)
    assert executed == ["01_first", "site"]
    assert "site" in built.build()
    assert ("01_first" in built.build()) == (name != "book/index.md")


def test_a_chapter_that_is_executed_takes_the_paper_with_its_older_numbers_away(built):
    paper = built.write("paper/main.pdf", "")
    built.edit("book/index.md")
    assert built.build() == ["site"]
    assert paper.exists()
    built.edit("src/one.py")
    built.build()
    assert not paper.exists()


def test_a_failed_site_is_not_left_behind_and_fails_again(built):
    built.edit("book/index.md")
    for _ in range(2):
        assert built.build(fail="--path-output") == ["site"]
        assert not (built.folder / "book/_build/html").exists()


@pytest.mark.parametrize("lost", ["executed/01_first.ipynb", "records/01_first.json", "records/site.json", "html"])
def test_what_is_lost_or_damaged_is_made_again(built, lost):
    path = built.folder / "book/_build" / lost
    path.rename(path.with_name("lost")) if lost == "html" else path.write_text("half of it")
    assert built.build() == (["01_first", "site"] if "first" in lost else ["site"])


@pytest.mark.parametrize("name", ["book/index.md", "book/01_first.ipynb"])
def test_a_deleted_page_leaves_the_site(built, name):
    stale = built.write("book/_build/html/stale.html", "")
    (built.folder / name).unlink()
    assert built.build() == ["site"]
    assert not stale.exists()
    assert not (built.folder / "book/_build/source" / Path(name).name).exists()


def test_names_with_spaces_and_folders_of_chapters_work(built):
    built.write("book/checks/vae copy.ipynb", "import one\n")
    built.write("book/checks/_draft.ipynb", "raise ValueError\n")
    built.name_chapters(*CHAPTERS, "checks/vae copy")
    assert built.build() == ["checks/vae copy", "site"]
    source = built.folder / "book/_build/source"
    assert (source / "checks/vae copy.ipynb").exists()
    assert (source / "images/a picture.png").exists()
    built.edit("src/one.py")
    assert built.build() == ["01_first", "checks/vae copy", "site"]


def test_a_notebook_that_the_book_does_not_name_is_left_out_and_said_so(built):
    built.write("book/Untitled.ipynb", "raise ValueError\n")
    built.write("book/.ipynb_checkpoints/01_first-checkpoint.ipynb", "raise ValueError\n")
    assert built.build() == []
    said = "book/Untitled.ipynb is in no _toc.yml, so it is left out: add it there, or delete it"
    assert built.result.stdout.splitlines()[:-1] == [said]
    built.edit("book/index.md")
    assert built.build() == ["site"]
    assert not (built.folder / "book/_build/source/Untitled.ipynb").exists()


def test_lint_and_format_reach_every_notebook_whatever_its_name(project):
    project.write("book/checks/a b.ipynb", "")
    project.write("book/_build/executed/01_first.ipynb", "")
    for target in ("lint", "format"):
        stripped = [call for call in project.make(target, "PY=python3") if "nbstripout" in call]
        assert len(stripped) == 1
        assert set(re.findall(r"book/[\w/ ]+\.ipynb", stripped[0])) == {
            *(f"book/{name}.ipynb" for name in CHAPTERS), "book/checks/a b.ipynb"}  # fmt: skip
        project.make(target, "PY=python3", fail="nbstripout")


def test_the_own_library_stands_before_an_installed_one(project, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "one.py").write_text("raise ImportError('the library of another copy')")
    assert project.build(PYTHONPATH=str(other)) == ALL


def test_the_picture_is_taken_from_the_executed_chapter(project):
    cell = {"metadata": {"mystnb": {"figure": {"name": "fig-first-comparison"}}},
            "outputs": [{"data": {"text/plain": "x"}}, {"data": {"image/png": "cG5n"}}]}  # fmt: skip
    other = {"metadata": {}, "outputs": []}
    project.write("book/first_comparison.ipynb", json.dumps({"cells": [other, cell]}))
    project.name_chapters("first_comparison")
    calls = project.make("picture", "PY=python3")
    assert len(calls) == 2
    command = calls[1].split()[1:]
    subprocess.run([sys.executable, *command], cwd=project.folder, check=True)
    assert (project.folder / "book/images/first_comparison.png").read_bytes() == b"png"


def test_two_builds_at_once_do_not_meet(project):
    project.write("book/01_first.ipynb", "import time; time.sleep(2)\n")
    environment = os.environ | {"PATH": f"{project.bin}{os.pathsep}{os.environ['PATH']}", "LOG": os.devnull, "FAIL": ""}
    command = ["make", "-C", project.folder, "chapters", "PY=python3"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as first:
        next(line for line in first.stdout if "executing" in line)
        assert project.build() == ["site"]
        assert first.wait() == 0
    assert "waiting for another build" in project.result.stdout


def test_clean_leaves_the_environment_and_the_states_of_runs(project):
    project.make("book")
    project.write(".cache/runs/state", "")
    project.make("clean")
    assert not (project.folder / "book/_build").exists()
    assert (project.folder / ".venv").exists()
    assert (project.folder / ".cache/runs/state").exists()


def test_help_lists_every_target(project):
    makefile = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.M)[1].split()
    project.make("help")
    assert re.findall(r"^make ([a-z-]+) ", project.result.stdout, re.M) != []
    assert set(re.findall(r"^make ([a-z-]+) ", project.result.stdout, re.M)) == set(phony)
    assert {"book", "test", "lint", "serve", "lab", "clean", "help", "picture"} <= set(phony)


def test_make_compares_no_dates_and_needs_nothing_newer_than_the_make_of_macos():
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^([\w./%$() -]+?):(?![=:])", makefile, re.M)
    phony = " ".join(re.findall(r"^\.PHONY: (.*)$", makefile, re.M)).split()
    assert set(" ".join(targets).split()) - {".PHONY", ".NOTPARALLEL"} == set(phony)
    functions = r"\$\((file|let|intcmp|guile) "
    newer = rf"\.ONESHELL|\.SHELLFLAGS|\.EXTRA_PREREQS|::=|!=|&:|{functions}|^(define|undefine|private|load) "
    assert re.findall(newer, makefile, re.M) == []
