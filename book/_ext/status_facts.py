"""What the status pages say: from the executed notebooks, the records of the studies, and the benchmark's."""

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import numpy as np
from condkl_studies.data import data_folder
from condkl_studies import RecordError, RunResult, store
from condkl_studies.plans import STUDIES

NO_BREAK = "\N{NO-BREAK SPACE}"
WORDS_A_MINUTE = 150  # formulas among them; prose alone is read faster
EXERCISES = re.compile(
    r"^```+\{(?:exercise|solution)\}.*?^```+$", re.DOTALL | re.MULTILINE
)


@dataclass(frozen=True)
class Chapter:
    """An executed notebook: minutes to read, when its first cell began, and the seconds to the end of its last one.

    A notebook that does not say when its cells ran has None for both.
    """

    name: str
    minutes: int
    began: datetime | None
    seconds: float | None


@dataclass(frozen=True)
class Study:
    """What is recorded of a study: planned runs and their steps, whole records, and how many are broken."""

    name: str
    planned: int
    planned_steps: int
    records: tuple[RunResult, ...]
    broken: int

    @property
    def steps(self) -> int:
        """Steps of training behind the records."""
        return sum(record.config.steps for record in self.records)

    @property
    def each(self) -> list[float]:
        """Seconds of every run by the clock, evaluation included."""
        return [*map(seconds, self.records)]

    @property
    def windows(self) -> list[float]:
        """Seconds of training a window of every run."""
        return [
            r.provenance["seconds"]["training"]
            * r.config.every
            / r.config.steps
            for r in self.records
        ]

    def whole(self) -> float | None:
        """Return seconds for all planned runs, at the pace of the recorded ones."""
        # The runs of a study of which nothing is recorded are as large as those of `main`.
        paced = self if self.records else study("main")
        if not paced.records:
            return None
        left = self.planned_steps - self.steps
        return sum(self.each) + left * sum(paced.each) / paced.steps


@cache
def study(name: str) -> Study:
    """Read the records of a study, once a build."""
    configs, records = STUDIES[name], []
    kept = store.recorded(name, configs)
    for config in kept:
        try:
            records.append(store.read(name, config))
        except RecordError:
            continue
    steps = sum(config.steps for config in configs)
    broken = len(kept) - len(records)
    return Study(name, len(configs), steps, tuple(records), broken)


def seconds(record: RunResult) -> float:
    """Return how long a run took by the clock, evaluation included."""
    return float(sum(record.provenance["seconds"].values()))


def elbo_on_test(record: RunResult) -> str:
    """Return a run's ELBO on the test images."""
    return f"{record.samples['test'][0]:.2f}".replace("-", "−")


def chapter(path: Path) -> Chapter:
    """Read an executed notebook."""
    cells = json.loads(path.read_text("utf-8"))["cells"]
    markdown = (c["source"] for c in cells if c["cell_type"] == "markdown")
    stamps = [
        datetime.fromisoformat(stamp)
        for cell in cells
        for key, stamp in cell["metadata"].get("execution", {}).items()
        if key in {"iopub.execute_input", "shell.execute_reply"}
    ]
    return Chapter(
        path.stem,
        minutes("\n".join("".join(source) for source in markdown)),
        min(stamps, default=None),
        (max(stamps) - min(stamps)).total_seconds() if stamps else None,
    )


def minutes(source: str) -> int:
    """Return minutes to read Markdown, rounded up to five; exercises with their solutions do not count."""
    words = len(EXERCISES.sub("", source).split())
    return 5 * math.ceil(words / WORDS_A_MINUTE / 5)


def bench_seconds() -> float | None:
    """Return how long the laps of the recorded benchmark took, the longest if there are several."""
    files = sorted((data_folder() / "bench").glob("*.json"))
    laps = [json.loads(file.read_text("utf-8"))["laps"] for file in files]
    sums = [sum(lap["seconds"] for lap in each) for each in laps]
    return max(sums, default=None)


def median(seconds: Iterable[float]) -> float | None:
    """Return the median, or None of nothing."""
    values = list(seconds)
    return float(np.median(values)) if values else None


def duration(seconds: float | None) -> str:
    """Return a duration for people, which stays on one line.

    Example:
        >>> duration(48.2), duration(1200.0), duration(63000.0), duration(None)
        ('48\xa0s', '20\xa0min', '17.5\xa0h', 'not known here')
    """
    if seconds is None:
        return "not known here"
    for unit, name in ((1, "s"), (60, "min")):
        if seconds < 99.5 * unit:
            return f"{seconds / unit:.0f}{NO_BREAK}{name}"
    return f"{seconds / 3600:.1f}{NO_BREAK}h"


def day(when: datetime) -> str:
    """Return a date as "22 Nov 2026", in UTC."""
    when = when.astimezone(UTC)
    return f"{when.day}{NO_BREAK}{when:%b}{NO_BREAK}{when:%Y}"


def moment(stamp: str) -> str:
    """Return a time in ISO 8601 as "22 Nov 2026, 23:26 UTC"."""
    when = datetime.fromisoformat(stamp).astimezone(UTC)
    return f"{day(when)}, {when:%H:%M} UTC"


def place(record: RunResult) -> str:
    """Return what trained a run: the processor or the GPU, and whether it was compiled."""
    said = record.provenance
    on_cpu = said["device"] == "cpu"
    name = said["machine"]["processor" if on_cpu else "device"]
    how = "compiled" if said["compiled"] else "not compiled"
    return f"{name} ({'CPU' if on_cpu else 'GPU'}), {how}"
