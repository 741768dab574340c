"""The ``{status}`` directive and the ``{time}`` role: what this copy was made from, where, and how long that took.

Both are computed when the site is built. What is missing or broken is said on the page and stops no build: another
machine has other records.
"""

import os
import platform
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from condkl_studies import RecordError, verify
from condkl_studies.engine import compiler_found, machine
from condkl_studies.plans import STUDIES
from docutils import nodes
from ledger_page import table, text
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective, SphinxRole
from status_facts import (
    Chapter,
    bench_seconds,
    chapter,
    day,
    duration,
    elbo_on_test,
    median,
    minutes,
    moment,
    place,
    study,
)

PACKAGES = (
    "condkl",
    "torch",
    "numpy",
    "scipy",
    "sympy",
    "pandas",
    "matplotlib",
    "jupyter-book",
    "sphinx",
    "nbmake",
)
Cells = list[nodes.Node]


def all_chapters(env: BuildEnvironment) -> list[Chapter]:
    """Return the chapters of the site."""
    found = sorted(Path(env.srcdir).glob("*.ipynb"))
    return [chapter(path) for path in found if path.stem in env.found_docs]


def chapters(env: BuildEnvironment) -> Cells:
    """Return the table of the chapters: minutes to read, time to run, when that was."""
    found = all_chapters(env)
    rows = [
        [
            link(env, one.name),
            text(duration(60 * one.minutes)),
            text(duration(one.seconds)),
            text(day(one.began) if one.began else "–"),
        ]
        for one in found
    ]
    read = duration(60 * sum(one.minutes for one in found))
    cells = ("All", read, duration(running(found)), "–")
    rows.append([*map(text, cells)])
    return [table(("Chapter", "To read", "To run", "Run on"), iter(rows))]


def running(found: list[Chapter]) -> float | None:
    """Return the seconds of all chapters together, or None if none says."""
    known = [one.seconds for one in found if one.seconds is not None]
    return sum(known) if known else None


def link(env: BuildEnvironment, docname: str) -> nodes.Node:
    """Return a link that shows the title of a page."""
    reference = pending_xref(
        "",
        nodes.inline("", docname),
        refdomain="std",
        reftype="doc",
        reftarget=f"/{docname}",
        refdoc=env.docname,
        refexplicit=False,
        refwarn=True,
    )
    return nodes.paragraph("", "", reference)


def environment(env: BuildEnvironment) -> Cells:
    """Return the table of what the site was built with."""
    here = machine()
    found = {
        "Site built": moment(datetime.now(UTC).isoformat()),
        "Commit": short(verify.commit()),
        "Processor": here["processor"],
        "Cores": str(os.cpu_count()),
        "Device": here["device"],
        "System": here["system"],
        "Compiler for the training step": "yes" if compiler_found() else "no",
        "Python": platform.python_version(),
        **{name: installed(name) for name in PACKAGES},
    }
    return [pairs(found)]


def installed(package: str) -> str:
    """Return the version of a package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def short(commit: str | None) -> str:
    """Return the first digits of a commit."""
    return commit[:8] if commit else "not known"


def pairs(found: dict[str, str]) -> nodes.table:
    """Return a table of two columns."""
    rows = ([text(name), text(value)] for name, value in found.items())
    return table(("What", "Here"), rows)


def studies(env: BuildEnvironment) -> Cells:
    """Return the table of the studies: what is recorded, and what made it."""
    rows = []
    for found in map(study, STUDIES):
        runs = f"{len(found.records)} of {found.planned}"
        runs += f" ({found.broken} broken)" if found.broken else ""
        made_on = "; ".join(sorted({*map(place, found.records)})) or "–"
        hours = f"{sum(found.each) / 3600:.1f}"
        cells = (found.name, runs, f"{found.steps:,}", hours, made_on)
        rows.append([*map(text, cells)])
    header = ("Study", "Runs", "Steps", "Hours", "Made on")
    return [table(header, iter(rows))]


def training(env: BuildEnvironment) -> Cells:
    """Return the table of what each study takes to train."""
    rows = []
    for found in map(study, STUDIES):
        complete = len(found.records) == found.planned
        whole = duration(found.whole())
        cells = (
            found.name,
            str(found.planned),
            duration(median(found.each)),
            whole if complete or found.whole() is None else f"about {whole}",
        )
        rows.append([*map(text, cells)])
    return [table(("Study", "Runs", "A run (median)", "All"), iter(rows))]


def verification(env: BuildEnvironment) -> Cells:
    """Return what the last verification found, and whether the records are still those."""
    try:
        last = verify.last_verification()
    except RecordError:
        lost = "data/runs/verified.json, is truncated or altered. Delete it, and run "
        return [to_verify(f"The file of the last verification, {lost}")]
    if last is None:
        lost = "No verification is kept with the records of this copy. "
        return [to_verify(f"{lost}For one, run ")]
    found = {
        "Passed": moment(last.passed),
        "Commit": short(last.commit),
        "Machine": ", ".join(last.machine.values()),
        "Records found whole": ", ".join(
            f"{count} of {name}" for name, count in last.records.items()
        ),
        "First epochs trained again": "; ".join(map(again, last.replays))
        or "none",
    }
    changed = ", ".join(last.outdated(STUDIES))
    since = f"Out of date: since then records of {changed} were added, removed or made anew. Run "
    return [*([to_verify(since)] if changed else []), pairs(found)]


def to_verify(told: str) -> nodes.Node:
    """Return a paragraph that ends with the command."""
    command = nodes.literal("", "make verify")
    return nodes.paragraph("", told, command, nodes.Text("."))


def again(one: verify.Repeated) -> str:
    """Return a replay in words."""
    kind = "the recorded" if one.same_machine else "another"
    return (
        f"{one.label} ({one.run[:8]}), on {kind} kind of machine: {one.detail}"
    )


def citation(env: BuildEnvironment) -> Cells:
    """Return how to cite a number, at the first record of ``main``."""
    if not (records := study("main").records):
        return [text("Nothing is recorded of the study main in this copy.")]
    one = records[0]
    line = (
        f"condkl {version('condkl')}, run main/{one.config.id[:8]} ({one.config.label}), trained at commit "
        f"{short(one.provenance['commit'])} on {place(one)}, {moment(one.provenance['finished'])}: test ELBO {elbo_on_test(one)} nats."
    )
    return [nodes.block_quote("", text(line))]


PARTS: dict[str, Callable[[BuildEnvironment], Cells]] = {
    "chapters": chapters,
    "environment": environment,
    "studies": studies,
    "training": training,
    "verification": verification,
    "citation": citation,
}


class StatusDirective(SphinxDirective):
    """One part of the status, by its name in ``PARTS``."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return its nodes."""
        self.env.note_reread()  # it depends on notebooks, records and the machine
        name = self.arguments[0]
        if name not in PARTS:
            known = ", ".join(PARTS)
            raise self.error(f"status: expected one of {known}, got {name}.")
        return PARTS[name](self.env)


def read_time(env: BuildEnvironment, name: str) -> str:
    """Return the minutes that a page or a chapter takes to read."""
    notebook = Path(env.srcdir, f"{name}.ipynb")
    if notebook.exists():
        return duration(60 * chapter(notebook).minutes)
    return duration(
        60 * minutes(Path(env.srcdir, f"{name}.md").read_text("utf-8"))
    )


def run_time(env: BuildEnvironment, name: str) -> str:
    """Return how long a chapter ran, or all of them one after the other."""
    if name == "chapters":
        return duration(running(all_chapters(env)))
    return duration(chapter(Path(env.srcdir, f"{name}.ipynb")).seconds)


TIMES: dict[str, Callable[[BuildEnvironment, str], str]] = {
    "read": read_time,
    "run": run_time,
    "train": lambda env, name: duration(median(study(name).each)),
    "window": lambda env, name: duration(median(study(name).windows)),
    "bench": lambda env, name: duration(bench_seconds()),
}


class TimeRole(SphinxRole):
    """A duration: ``read PAGE``, ``run PAGE``, ``run chapters``, ``train STUDY``, ``window STUDY`` or ``bench``."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Return it as text."""
        self.env.note_reread()
        kind, _, name = self.text.partition(" ")
        try:
            return [nodes.Text(TIMES[kind](self.env, name))], []
        except (KeyError, FileNotFoundError):
            message = self.inliner.reporter.error(
                f"time: expected a kind ({', '.join(TIMES)}) and the name of a page or a study, got {self.text}.",
                line=self.lineno,
            )
            return [nodes.Text(self.text)], [message]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.add_directive("status", StatusDirective)
    app.add_role("time", TimeRole())
    return {
        "version": "1",
        "parallel_read_safe": True,
        "parallel_write_safe": True,
    }
