r"""What the paper takes out of the executed chapters, what its log may not say, and its sources as one archive.

`python -m tools.paper collect` writes the numbers, figures and tables that `paper/` names: `\val{chapter::key}` is a
glued value, `\bookfigure{name}` a figure by its name or its cell's id, `\booktable{chapter::cell}` the table of a cell.
`check` reads the log of LaTeX. `archive` packs what arXiv wants, and compiles it in an empty folder.
"""

import ast
import base64
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import yaml

EXECUTED, PAPER, CONFIG = Path("book/_build/executed"), Path("paper"), Path("book/_config.yml")
GLUED = "application/papermill.record/text/plain"
OVERFULL = 5.0  #: points that a line may stick out
LATEX = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "main.tex"]

ESCAPES = {
    **{character: f"\\{character}" for character in "%&#_{}$"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "−": r"\ensuremath{-}",
    "±": r"\ensuremath{\pm}",
    "×": r"\ensuremath{\times}",
    "½": r"\ensuremath{\tfrac12}",
    "∞": r"\ensuremath{\infty}",
    "|": r"\ensuremath{\mid}",
    "–": "--",
    "λ": r"\ensuremath{\lambda}",
    "φ": r"\ensuremath{\phi}",
    "θ": r"\ensuremath{\theta}",
    "Δ": r"\ensuremath{\Delta}",
    "σ": r"\ensuremath{\sigma}",
    "β": r"\ensuremath{\beta}",
    "ρ": r"\ensuremath{\rho}",
    "τ": r"\ensuremath{\tau}",
    "²": r"\ensuremath{^2}",
}

Notebook = dict[str, Any]


def escape(text: str) -> str:
    r"""The text as LaTeX, in or out of mathematics; a sign that has no command here raises ValueError.

    Example:
        >>> print(escape("−1.66 ± 0.17"), escape("3.1e+06"), escape("98%"))
        \ensuremath{-}1.66~\ensuremath{\pm}~0.17 \ensuremath{3.1\times10^{6}} 98\%
    """
    if unknown := sorted({c for c in text if ord(c) > 127 and c not in ESCAPES}):
        raise ValueError(f"text: {text!r} has {' '.join(unknown)}, which LaTeX has to be told. Add it to ESCAPES.")
    power = re.compile(r"(\d(?:\.\d+)?)e([+−-]?)0*(\d+)")
    parts = power.split(text)
    shown = "".join(ESCAPES.get(c, c) for c in parts[0])
    for digits, sign, exponent, rest in zip(parts[1::4], parts[2::4], parts[3::4], parts[4::4], strict=True):
        minus = "" if sign in {"", "+"} else "-"
        shown += rf"\ensuremath{{{digits}\times10^{{{minus}{exponent}}}}}" + "".join(ESCAPES.get(c, c) for c in rest)
    return shown.replace(" \\ensuremath{\\pm} ", "~\\ensuremath{\\pm}~")


def glued(notebook: Notebook) -> dict[str, str]:
    """The texts that an executed chapter glues, by key, as its page shows them."""
    found = {}
    for output in outputs(notebook):
        key, text = output.get("metadata", {}).get("scrapbook", {}).get("name"), output.get("data", {}).get(GLUED)
        if key and text:
            source = "".join(text)
            found[key] = str(ast.literal_eval(source)) if source[0] in "'\"" else source
    return found


def outputs(notebook: Notebook) -> list[dict[str, Any]]:
    """All outputs, in the order of the cells."""
    return [output for cell in notebook["cells"] for output in cell.get("outputs", [])]


def figure(notebook: Notebook, name: str) -> bytes | None:
    """The vector file of a figure, by its name or its cell's id, if it is a figure of this chapter."""
    for cell in notebook["cells"]:
        if name in {cell.get("id"), cell["metadata"].get("mystnb", {}).get("figure", {}).get("name")}:
            for output in cell.get("outputs", []):
                if pdf := output.get("data", {}).get("application/pdf"):
                    return base64.b64decode("".join(pdf))
    return None


class Rows(HTMLParser):
    """The cells of the first table of a page, row by row: the text, and whether it heads a row or a column."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[tuple[str, bool]]] = []
        self.spans: dict[int, int] = {}
        self.inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A row, or a cell, begins; where a cell of a row above reaches down, an empty one stands."""
        if tag == "tr":
            self.rows.append([])
        elif tag in {"th", "td"}:
            row = self.rows[-1]
            while self.spans.get(len(row), 0) > 0:
                self.spans[len(row)] -= 1
                row.append(("", True))
            self.spans[len(row)] = int(dict(attrs).get("rowspan") or 1) - 1
            row.append(("", tag == "th"))
            self.inside = True

    def handle_endtag(self, tag: str) -> None:
        """A cell ends."""
        if tag in {"th", "td"}:
            self.inside = False

    def handle_data(self, data: str) -> None:
        """The text of a cell."""
        if self.inside:
            text, heads = self.rows[-1][-1]
            self.rows[-1][-1] = (text + data.strip(), heads)


def tabular(html: str) -> str:
    """A data frame's HTML as a LaTeX table: labels to the left, numbers to the right, a rule where a group begins."""
    parser = Rows()
    parser.feed(html)
    heads = [row for row in parser.rows if all(is_head for _, is_head in row)]
    body = parser.rows[len(heads) :]
    if not heads or not body:
        raise ValueError("html: expected the table of a data frame, with a head and rows. Name a cell that shows one.")
    labels = sum(is_head for _, is_head in body[0])
    title = ["".join(texts) for texts in zip(*([text for text, _ in row] for row in heads), strict=True)]
    lines = [rf"\begin{{tabular}}{{{'l' * labels}{'r' * (len(title) - labels)}}}", r"\toprule"]
    lines += [" & ".join(map(escape, title)) + r" \\", r"\midrule"]
    for place, row in enumerate(body):
        if place and labels > 1 and row[0][0]:
            lines.append(r"\addlinespace")
        lines.append(" & ".join(escape(text) for text, _ in row) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def table(notebook: Notebook, cell: str) -> str | None:
    """The last table that a cell shows, in LaTeX, if the chapter has the cell and the cell a table."""
    shown = [
        html
        for one in notebook["cells"]
        if one.get("id") == cell
        for output in one.get("outputs", [])
        if 'class="dataframe"' in (html := "".join(output.get("data", {}).get("text/html", "")))
    ]
    return tabular(shown[-1]) if shown else None


def place(chapter: str) -> str:
    """What the paper calls a page of the book: a chapter by its number, another page by its name."""
    number, _, _ = chapter.partition("_")
    return f"chapter~{int(number)}" if number.isdigit() else chapter.replace("_", " ")


def named(tex: str, command: str) -> list[str]:
    """What a command is given in a text, each once, comments aside."""
    text = re.sub(r"(?<!\\)%.*", "", tex)
    return list(dict.fromkeys(re.findall(rf"\\{command}(?:\[[^\]]*\])?\{{([^}}]*)\}}", text)))


def sources(paper: Path = PAPER) -> list[Path]:
    """The files that people write: `main.tex` and its sections."""
    return [paper / "main.tex", *sorted((paper / "sections").glob("*.tex"))]


def address(config: Path) -> str:
    """The address of the book's site, to which captions lead; empty if the book's settings have none."""
    return str(yaml.safe_load(config.read_text("utf-8"))["html"]["baseurl"]).rstrip("/")


def collect(executed: Path = EXECUTED, paper: Path = PAPER, config: Path = CONFIG) -> None:
    """Write the numbers, figures and tables that the paper names; stop at one that no executed chapter has."""
    tex = "\n".join(path.read_text("utf-8") for path in sources(paper))
    chapters = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(executed.glob("*.ipynb"))}
    values = {f"{stem}::{key}": text for stem, one in chapters.items() for key, text in glued(one).items()}
    lines = ["% Made by tools/paper.py from the executed chapters. Do not edit."]
    lines.append(rf"\newcommand{{\site}}{{{address(config)}}}")
    for name in need(named(tex, "val"), values.get, r"\val"):
        chapter, key = name.split("::")
        lines.append(rf"\setval{{{name}}}{{{escape(values[name])}}} % {chapter}.ipynb, {key}")
    for folder in (paper / "figures", paper / "tables"):
        folder.mkdir(exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
    home = {name: stem for name in named(tex, "bookfigure") for stem, one in chapters.items() if figure(one, name)}
    for name in need(named(tex, "bookfigure"), home.get, r"\bookfigure"):
        (paper / "figures" / f"{name}.pdf").write_bytes(figure(chapters[home[name]], name) or b"")
        lines.append(rf"\setplace{{{name}}}{{{home[name]}}}{{{place(home[name])}}}")

    def made(name: str) -> str | None:
        chapter, _, cell = name.partition("::")
        return table(chapters[chapter], cell) if chapter in chapters else None

    for name in need(named(tex, "booktable"), made, r"\booktable"):
        (paper / "tables" / f"{name.replace('::', '-')}.tex").write_text(made(name) or "", "utf-8")
        chapter = name.partition("::")[0]
        lines.append(rf"\setplace{{{name}}}{{{chapter}}}{{{place(chapter)}}}")
    (paper / "numbers.tex").write_text("\n".join([*lines, ""]), "utf-8")


def need(names: Iterable[str], found: Callable[[str], object], command: str) -> list[str]:
    """The names, if all are found; else all that are missing, in one error."""
    names = list(names)
    if missing := [name for name in names if not found(name)]:
        raise LookupError(
            f"{command}: expected what an executed chapter shows, found none for {', '.join(missing)}. "
            "Run `make chapters`, or correct the name in paper/."
        )
    return names


def problems(log: str) -> list[str]:
    """What a log of LaTeX says that may not be: wide lines, and what is undefined, missing or said twice."""
    wide = re.finditer(r"Overfull \\[hv]box \((\d+(?:\.\d+)?)pt too \w+\)", log)
    pattern = r"(?:Citation|Reference) `[^']*' (?:on page \d+ )?undefined|Missing character: [^!]*!|multiply defined"
    unwrapped = log.replace("\n", "")  # LaTeX breaks a line after 79 characters, in words too
    return [one[0] for one in wide if float(one[1]) > OVERFULL] + re.findall(pattern, unwrapped)


def check(paper: Path = PAPER) -> None:
    """Stop at what the log may not say."""
    if found := problems((paper / "main.log").read_text("utf-8", "replace")):
        raise SystemExit("paper/main.log:\n" + "\n".join(found))


def archive(paper: Path = PAPER) -> Path:
    """Pack the sources with what they need, compile them in an empty folder, and return the archive."""
    parts = [*sources(paper), paper / "numbers.tex", paper / "main.bbl"]
    parts += sorted([*(paper / "figures").iterdir(), *(paper / "tables").iterdir()])
    target = paper / "arxiv.tar.gz"
    with tarfile.open(target, "w:gz") as tar:
        for part in parts:
            tar.add(part, part.relative_to(paper).as_posix())
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(target) as tar:
            tar.extractall(folder, filter="data")
        for _ in range(3):
            done = subprocess.run(LATEX, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
            if done.returncode:
                raise SystemExit(f"{target} does not compile by itself:\n{done.stdout[-2000:]}")
        if found := problems((Path(folder) / "main.log").read_text("utf-8", "replace")):
            raise SystemExit(f"{target}, compiled by itself:\n" + "\n".join(found))
    return target


COMMANDS: dict[str, Callable[[], object]] = {"collect": collect, "check": check, "archive": archive}

if __name__ == "__main__":
    try:
        COMMANDS[sys.argv[1]]()
    except (LookupError, ValueError) as error:
        raise SystemExit(f"tools/paper.py: {error}") from error
