"""The API pages: their index, signatures as the source has them, and the names in a docstring's backticks as links.

Autodoc would spell out every alias, as in ``Tensor | _SupportsArray[dtype[Any]] | …`` for ``ArrayLike``.
"""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from docutils import nodes
from ledger_page import table
from sphinx import addnodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.domains.python import PythonDomain
from sphinx.environment import BuildEnvironment
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode

PACKAGE = "condkl"
MODULE = re.compile(r"^\.\. automodule:: (\S+)$", re.MULTILINE)
# Code in backticks, an example with its output, or a bar: that of a conditional, where RST would see a substitution.
BAR = re.compile(r"(`[^`]*`|^ *>>> .*(?:\n *\S.*)*)|\|", re.MULTILINE)


class ModulesDirective(SphinxDirective):
    """The modules on a page, each with the first line of its docstring."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        self.env.note_reread()
        return [table(("Module", "What it is for"), self.rows())]

    def rows(self) -> Iterator[list[nodes.Node]]:
        """Return a row for each module."""
        page = Path(self.env.srcdir, f"{self.arguments[0]}.md")
        for name in MODULE.findall(page.read_text("utf-8")):
            summary = (import_module(name).__doc__ or "").split("\n")[0]
            said, messages = self.state.inline_text(summary, self.lineno)
            reference = pending_xref(
                "",
                nodes.literal("", name),
                refdomain="py",
                reftype="mod",
                reftarget=name,
                refdoc=self.env.docname,
                refexplicit=True,
                refwarn=True,
            )
            yield [
                nodes.paragraph("", "", reference),
                nodes.paragraph("", "", *said, *messages),
            ]


def keep_bars(
    app: Sphinx,
    what: str,
    name: str,
    thing: Any,
    options: Any,
    lines: list[str],
) -> None:
    """Escape the bars of ``q(u|v)`` and ``|x|`` in a docstring."""
    text = BAR.sub(lambda found: found[1] or r"\|", "\n".join(lines))
    lines[:] = text.split("\n")


def as_written(
    app: Sphinx,
    what: str,
    name: str,
    thing: Any,
    options: Any,
    signature: str,
    returns: str,
) -> tuple[str, str | None] | None:
    """Return the signature of the source, or None to leave what has none."""
    if what == "class" and "__init__" not in source_names(thing):
        fields = [*filter(None, map(field, parsed(thing).body))]
        return (f"({', '.join(fields)})", None) if fields else None
    function = thing.__init__ if what == "class" else inspect.unwrap(thing)
    if not inspect.isfunction(function):
        return None
    written = parsed(function)
    assert isinstance(written, ast.FunctionDef)
    arguments, given = written.args, written.returns
    if arguments.args and arguments.args[0].arg in {"self", "cls"}:
        del arguments.args[0]
    for argument in ast.walk(arguments):
        if isinstance(argument, ast.arg) and argument.annotation:
            argument.annotation = unquoted(argument.annotation)
    if what == "class" or given is None:
        return f"({ast.unparse(arguments)})", None
    return f"({ast.unparse(arguments)})", ast.unparse(unquoted(given))


def unquoted(annotation: ast.expr) -> ast.expr:
    """Return an annotation without the quotes that let it name what is defined below."""
    if isinstance(annotation, ast.Constant) and isinstance(
        annotation.value, str
    ):
        return ast.parse(annotation.value, mode="eval").body
    return annotation


def parsed(thing: Any) -> Any:
    """Return the definition of a class or a function."""
    return ast.parse(textwrap.dedent(inspect.getsource(thing))).body[0]


def source_names(thing: type) -> set[str]:
    """Return the names of the functions that a class defines in its source."""
    return {
        n.name for n in parsed(thing).body if isinstance(n, ast.FunctionDef)
    }


def field(line: ast.stmt) -> str:
    """Return a field of a dataclass or a named tuple as an argument, and nothing for another line."""
    if not isinstance(line, ast.AnnAssign):
        return ""
    kind = ast.unparse(unquoted(line.annotation))
    argument = f"{ast.unparse(line.target)}: {kind}"
    if (default := line.value) is None:
        return argument
    if isinstance(default, ast.Call):  # field(default_factory=…)
        return f"{argument} = {ast.unparse(default.keywords[0].value)}()"
    return f"{argument} = {ast.unparse(default)}"


def no_tuple_fields(
    app: Sphinx, what: str, name: str, thing: Any, skip: bool, options: Any
) -> bool | None:
    """Leave out the "Alias for field number 0" of named tuples, whose docstring names the fields."""
    return True if type(thing).__name__ == "_tuplegetter" else None


def name_in_full(app: Sphinx, doctree: nodes.document) -> None:
    """Write out what a class is called in its module; Sphinx would take any of that name, as another ``Path``."""
    for node in doctree.findall(pending_xref):
        if node.get("refdomain") == "py" and node.get("py:module"):
            node["reftarget"] = full_name(node["reftarget"], node["py:module"])


def full_name(target: str, module: str) -> str:
    """Return the full name of a class that is known in a module, and any other name as it is."""
    meant = vars(import_module(module)).get(target)
    if not isinstance(meant, type):
        return target
    return f"{meant.__module__}.{meant.__qualname__}"


def find(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.Node
) -> nodes.Node | None:
    """Link a name of another module, as ``engine.run`` or ``RunConfig``; what is in backticks may be no name at all."""
    if node.get("refdomain") != "py":
        return None
    python = env.get_domain("py")
    assert isinstance(python, PythonDomain)
    module = node.get("py:module") or PACKAGE
    target = node["reftarget"]
    for place in places(target, module, python.objects):
        found = python.objects.get(place)
        if found and (
            found.objtype != "module" or "." in target
        ):  # else `data` is an argument
            return make_refnode(
                app.builder,
                node["refdoc"],
                found.docname,
                found.node_id,
                content,
                place,
            )
    return content if node["reftype"] == "obj" else None


def places(target: str, module: str, known: Iterable[str]) -> list[str]:
    """Return the full names that a name in a module may stand for, the likeliest first."""
    parent = module.rpartition(".")[0] or PACKAGE
    likely = [f"{parent}.{target}", f"{PACKAGE}.{target}"]
    if target[:1].isupper():  # a class; lower-case words have many meanings
        likely += [name for name in known if name.endswith(f".{target}")]
    return likely


class LeaveOut(SphinxPostTransform):
    """Leave the API out of the paper, which has no sources to lead to; what links to it there is plain text."""

    formats = ("latex",)
    default_priority = 5  # before references are resolved

    def run(self, **kwargs: Any) -> None:
        """Remove the pages and the links."""
        for page in list(self.document.findall(addnodes.start_of_file)):
            if page["docname"].startswith("api/") and page.parent:
                page.parent.remove(page)
        for node in list(self.document.findall(pending_xref)):
            if node.get("refdomain") == "py":
                node.replace_self(node.children)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.setup_extension("sphinx.ext.autodoc")
    app.add_directive("modules", ModulesDirective)
    # Before napoleon, which reads the same lines.
    app.connect("autodoc-process-docstring", keep_bars, priority=400)
    app.connect("autodoc-process-signature", as_written)
    app.connect("autodoc-skip-member", no_tuple_fields)
    app.connect("doctree-read", name_in_full)
    app.connect("missing-reference", find)
    app.add_post_transform(LeaveOut)
    return {
        "version": "1",
        "parallel_read_safe": True,
        "parallel_write_safe": True,
    }
