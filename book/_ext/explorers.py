"""The ``{explorer}`` directive: a figure whose curves follow sliders, all of them computed here.

In HTML the curves at the opening position stand in the page, so that without JavaScript it shows a picture.
``_static/explorers.js`` looks up the others in a table beside them.
"""

import json
from html import escape
from typing import Any

from condkl_book.explorers import EXPLORERS
from condkl_book.explorers.tables import HEIGHT, WIDTH, Axis, Control, Explorer, Panel, Series, payload, svg_path
from condkl_book.style import COLOURS
from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

# A panel's frame within its picture of 340 x 246 units; curves have four grid points a unit.
LEFT, TOP, RIGHT, BOTTOM = 50, 10, 50 + WIDTH // 4, 10 + HEIGHT // 4


class explorer(nodes.figure):  # noqa: N801  (Sphinx names visitors after it)
    """An interactive figure: ``explorer["explorer"]`` names it, the caption is its child."""


class ExplorerDirective(SphinxDirective):
    """An interactive figure of ``condkl_book.explorers``, its caption as content."""

    required_arguments = 1
    has_content = True
    option_spec = {"name": directives.unchanged}  # noqa: RUF012

    def run(self) -> list[nodes.Node]:
        """Return the figure with its caption."""
        name = self.arguments[0]
        if name not in EXPLORERS:
            known = ", ".join(EXPLORERS)
            raise self.error(f"explorer: expected one of {known}, got {name}.")
        self.assert_has_content()
        node = explorer("", explorer=name)
        text, messages = self.state.inline_text(" ".join(self.content), self.lineno)
        node += nodes.caption("", "", *text)
        self.set_source_info(node)
        self.add_name(node)
        return [node, *messages]


def visit_html(self: Any, node: explorer) -> None:
    """Write the figure up to its caption."""
    name = node["explorer"]
    self.body.append(self.starttag(node, "figure", CLASS="explorer") + page(name, EXPLORERS[name]()))


def depart_html(self: Any, node: explorer) -> None:
    """Close the caption, which docutils leaves open, and the figure."""
    self.body.append("</figcaption>\n</figure>\n")


def page(name: str, figure: Explorer) -> str:
    """Return controls, sentence, panels, legend and tables."""
    sentence = figure.sentences[figure.start()]
    controls = "".join(control_html(f"explorer-{name}-{control.name}", control) for control in figure.controls)
    panels = "".join(
        panel_html(f"explorer-{name}-{i}", figure, panel, sentence) for i, panel in enumerate(figure.panels)
    )
    names = [series for panel in figure.panels for series in panel.series if series.name]
    table = json.dumps(payload(figure), ensure_ascii=False, separators=(",", ":"))
    return (
        f'<div class="explorer-controls" role="group" aria-label="Controls" hidden>{controls}</div>\n'
        f"<noscript><p>The controls need JavaScript. Shown is one position.</p></noscript>\n"
        f'<p class="explorer-sentence" aria-live="polite">{escape(sentence)}</p>\n'
        f'<div class="explorer-panels">{panels}</div>\n'
        f'<ul class="explorer-legend">{"".join(map(legend_html, names))}</ul>\n'
        f'<script type="application/json">{table.replace("<", chr(92) + "u003c")}</script>\n'
    )


def control_html(name: str, control: Control) -> str:
    """Return a slider with its label and value, or a list to choose from."""
    label = f'<label for="{name}">{escape(control.label)}</label>'
    shown = escape(control.values[control.start])
    common = f'id="{name}" data-control autocomplete="off"'
    if control.choice:
        options = "".join(
            f'<option value="{i}"{" selected" if i == control.start else ""}>{escape(text)}</option>'
            for i, text in enumerate(control.values)
        )
        return f"<div>{label}<select {common}>{options}</select></div>"
    # The sentence is announced; the value alone would be said twice.
    return (
        f'<div>{label}<output for="{name}" aria-live="off">{shown}</output>'
        f'<input type="range" {common} min="0" max="{len(control.values) - 1}"'
        f' value="{control.start}" aria-valuetext="{shown}"></div>'
    )


def panel_html(name: str, figure: Explorer, panel: Panel, sentence: str) -> str:
    """Return one pair of axes with the curves at the opening position."""

    def curve(series: Series) -> str:
        points = series.points[figure.start(series.controls)]
        path = svg_path(points, panel.x, panel.y, series.look)
        return f'<path class="{look(series)}"{tint(series)} d="{path}"/>'

    return (
        f'<svg viewBox="0 0 340 246" role="img" data-alt="{escape(panel.alt)}"'
        f' aria-label="{escape(f"{panel.alt} {sentence}")}">'
        f'<clipPath id="{name}"><path d="M0 0h{WIDTH}v{HEIGHT}h{-WIDTH}z"/></clipPath>'
        f"{axis_svg(panel.x, across=True)}{axis_svg(panel.y, across=False)}"
        f'<g transform="translate({LEFT} {TOP}) scale(.25)" clip-path="url(#{name})">'
        f"{''.join(map(curve, panel.series))}</g></svg>"
    )


def axis_svg(axis: Axis, across: bool) -> str:
    """Return one axis: its grid, the numbers at it, and what it shows."""
    lines, texts = [], []
    for text, value in axis.ticks.items():
        at = float(axis.place(value))
        x, y = LEFT + at * (RIGHT - LEFT), BOTTOM - at * (BOTTOM - TOP)
        if across:
            lines.append(f"M{x:.1f} {TOP}V{BOTTOM}")
            texts.append(f'<text x="{x:.1f}" y="{BOTTOM + 16}" text-anchor="middle">{text}</text>')
        else:
            lines.append(f"M{LEFT} {y:.1f}H{RIGHT}")
            texts.append(f'<text x="{LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
    where = (
        f'x="{(LEFT + RIGHT) / 2}" y="{BOTTOM + 35}"'
        if across
        else f'transform="translate(12 {(TOP + BOTTOM) / 2}) rotate(-90)"'
    )
    return (
        f'<path class="explorer-grid" d="{"".join(lines)}"/>{"".join(texts)}'
        f'<text {where} text-anchor="middle">{escape(axis.label)}</text>'
    )


def look(series: Series) -> str:
    """Return the classes of a curve."""
    return f"explorer-{series.look}" + (" explorer-ink" if series.colour == "exact" else "")


def tint(series: Series) -> str:
    """Return the colour of a curve, unless it is that of the text, which depends on the theme."""
    ink = series.colour == "exact"
    return "" if ink else f' style="color:{COLOURS[series.colour]}"'


def legend_html(series: Series) -> str:
    """Return a legend entry: a sample of the line, and its name."""
    return (
        f'<li><svg viewBox="0 0 28 10" width="28" height="10" aria-hidden="true">'
        f'<path class="{look(series)}"{tint(series)} d="M1 5h26"/></svg>{escape(series.name)}</li>'
    )


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.add_enumerable_node(explorer, "figure", html=(visit_html, depart_html))
    app.add_directive("explorer", ExplorerDirective)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
