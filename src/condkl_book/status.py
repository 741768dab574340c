"""What this copy of the book was made from, where, and how long that took: the tables of two of its pages.

What is missing or broken is said there and stops nothing: another machine has other records.
"""

import math
import os
import platform
import re
from contextlib import suppress
from datetime import UTC, date, datetime
from functools import cache
from importlib.metadata import distributions, version
from pathlib import Path

import pandas as pd
import yaml

from condkl_book.ledger import cells, notebooks
from condkl_studies import RecordError, plans, store, verify
from condkl_studies.machine import commit, compiler_found, machine

PACKAGES = ("condkl", "torch", "numpy", "scipy", "sympy", "pandas", "matplotlib", "jupyter-book", "Sphinx", "nbmake")
_BOOK = Path(__file__).resolve().parents[2] / "book"
_EXECUTED = _BOOK / "_build" / "executed"
_WORDS_A_MINUTE = 150  # formulas among them; prose alone is read faster
_PASSED_OVER = re.compile(r"^```+\{(?:exercise|solution)\}.*?^```+$|^\|[^\n]*$", re.DOTALL | re.MULTILINE)


def reading(text: str) -> float:
    """Seconds to read Markdown, in steps of five minutes; exercises with their solutions and tables do not count."""
    return 300.0 * math.ceil(len(_PASSED_OVER.sub("", text).split()) / _WORDS_A_MINUTE / 5)


def duration(seconds: float) -> str:
    """A duration for people; NaN stands for what is not known.

    Example:
        >>> duration(48.2), duration(1200.0), duration(63000.0), duration(math.nan)
        ('48 s', '20 min', '17.5 h', 'not known here')
    """
    if math.isnan(seconds):
        return "not known here"
    short = f"{seconds:.0f} s" if seconds < 99.5 else f"{seconds / 60:.0f} min"
    return short if seconds < 99.5 * 60 else f"{seconds / 3600:.1f} h"


def chapters(book: Path = _BOOK, executed: Path = _EXECUTED) -> pd.DataFrame:
    """By name: the title, seconds to read and to run, and when it ran; the last two are missing if it did not, here."""
    rows = {}
    for path in (path for path in notebooks(book) if path.stem not in {"status", "runs"}):
        name = path.relative_to(book)
        here = cells(executed / name)
        texts = [cell["source"] for cell in cells(path) if cell["cell_type"] == "markdown"]
        texts += [
            output.get("data", {}).get("text/markdown", ()) for cell in here for output in cell.get("outputs", ())
        ]
        text = "\n".join(map("".join, texts))
        times = pd.json_normalize(here).filter(regex=r"(execute_input|execute_reply)$").to_numpy().ravel()
        began, ended = pd.Series(times, dtype="datetime64[ns, UTC]").agg(["min", "max"])
        title = re.search(r"^# (.+)$", text, re.MULTILINE)
        when = str(began.date()).replace("NaT", "–")
        called, took = title[1] if title else path.stem, (ended - began).total_seconds()
        rows[name.with_suffix("").as_posix()] = (called, reading(text), took, when)
    return pd.DataFrame.from_dict(rows, orient="index", columns=["title", "read", "run", "when"])


@cache
def runs(study: str) -> pd.DataFrame:
    """The whole records of a study, a row for each."""
    rows = []
    for config in plans.study(study).configs:
        with suppress(RecordError):
            run = store.read(study, config)
            said, place = run.provenance, run.provenance["machine"]
            rate = f", rate {config.learning_rate:g}" * (config.learning_rate != plans.BASE.learning_rate)
            schedule = f", {config.schedule}" * (config.schedule != plans.BASE.schedule)
            on = f"{place['processor']} (CPU)" if said["device"] == "cpu" else f"{place['device']} (GPU)"
            what = (config.id, f"{config.label}{rate}{schedule}", config.protocol, config.steps)
            where = (f"{on}, {'' if said['compiled'] else 'not '}compiled", said["commit"] or "not known")
            rows.append((*what, *where, said["finished"], run.seconds, run.samples.get("test", [math.nan])[0]))
    columns = ["run", "setting", "protocol", "steps", "place", "commit", "finished", "seconds", "elbo"]
    return pd.DataFrame(rows, columns=columns)


def durations(book: Path = _BOOK, executed: Path = _EXECUTED) -> dict[str, str]:
    """By name: `read-PAGE`, `run-CHAPTER`, `run-chapters`, and `train`, the median of `main`."""
    known = chapters(book, executed)
    found = {f"read-{page.stem}": reading(page.read_text("utf-8")) for page in book.glob("*.md")}
    for kind in ("read", "run"):
        found |= {f"{kind}-{name}": seconds for name, seconds in known[kind].items()}
    found |= {"run-chapters": known["run"].sum(min_count=1), "train": runs("main")["seconds"].median()}
    return {name: duration(seconds) for name, seconds in found.items()}


def chapter_table(found: pd.DataFrame) -> pd.DataFrame:
    """`chapters` for people, each title a link in HTML, with their sum."""
    shown = found.assign(title='<a href="' + found.index + '.html">' + found["title"] + "</a>")
    shown.loc["all"] = ("All", found["read"].sum(), found["run"].sum(min_count=1), "–")
    shown[["read", "run"]] = shown[["read", "run"]].map(duration)
    return shown.set_axis(["Chapter", "To read", "To run", "Run on"], axis=1)


def environment() -> pd.DataFrame:
    """What computes this."""
    here = {
        "Computed": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "Commit": (commit() or "not known")[:8],
        **{name.capitalize(): said for name, said in machine().items() if name != "torch"},
        "Cores": str(os.cpu_count()),
        "Compiler for the training step": "yes" if compiler_found() else "no",
        "Python": platform.python_version(),
        **{package.name: package.version for package in distributions() if package.name in PACKAGES},
    }
    return pd.DataFrame(here.items(), columns=["What", "Here"])


def study_table() -> pd.DataFrame:
    """What is recorded of each study, how long it takes, and what it was made on."""
    rows = []
    for name, study in plans.studies().items():
        found = runs(name)
        broken = len(store.recorded(name, study.configs)) - len(found)
        paced = found if len(found) else runs("main")  # what is not recorded, at the pace of what is, or of `main`
        left = study.steps - int(found["steps"].sum())
        whole = duration(found["seconds"].sum() + (left and left * (paced["seconds"] / paced["steps"]).mean()))
        counted = f"{len(found)} of {len(study.configs)}" + f" ({broken} broken)" * bool(broken)
        about = f"about {whole}" if left and len(paced) else whole
        places = "; ".join(sorted(set(found["place"]))) or "–"
        rows.append((name, counted, f"{found['steps'].sum():,}", duration(found["seconds"].median()), about, places))
    return pd.DataFrame(rows, columns=["Study", "Runs", "Steps", "A run (median)", "All", "Made on"])


def run_table(study: str) -> pd.DataFrame:
    """`runs` for people; the first digits of an id are an anchor in HTML, `run-4f1a9c02`."""
    found = runs(study)
    shown = {
        "Run": found["run"].str.replace(r"^(.{8}).*", r'<code id="run-\1">\1</code>', regex=True),
        "Setting": found["setting"],
        "Test ELBO": found["elbo"].map("{:.2f}".format),
        "Took": found["seconds"].map(duration),
        "Finished (UTC)": found["finished"].str[:16].str.replace("T", " "),
    }
    return pd.DataFrame(shown)


def verification() -> tuple[str, pd.DataFrame]:
    """What to say of the last verification, in Markdown, and what it found."""
    try:
        last = verify.last_verification()
    except RecordError:
        return "`data/runs/verified.json` is truncated or altered. Delete it, and run `make verify`.", pd.DataFrame()
    if last is None:
        return "None is kept with the records of this copy. For one, run `make verify`.", pd.DataFrame()
    kinds = {True: "the recorded", False: "another"}
    again = [f"{r.label} ({r.run[:8]}), on {kinds[r.same_machine]} kind of machine: {r.detail}" for r in last.replays]
    found = {
        "Passed": last.passed[:16].replace("T", " ") + " UTC",
        "Commit": (last.commit or "not known")[:8],
        "Machine": ", ".join(last.machine.values()),
        "Records found whole": ", ".join(f"{count} of {name}" for name, count in last.records.items()),
        "First epochs trained again": "<br>".join(again) or "none",
    }
    changed = ", ".join(last.outdated(plans.studies()))
    since = f"Out of date: since then records of {changed} were added, removed or made anew. Run `make verify`."
    return since if changed else "", pd.DataFrame(found.items(), columns=["What", "Then"])


def citation() -> str:
    """How to cite a number: that of the first run of `main`."""
    if runs("main").empty:
        return "Nothing is recorded of the study main in this copy."
    one = runs("main").iloc[0]
    return (
        f"condkl {version('condkl')}, run main/{one.run[:8]} ({one.setting}), trained at commit {one.commit[:8]} "
        f"under protocol {one.protocol} on {one.place}, {one.finished[:10]}: test ELBO {one.elbo:.2f} nats."
    )


def released() -> date:
    """The day of the book's version, from its citation file."""
    cited = yaml.safe_load((_BOOK.parent / "CITATION.cff").read_text("utf-8"))
    return date.fromisoformat(cited["date-released"])
