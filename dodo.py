"""What `make` builds: every chapter, executed, and the site of them. doit reads the tasks here; the Makefile calls it.

No list says what a chapter depends on, and no date is compared. While it runs, a tracer (`tools/trace`) writes down
what it reads of the project, with a digest; it is executed again when such a digest, or a version, is another now.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from glob import iglob
from pathlib import Path
from typing import Any

from doit.exceptions import TaskFailed, UnmetDependency
from doit.reporter import ErrorOnlyReporter
from filelock import FileLock, Timeout
from sphinx_external_toc.parsing import parse_toc_yaml

from tools import records
from tools.trace.sitecustomize import digest

BOOK = Path("book")
BUILD = BOOK / "_build"
EXECUTED, SITE = BUILD / "executed", BUILD / "html"
PAPER = Path("paper/main.pdf")
RUNNING = Path(".cache/running")  # not under _build, where nbmake refuses to look
NBMAKE = ["--nbmake", "--overwrite", "--nbmake-kernel=kernel-of-this-book", "--nbmake-timeout=600"]
# jupyter-book has no `python -m`.
JUPYTER_BOOK = ["-c", "from jupyter_book.cli.main import main; main()", "build", "-q", "-W", "-n", "--keep-going"]
SHOWN: dict[str, Any] = {"io": {"capture": False}}  # what a task prints
LAST = "status"  # a chapter that tells how long the others took, and reads them executed


class Reporter(ErrorOnlyReporter):  # type: ignore[misc]
    """Reports errors of this file alone, since each task prints what it does; and why there is no site."""

    def add_failure(self, task: Any, fail_info: Any) -> None:
        """Report a task that failed."""
        if not isinstance(fail_info, UnmetDependency):
            super().add_failure(task, fail_info)
        elif task.name == "site":
            print("make: a chapter failed, so there is no site", file=sys.stderr)


DOIT_CONFIG = {
    "reporter": Reporter,
    "continue": True,  # one failed chapter does not hide another
    "par_type": "thread",
    "num_process": int(os.environ.get("JOBS") or 2),
    # The records decide, not doit's own memory. It has none, so a killed build leaves none behind.
    "backend": "sqlite3",
    "dep_file": ":memory:",
}
START = time.monotonic()
signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends a build without a traceback; nothing half-made counts

RUNNING.mkdir(parents=True, exist_ok=True)
LOCK = FileLock(".cache/build.lock")  # two builds in this folder would write the same files
try:
    LOCK.acquire(blocking=False)
except Timeout:
    print("waiting for another build in this folder", flush=True)
    LOCK.acquire()

# Hidden files are what tools left in the book, and are not found.
FOUND = [Path(name) for name in sorted(iglob("book/**", recursive=True)) if os.path.isfile(name)]
PAGES = [page for page in FOUND if not {"_build", "__pycache__"}.intersection(page.parts)]
PROSE = [page for page in PAGES if page.suffix != ".ipynb"]
NOTEBOOKS = [page.relative_to(BOOK).with_suffix("").as_posix() for page in PAGES if page.suffix == ".ipynb"]
TOC = {name.removesuffix(".ipynb") for name in parse_toc_yaml(BOOK / "_toc.yml")}
CHAPTERS = [name for name in NOTEBOOKS if name in TOC]
for name in NOTEBOOKS:  # JupyterLab leaves some that are no chapter
    if name not in TOC and "/_" not in f"/{name}":
        print(f"{BOOK / name}.ipynb is in no _toc.yml, so it is left out: add it there, or delete it", flush=True)
ENVIRONMENT = records.environment()
STATE = records.surroundings()
SITE_STATE = [*STATE, *map(str, PROSE), *CHAPTERS]


def copied(copies: dict[Path, Path]) -> records.Inputs:
    """Copy files; return the digests of the copies, since a file may change meanwhile."""
    for page, copy in copies.items():
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(page, copy)
    return {f"content {page}": digest("content", str(copy)) for page, copy in copies.items()}


def execute(name: str) -> TaskFailed | None:
    """Execute a chapter. The copy moves into place only when all its cells ran."""
    source, copy, target = (folder / f"{name}.ipynb" for folder in (BOOK, RUNNING, EXECUTED))
    # The epoch keeps the date out of the figures.
    environment = ENVIRONMENT | {"CHAPTER_TRACE": records.forget(name), "SOURCE_DATE_EPOCH": "0"}
    # From now on they would show what is no longer so.
    shutil.rmtree(SITE, ignore_errors=True)
    PAPER.unlink(missing_ok=True)
    inputs = copied({source: copy})
    print(f"executing {source}", flush=True)
    command = [sys.executable, "-m", "pytest", *NBMAKE, "-p", "no:cacheprovider", "-q", str(copy)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    said = done.stdout.decode("utf-8", "replace").strip()
    if done.returncode:
        print(f"{said}\nmake: {source} failed (above); its outputs up to there are in {copy}", file=sys.stderr)
        return TaskFailed(f"{source} failed", report=False)
    target.parent.mkdir(parents=True, exist_ok=True)
    copy.replace(target)
    records.keep(name, target, inputs, STATE)
    print(f"{source}: {said.splitlines()[-1]}", flush=True)
    return None


def build() -> TaskFailed | None:
    """Build the site, whole or not at all, in seconds."""
    # Sphinx's own increments leave stale sidebars, glued numbers and removed pages, and forget the warnings before.
    source, environment = BUILD / "source", ENVIRONMENT | {"BOOK_TRACE": records.forget("site")}
    for folder in (SITE, source, BUILD / "sphinx"):
        shutil.rmtree(folder, ignore_errors=True)
    copies = {page: source / page.relative_to(BOOK) for page in PROSE}
    inputs = copied(copies | {EXECUTED / f"{name}.ipynb": source / f"{name}.ipynb" for name in CHAPTERS})
    print("building the site", flush=True)
    command = [sys.executable, *JUPYTER_BOOK, str(source), "--path-output", str(BUILD / "sphinx")]
    with (BUILD / "site.log").open("wb") as log:  # warnings go to stderr
        code = subprocess.run(command, env=environment, stdout=log, check=False).returncode
    if code:
        return TaskFailed("the site has errors (above)", report=False)
    (BUILD / "sphinx/_build/html").replace(SITE)
    records.keep("site", SITE / "index.html", inputs, SITE_STATE)
    return None


def task_chapter() -> Iterator[dict[str, Any]]:
    """Execute the chapters that need it."""
    for name in CHAPTERS:
        needed = records.fresh, [name, EXECUTED / f"{name}.ipynb", STATE]
        before = [f"chapter:{other}" for other in CHAPTERS if name == LAST != other]
        yield SHOWN | {"name": name, "actions": [(execute, [name])], "uptodate": [needed], "task_dep": before}


def task_site() -> dict[str, Any]:
    """Build the site, if every chapter is executed."""
    needed = records.fresh, ["site", SITE / "index.html", SITE_STATE]
    return SHOWN | {"actions": [build], "uptodate": [needed], "task_dep": ["chapter"]}


def task_book() -> dict[str, Any]:
    """Say where the site is, and how long it took."""
    say = [lambda: print(f"{SITE / 'index.html'} ({time.monotonic() - START:.0f} s)")]
    return SHOWN | {"actions": say, "task_dep": ["site"]}
