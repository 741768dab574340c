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

import yaml
from doit.exceptions import TaskFailed, UnmetDependency
from doit.reporter import ErrorOnlyReporter
from filelock import FileLock, Timeout

from tools import records
from tools.trace.sitecustomize import digest

BOOK = Path("book")
BUILD = BOOK / "_build"
EXECUTED, SITE = BUILD / "executed", BUILD / "html"
RUNNING = Path(".cache/running")  # not under _build, where nbmake refuses to look
NBMAKE = f"--nbmake --overwrite --nbmake-kernel={records.KERNEL} --nbmake-timeout=600 -p no:cacheprovider -q".split()
JUPYTER_BOOK = ["-c", "from jupyter_book.cli.main import main; main()", "build", "-q", "-W", "-n", "--keep-going"]


class Reporter(ErrorOnlyReporter):  # type: ignore[misc]
    """Reports errors of this file alone, since each task prints what it does; and why there is no site."""

    def add_failure(self, task: Any, fail_info: Any) -> None:
        """Report a task that failed."""
        if not isinstance(fail_info, UnmetDependency):
            super().add_failure(task, fail_info)
        elif task.name == "site":
            print("make: a chapter failed, so there is no site", file=sys.stderr)


DOIT_CONFIG = {
    "default_tasks": ["book"],
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


def named(toc: Any) -> Iterator[str]:
    """Find the pages that a table of contents names."""
    for name, value in toc.items() if isinstance(toc, dict) else enumerate(toc):
        if name in ("root", "file"):
            yield str(value).removesuffix(".ipynb")
        elif isinstance(value, (dict, list)):
            yield from named(value)


def chapters() -> Iterator[str]:
    """Name the notebooks of the book, without suffix; say which notebooks are none of it, as JupyterLab leaves some."""
    toc = set(named(yaml.safe_load((BOOK / "_toc.yml").read_text("utf-8"))))
    for page in PAGES:
        name = page.relative_to(BOOK).with_suffix("").as_posix()
        if page.suffix == ".ipynb" and name in toc:
            yield name
        elif page.suffix == ".ipynb" and "/_" not in f"/{name}":
            print(f"{page} is in no _toc.yml, so it is left out: add it there, or delete it", flush=True)


# Hidden files are what tools left in the book, and are not found.
FOUND = [Path(name) for name in sorted(iglob("book/**", recursive=True)) if os.path.isfile(name)]
PAGES = [page for page in FOUND if not {"_build", "__pycache__"}.intersection(page.parts)]
PROSE = [page for page in PAGES if page.suffix != ".ipynb"]
CHAPTERS = list(chapters())
ENVIRONMENT = records.environment()
STATE = records.surroundings()
COMMIT = subprocess.getoutput("git rev-parse HEAD 2> /dev/null")  # on the status page; empty outside a repository
SITE_STATE = [*STATE, COMMIT, *map(str, PROSE), *CHAPTERS]


def copied(copies: dict[Path, Path]) -> records.Inputs:
    """Copy files; return the digests of the copies, since a file may change meanwhile."""
    for page, copy in copies.items():
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(page, copy)
    return {f"content {page}": digest("content", str(copy)) for page, copy in copies.items()}


def execute(name: str) -> TaskFailed | None:
    """Execute a chapter. The copy moves into place only when all its cells ran."""
    source, copy, target = BOOK / f"{name}.ipynb", RUNNING / f"{name}.ipynb", EXECUTED / f"{name}.ipynb"
    log, trace = RUNNING / f"{name}.log", RUNNING / f"{name}.trace"
    records.forget(name)
    shutil.rmtree(SITE, ignore_errors=True)  # from now on it would show what is no longer so
    trace.unlink(missing_ok=True)
    inputs = copied({source: copy})
    print(f"executing {source}", flush=True)
    # The epoch keeps the date out of the figures.
    environment = ENVIRONMENT | {"CHAPTER_TRACE": str(trace.resolve()), "SOURCE_DATE_EPOCH": "0"}
    command = [sys.executable, "-m", "pytest", *NBMAKE, str(copy)]
    with log.open("wb") as out:
        code = subprocess.run(command, env=environment, stdout=out, stderr=subprocess.STDOUT, check=False).returncode
    said = log.read_text("utf-8", "replace")
    if code:
        print(f"{said}\nmake: {source} failed (above); its outputs up to there are in {copy}", file=sys.stderr)
        return TaskFailed(f"{source} failed", report=False)
    target.parent.mkdir(parents=True, exist_ok=True)
    copy.replace(target)
    records.keep(name, target, records.traced(trace) | inputs, STATE)
    print(f"{source}: {said.strip().splitlines()[-1]}", flush=True)
    return None


def build() -> TaskFailed | None:
    """Build the site, whole or not at all.

    Sphinx's own increments leave stale sidebars, glued numbers and removed pages behind, and forget the warnings of the
    failed build before; a whole build takes seconds. jupyter-book has no `python -m`.
    """
    source, trace = BUILD / "source", (BUILD / "site.trace").resolve()
    records.forget("site")
    for folder in (SITE, source, BUILD / "sphinx"):
        shutil.rmtree(folder, ignore_errors=True)
    trace.unlink(missing_ok=True)
    copies = {page: source / page.relative_to(BOOK) for page in PROSE}
    inputs = copied(copies | {EXECUTED / f"{name}.ipynb": source / f"{name}.ipynb" for name in CHAPTERS})
    print("building the site", flush=True)
    command = [sys.executable, *JUPYTER_BOOK, str(source), "--path-output", str(BUILD / "sphinx")]
    with (BUILD / "site.log").open("wb") as log:  # warnings go to stderr
        code = subprocess.run(command, env=ENVIRONMENT | {"BOOK_TRACE": str(trace)}, stdout=log, check=False).returncode
    if code:
        return TaskFailed("the site has errors (above)", report=False)
    (BUILD / "sphinx/_build/html").replace(SITE)
    records.keep("site", SITE / "index.html", records.traced(trace) | inputs, SITE_STATE)
    return None


def task(action: Any, arguments: list[Any], fresh: list[Any] | None, **more: Any) -> dict[str, Any]:
    """Write a task as doit reads it."""
    check = {"uptodate": [(records.fresh, fresh)]} if fresh else {}
    return {"actions": [(action, arguments)], "io": {"capture": False}, **check, **more}


def task_chapter() -> Iterator[dict[str, Any]]:
    """Execute the chapters that need it."""
    yield {"name": None, "doc": "the executed chapters"}
    for name in CHAPTERS:
        yield task(execute, [name], [name, EXECUTED / f"{name}.ipynb", STATE], name=name)


def task_site() -> dict[str, Any]:
    """Build the site, if every chapter is executed."""
    return task(build, [], ["site", SITE / "index.html", SITE_STATE], task_dep=["chapter"])


def task_book() -> dict[str, Any]:
    """Say where the site is, and how long it took."""
    message = f"{SITE / 'index.html'} ({{:.0f}} s)"
    return task(lambda: print(message.format(time.monotonic() - START), flush=True), [], None, task_dep=["site"])
