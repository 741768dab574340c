"""The ``{explorer}`` directive: a figure whose curves follow sliders, all of them computed here.

In HTML the curves at the opening position stand in the page, so that without JavaScript it shows a picture.
``_static/explorers.js`` looks up the others in a table beside them. In LaTeX there is only the picture.
"""

import json
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

import condkl_book.explorers.tables
from condkl_book.explorers import EXPLORERS
from condkl_book.explorers.tables import (
    HEIGHT,
    WIDTH,
    Axis,
    Control,
    Explorer,
    Panel,
    Series,
    payload,
    svg_path,
)
from condkl_book.style import COLOURS, use_style
from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

# A panel's frame within its picture of 340 x 246 units; curves have four grid points a unit.
LEFT, TOP, RIGHT, BOTTOM = 50, 10, 50 + WIDTH // 4, 10 + HEIGHT // 4
DASHES = {"dashed": (0, (5, 2)), "dotted": (0, (1.5, 1.5))}


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
        text, messages = self.state.inline_text(
            " ".join(self.content), self.lineno
        )
        node += nodes.caption("", "", *text)
        self.set_source_info(node)
        self.add_name(node)
        folder = Path(condkl_book.explorers.tables.__file__).parent
        for source in sorted(folder.glob("*.py")):
            self.env.note_dependency(str(source))
        return [node, *messages]


@cache
def made(name: str) -> Explorer:
    """Return an explorer, computed once a build."""
    return EXPLORERS[name]()


def visit_html(self: Any, node: explorer) -> None:
    """Write the figure up to its caption."""
    name = node["explorer"]
    self.body.append(
        self.starttag(node, "figure", CLASS="explorer") + page(name, made(name))
    )


def depart_html(self: Any, node: explorer) -> None:
    """Close the caption, which docutils leaves open, and the figure."""
    self.body.append("</figcaption>\n</figure>\n")


def page(name: str, figure: Explorer) -> str:
    """Return controls, sentence, panels, legend and tables."""
    sentence = figure.sentences[figure.start()]
    controls = "".join(
        control_html(f"explorer-{name}-{control.name}", control)
        for control in figure.controls
    )
    panels = "".join(
        panel_html(f"explorer-{name}-{i}", figure, panel, sentence)
        for i, panel in enumerate(figure.panels)
    )
    names = [
        series
        for panel in figure.panels
        for series in panel.series
        if series.name
    ]
    table = json.dumps(
        payload(figure), ensure_ascii=False, separators=(",", ":")
    )
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
            texts.append(
                f'<text x="{x:.1f}" y="{BOTTOM + 16}" text-anchor="middle">{text}</text>'
            )
        else:
            lines.append(f"M{LEFT} {y:.1f}H{RIGHT}")
            texts.append(
                f'<text x="{LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{text}</text>'
            )
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
    return f"explorer-{series.look}" + (
        " explorer-ink" if series.colour == "exact" else ""
    )


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


def visit_latex(self: Any, node: explorer) -> None:
    """Write the picture of the opening position with its text alternative, and its sentence."""
    name = node["explorer"]
    figure = made(name)
    draw(figure, Path(self.builder.outdir, f"explorer-{name}.pdf"))
    alt = self.encode(" ".join(panel.alt for panel in figure.panels))
    sentence = self.encode(figure.sentences[figure.start()])
    opening = node.next_node(nodes.caption)[0]
    still = opening.replace(
        "Interactive.",
        "One position of a figure that is interactive on the site.",
    )
    opening.parent[0] = nodes.Text(still)
    self.visit_figure(node)
    self.body.append(
        f"\\noindent\\sphinxincludegraphics[width=\\linewidth,alt={{{alt} {sentence}}}]{{{{explorer-{name}}}.pdf}}\n"
        f"\\par{{\\small {sentence}\\par}}\n"
    )


def depart_latex(self: Any, node: explorer) -> None:
    """Close the figure."""
    self.depart_figure(node)


def draw(figure: Explorer, file: Path) -> None:
    """Draw the opening position with matplotlib."""
    import matplotlib.pyplot as plt

    with plt.rc_context():
        use_style()
        drawing, axes = plt.subplots(
            1, len(figure.panels), figsize=(7.2, 3.2), squeeze=False
        )
        for panel, ax in zip(figure.panels, axes[0]):
            for axis, scale in ((panel.x, "x"), (panel.y, "y")):
                ax.set(
                    **{
                        f"{scale}label": axis.label,
                        f"{scale}scale": "log" if axis.log else "linear",
                    }
                )
                ax.set(**{f"{scale}lim": (axis.low, axis.high)})
            for series in panel.series:
                draw_series(ax, series, figure)
            if any(series.name for series in panel.series):
                ax.legend(fontsize="x-small")
        drawing.savefig(file, metadata={"CreationDate": None})
        plt.close(drawing)


def draw_series(ax: Any, series: Series, figure: Explorer) -> None:
    """Draw one curve, area or dot."""
    x, y = series.points[figure.start(series.controls)].T
    colour, label = COLOURS[series.colour], series.name or None
    if series.look == "area":
        ax.fill(x, y, color=colour, alpha=0.2, label=label)
    elif series.look == "dot":
        ax.plot(x, y, "o", color=colour, label=label)
    else:
        style = DASHES.get(series.look, "-")
        ax.plot(x, y, color=colour, ls=style, label=label)


def skip(self: Any, node: explorer) -> None:
    """Leave the figure out of builders that show neither."""
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.add_enumerable_node(
        explorer,
        "figure",
        html=(visit_html, depart_html),
        latex=(visit_latex, depart_latex),
        text=(skip, None),
        man=(skip, None),
        texinfo=(skip, None),
    )
    app.add_directive("explorer", ExplorerDirective)
    return {
        "version": "1",
        "parallel_read_safe": True,
        "parallel_write_safe": True,
    }
