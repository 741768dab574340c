"""What stands behind a figure or a table, shown under it, with its data to take away."""

import base64
from dataclasses import dataclass
from html import escape
from typing import Any

import pandas as pd


@dataclass(frozen=True)
class Source:
    """What stands behind a figure or a table, for people: shown under it, with its data to take away."""

    data: pd.DataFrame  #: the numbers shown
    name: str  #: of the file to save them to, without suffix
    runs: pd.DataFrame  #: rows of `results.frame`, one for each run that the numbers come from

    def __str__(self) -> str:
        seeds = sorted(set(self.runs["seed"]))
        span = f"seeds {seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"seed {seeds[0]}"
        places = self.places[0] if len(self.places) == 1 else f"{len(self.places)} kinds of processor"
        names = ", ".join(dict.fromkeys(self.runs["study"]))
        return (
            f"{len(self.runs)} recorded run{'s' * (len(self.runs) > 1)} of {names}, {span}, on {places}, "
            f"{self.runs['hours'].sum():.1f} hours in all"
        )

    @property
    def places(self) -> list[str]:
        """The processors of the runs, and on which device of each they ran."""
        return sorted(set(self.runs["processor"] + " (" + self.runs["device"] + ")"))

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        csv = self.data.to_csv(index=False, float_format="%.6g")
        link = csv_link(self.name, csv, "Data of this figure or table (CSV)")
        folders = "".join(
            f"<p>Folders in <code>data/runs/{study}</code>: {_short(group['run'], linked=bool(study))}</p>"
            for study, group in self.runs.groupby("study", sort=False)
        )
        text = f"Source: {self}."
        html = (
            f'<div class="source"><details><summary>{escape(text)}</summary>{folders}'
            f"<p>On {escape(', '.join(self.places))}, at commit {_short(self.runs['commit'])}</p></details>"
            f"<p>{link}</p></div>"
        )
        return {"text/html": html, "text/plain": text}


def source(data: pd.DataFrame, name: str, table: pd.DataFrame) -> Source:
    """What stands behind `data`: the runs of a table of `results`, which may have several rows for each."""
    return Source(data, name, table.drop_duplicates("run"))


def csv_link(name: str, csv: str, words: str) -> str:
    """A link in HTML that saves a table, which it holds itself."""
    data = base64.b64encode(csv.encode()).decode()
    return f'<a download="{name}.csv" href="data:text/csv;base64,{data}">{words}</a>'


def _short(names: pd.Series, linked: bool = False) -> str:
    """The first digits of each name once, as HTML; recorded runs lead to their lines on the book's page of runs."""
    shown = [name[:8] for name in dict.fromkeys(names.astype(str))]
    link = '<a href="runs.html#run-{0}"><code>{0}</code></a>' if linked else "<code>{0}</code>"
    return " ".join(link.format(name) for name in shown)
