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
from pathlib import Path
from typing import Any

from doit.exceptions import TaskFailed, UnmetDependency
from doit.reporter import ErrorOnlyReporter

from tools import pages, records

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
LOCK = records.only_one()
PAGES = list(pages.files(BOOK))
CHAPTERS = pages.chapters(BOOK, PAGES)
PROSE = [page for page in PAGES if page.suffix != ".ipynb"]
ENVIRONMENT = records.environment()
STATE = records.surroundings()


def execute(name: str) -> TaskFailed | None:
    """Execute a chapter. The copy moves into place only when all its cells ran."""
    source, copy, target = BOOK / f"{name}.ipynb", RUNNING / f"{name}.ipynb", EXECUTED / f"{name}.ipynb"
    log, trace = RUNNING / f"{name}.log", RUNNING / f"{name}.trace"
    records.forget(name)
    shutil.rmtree(SITE, ignore_errors=True)  # from now on it would show what is no longer so
    for folder in (copy.parent, target.parent):
        folder.mkdir(parents=True, exist_ok=True)
    trace.unlink(missing_ok=True)
    raw = source.read_bytes()
    copy.write_bytes(raw)
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
    inputs = records.traced(trace) | {f"content {source}": records.sha256(raw)}
    copy.replace(target)
    records.keep(name, target, inputs, STATE)
    print(f"{source}: {said.strip().splitlines()[-1]}", flush=True)
    return None


def site_state() -> list[str]:
    """List what the site shows besides contents: its files, and the commit."""
    return [*STATE, records.commit(), *map(str, PROSE), *CHAPTERS]


def build() -> TaskFailed | None:
    """Build the site, whole or not at all.

    Sphinx's own increments leave stale sidebars, glued numbers and removed pages behind, and forget the warnings of the
    failed build before; a whole build takes seconds. jupyter-book has no `python -m`.
    """
    source, trace, state = BUILD / "source", (BUILD / "site.trace").resolve(), site_state()
    records.forget("site")
    for folder in (SITE, source, BUILD / "sphinx"):
        shutil.rmtree(folder, ignore_errors=True)
    trace.unlink(missing_ok=True)
    copies = {page: source / page.relative_to(BOOK) for page in PROSE}
    copies |= {EXECUTED / f"{name}.ipynb": source / f"{name}.ipynb" for name in CHAPTERS}
    inputs: records.Inputs = {}
    for page, copy in copies.items():
        copy.parent.mkdir(parents=True, exist_ok=True)
        raw = page.read_bytes()
        copy.write_bytes(raw)
        inputs[f"content {page}"] = records.sha256(raw)
    print("building the site", flush=True)
    command = [sys.executable, *JUPYTER_BOOK, str(source), "--path-output", str(BUILD / "sphinx")]
    with (BUILD / "site.log").open("wb") as log:  # warnings go to stderr
        code = subprocess.run(command, env=ENVIRONMENT | {"BOOK_TRACE": str(trace)}, stdout=log, check=False).returncode
    if code:
        return TaskFailed("the site has errors (above)", report=False)
    (BUILD / "sphinx/_build/html").replace(SITE)
    records.keep("site", SITE / "index.html", records.traced(trace) | inputs, state)
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
    return task(build, [], ["site", SITE / "index.html", site_state()], task_dep=["chapter"])


def task_book() -> dict[str, Any]:
    """Say where the site is, and how long it took."""
    message = f"{SITE / 'index.html'} ({{:.0f}} s)"
    return task(lambda: print(message.format(time.monotonic() - START), flush=True), [], None, task_dep=["site"])
