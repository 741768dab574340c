"""The ``{runs}`` directive: every recorded run of a study; and links from the sources under figures to their runs."""

import re
from functools import cache
from typing import Any

from condkl_studies import RunConfig, RunResult
from condkl_studies.plans import STUDIES
from docutils import nodes
from ledger_page import table, text
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from status_facts import duration, elbo_on_test, moment, seconds, study

PAGE = "runs"
HEADER = ("Run", "Setting", "Test ELBO", "Took", "Finished (UTC)")
SHORT = re.compile(r"<code>([0-9a-f]{8})</code>")


class RunsDirective(SphinxDirective):
    """The records of a study, by its name."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the table, or that there is nothing yet."""
        self.env.note_reread()  # it depends on the records
        name = self.arguments[0]
        if name not in STUDIES:
            known = ", ".join(STUDIES)
            raise self.error(f"runs: expected one of {known}, got {name}.")
        records = study(name).records
        if not records:
            return [text("Nothing is recorded of it in this copy.")]
        return [table(HEADER, map(self.cells, records))]

    def cells(self, record: RunResult) -> list[nodes.Node]:
        """Return one run's cells, with an anchor: ``run-4f1a9c02``."""
        short = record.config.id[:8]
        first = nodes.paragraph("", "", nodes.literal("", short))
        first["names"] = [f"run-{short}"]
        self.state.document.note_explicit_target(first)
        rest = (
            setting(record.config),
            elbo_on_test(record),
            duration(seconds(record)),
            moment(record.provenance["finished"]).removesuffix(" UTC"),
        )
        return [first, *map(text, rest)]


def setting(config: RunConfig) -> str:
    """Return the label of a run, with its rate and how that changes where it is not as in the main study."""
    usual, words = STUDIES["main"][0], [config.label]
    if config.learning_rate != usual.learning_rate:
        words.append(f"rate {config.learning_rate:g}")
    if config.schedule != usual.schedule:
        words.append(config.schedule)
    return ", ".join(words)


@cache
def all_ids() -> frozenset[str]:
    """Return the first digits of every recorded run's id."""
    records = (record for name in STUDIES for record in study(name).records)
    return frozenset(record.config.id[:8] for record in records)


def link_sources(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Make the ids of runs under a figure links to the page of runs."""
    to = app.builder.get_relative_uri(docname, PAGE)

    def linked(found: re.Match[str]) -> str:
        at = f'<a href="{to}#run-{found[1]}">{found[0]}</a>'
        return at if found[1] in all_ids() else found[0]

    for raw in doctree.findall(nodes.raw):
        if raw["format"] == "html" and 'class="source"' in raw.astext():
            raw[:] = [nodes.Text(SHORT.sub(linked, raw.astext()))]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.add_directive("runs", RunsDirective)
    app.connect("doctree-resolved", link_sources)
    return {
        "version": "1",
        "parallel_read_safe": True,
        "parallel_write_safe": True,
    }
