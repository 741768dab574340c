"""Which functions of the library stand behind the two sides of a check: read from the code of a notebook, unexecuted.

An oracle is worth something only if it shares no code with what it checks. `origins` follows every name through the
cells of a notebook, from the imports to the checks.
"""

import ast
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

_LIBRARY = ("condkl", "condkl_studies")
_ARGUMENTS = ("eq", "oracle", "got", "want", "tol")

Names = frozenset[str]
NONE: Names = frozenset()


class Origin(NamedTuple):
    """A check, as its notebook writes it, with the functions and classes of the library behind each of its sides."""

    eq: str
    oracle: str
    got: Names
    want: Names


@dataclass(frozen=True)
class _Function:
    """A function or lambda of the notebook; what it calls is looked up when it is used."""

    node: ast.FunctionDef | ast.Lambda


@dataclass(frozen=True)
class _Module:
    """A module of the library."""

    name: str


_Value = Names | _Function | _Module


@dataclass
class _Reader:
    """The names of a notebook, and the checks that were met."""

    names: dict[str, _Value] = field(default_factory=dict)
    found: list[Origin] = field(default_factory=list)
    open: list[ast.AST] = field(default_factory=list)  # functions that are being read

    def block(self, statements: Iterable[ast.stmt]) -> None:
        for statement in statements:
            self.statement(statement)

    def statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Import() | ast.ImportFrom():
                self.imported(node)
            case ast.FunctionDef():
                self.names[node.name] = _Function(node)
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    self.bind(target, value)
            case ast.AnnAssign(target=target, value=value) if value:
                self.bind(target, value)
            case ast.AugAssign(target=target, value=value):
                self.add(target, self.behind(value))
            case ast.For(target=target, iter=over, body=body, orelse=last):
                for _ in range(2):  # what a turn leaves behind reaches the next one
                    self.each(target, over)
                    self.quietly(body)
                self.block([*body, *last])
            case ast.Expr(value=ast.Call() as call):
                self.called(call)
            case _:
                self.parts(node)

    def parts(self, node: ast.stmt) -> None:
        """Read what a statement holds, as if every branch were taken."""
        for part in ast.iter_child_nodes(node):
            if isinstance(part, ast.withitem) and part.optional_vars:
                self.bind(part.optional_vars, part.context_expr)
            elif isinstance(part, ast.stmt):
                self.statement(part)

    def quietly(self, body: list[ast.stmt]) -> None:
        """Read statements for the names they bind, and forget their checks."""
        kept = len(self.found)
        self.block(body)
        del self.found[kept:]

    def imported(self, node: ast.Import | ast.ImportFrom) -> None:
        for one in node.names:
            source = f"{node.module}.{one.name}" if isinstance(node, ast.ImportFrom) else one.name
            ours = source.split(".")[0] in _LIBRARY
            thing: _Value = _Module(source) if one.name.islower() and _is_module(source) else frozenset({source})
            self.names[(one.asname or one.name).split(".")[0]] = thing if ours else NONE

    def bind(self, target: ast.expr, value: ast.expr) -> None:
        """Give a target what stands behind a value, part by part where both are written out."""
        match target, value:
            case ast.Tuple(elts=targets), ast.Tuple(elts=values) if len(targets) == len(values):
                for one, its in zip(targets, values, strict=True):
                    self.bind(one, its)
            case ast.Name(id=name), ast.Lambda():
                self.names[name] = _Function(value)
            case ast.Name(id=name), ast.Name(id=other) if other in self.names:
                self.names[name] = self.names[other]
            case _:
                self.give(target, self.behind(value))

    def each(self, target: ast.expr, over: ast.expr) -> None:
        """Give the target of a loop what stands behind what it runs over, part by part where that is written out."""
        rows = over.elts if isinstance(over, ast.List | ast.Tuple) else []
        width = len(target.elts) if isinstance(target, ast.Tuple) else 0
        if width and rows and all(isinstance(row, ast.Tuple) and len(row.elts) == width for row in rows):
            for i, one in enumerate(target.elts):  # type: ignore[attr-defined]
                self.give(one, NONE.union(*(self.behind(row.elts[i]) for row in rows)))  # type: ignore[attr-defined]
        else:
            self.give(target, self.behind(over))

    def give(self, target: ast.expr, names: Names) -> None:
        match target:
            case ast.Name(id=name):
                self.names[name] = names
            case ast.Tuple(elts=parts) | ast.List(elts=parts):
                for part in parts:
                    self.give(part, names)
            case ast.Starred(value=part):
                self.give(part, names)
            case _:
                self.add(target, names)

    def add(self, target: ast.expr, names: Names) -> None:
        """Add what stands behind a part of a thing, as `table[0] = f(x)`, to what stands behind the thing."""
        while isinstance(target, ast.Subscript | ast.Attribute):
            target = target.value
        if isinstance(target, ast.Name):
            self.names[target.id] = self.value(self.names.get(target.id, NONE)) | names

    def called(self, call: ast.Call) -> None:
        """Read a statement that is a call: a check, a function of the notebook that may hold checks, or another."""
        function = self.names.get(call.func.id) if isinstance(call.func, ast.Name) else None
        if isinstance(call.func, ast.Name) and call.func.id == "check":
            given = dict(zip(_ARGUMENTS, call.args, strict=False)) | {k.arg: k.value for k in call.keywords if k.arg}
            got, want = (self.behind(given[side]) for side in ("got", "want"))
            self.found.append(Origin(_said(given["eq"]), _said(given["oracle"]), got, want))
        elif isinstance(function, _Function) and isinstance(function.node, ast.FunctionDef):
            if function.node in self.open:
                return
            outer, self.names = self.names, {**self.names, **self.arguments(function.node, call)}
            self.open.append(function.node)
            self.block(function.node.body)
            self.open.pop()
            self.names = outer
        elif isinstance(call.func, ast.Attribute):  # rows.append(f(x))
            self.add(call.func.value, self.behind(call))

    def arguments(self, node: ast.FunctionDef, call: ast.Call) -> dict[str, Names]:
        """What stands behind the parameters of a function in a call of it."""
        names = [one.arg for one in (*node.args.posonlyargs, *node.args.args)]
        given = dict(zip(names, call.args, strict=False)) | {k.arg: k.value for k in call.keywords if k.arg}
        every = NONE.union(*map(self.behind, (*call.args, *(k.value for k in call.keywords))))
        rest = {one.arg: every for one in (node.args.vararg, node.args.kwarg) if one}
        return dict.fromkeys(names, NONE) | rest | {name: self.behind(value) for name, value in given.items()}

    def behind(self, node: ast.AST) -> Names:
        """The functions and classes of the library behind an expression."""
        match node:
            case ast.Name(id=name):
                return self.value(self.names.get(name, NONE))
            case ast.Attribute(value=ast.Name(id=name), attr=attribute) if isinstance(self.names.get(name), _Module):
                return frozenset({f"{self.names[name].name}.{attribute}"})  # type: ignore[union-attr]
            case ast.Lambda():
                return self.value(_Function(node))
            case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
                return self.comprehension(node)
        return NONE.union(*map(self.behind, ast.iter_child_nodes(node)))

    def comprehension(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> Names:
        outer, self.names = self.names, dict(self.names)
        found = NONE
        for one in node.generators:
            found |= self.behind(one.iter)
            self.each(one.target, one.iter)
            found = found.union(*map(self.behind, one.ifs))
        values = (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,)
        found = found.union(*map(self.behind, values))
        self.names = outer
        return found

    def value(self, thing: _Value) -> Names:
        match thing:
            case _Module(name=name):
                return frozenset({name})
            case _Function(node=node):
                if node in self.open:
                    return NONE
                return self.body(node)
        return thing

    def body(self, node: ast.FunctionDef | ast.Lambda) -> Names:
        """The library behind a function, whatever it is called with."""
        args = node.args
        own = [one.arg for one in (*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg) if one]
        outer, kept = self.names, len(self.found)
        self.names = {**self.names, **dict.fromkeys(own, NONE)}
        self.open.append(node)
        if isinstance(node, ast.Lambda):
            found = self.behind(node.body)
        else:
            self.block(node.body)
            parts = [part for part in _within(node) if isinstance(part, ast.Return | ast.Yield | ast.Expr)]
            found = NONE.union(*(self.behind(part.value) for part in parts if part.value is not None))
        self.open.pop()
        self.names = outer
        del self.found[kept:]
        return found


def origins(cells: Iterable[str]) -> Iterator[Origin]:
    """The checks of a notebook, in their order, from the sources of its cells of code."""
    reader = _Reader()
    for cell in cells:
        lines = (line for line in cell.splitlines() if not line.startswith(("%", "!")))
        reader.block(ast.parse("\n".join(lines)).body)
    yield from reader.found


def oracles(found: Iterable[Origin], own: Collection[str], given: Collection[str]) -> dict[str, Names]:
    """For each oracle of a statement, the names of the library behind its side of the checks, without those `given`.

    It is the side that has fewer of the statement's `own` functions, `want` where they have as many. Names are short:
    "linear.rho".
    """
    sides: dict[str, Names] = {}
    for one in found:
        got, want = (frozenset(name.partition(".")[2] for name in side) for side in (one.got, one.want))
        side = got if len(want.intersection(own)) > len(got.intersection(own)) else want
        sides[one.oracle] = sides.get(one.oracle, NONE) | side.difference(given)
    return sides


def independent(sides: Mapping[str, Names]) -> list[set[str]]:
    """The oracles in groups: what shares a function of the library, with one or through others, counts as one."""
    groups: list[set[str]] = []
    for name, side in sides.items():
        near = [group for group in groups if any(side & sides[other] for other in group)]
        groups = [group for group in groups if group not in near] + [{name}.union(*near)]
    return groups


def _within(node: ast.AST) -> Iterator[ast.AST]:
    """What a function holds, without the functions within it, whose names are their own."""
    for part in ast.iter_child_nodes(node):
        if not isinstance(part, ast.FunctionDef):
            yield part
            yield from _within(part)


def _said(node: ast.expr) -> str:
    """A text as the reader sees it, or the expression that makes it."""
    return str(node.value) if isinstance(node, ast.Constant) else ast.unparse(node)


def _is_module(name: str) -> bool:
    from importlib.util import find_spec

    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False
