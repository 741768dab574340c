"""What stands behind the sides of a check is found through whatever a notebook does with it."""

import pytest

from condkl_book.origins import Origin, independent, oracles, origins

FIRST = """
import numpy as np
from condkl.linear import rho, elbo_gap as gap
from condkl import divergence
from condkl_book.ledger import check
"""
RHO, GAP, CHAIN = "condkl.linear.rho", "condkl.linear.elbo_gap", "condkl.divergence.kl_chain"


def sides(*cells):
    (one,) = origins([FIRST, *cells])
    return set(one.got), set(one.want)


def check(got, want="0.5"):
    return f"check(eq='price', oracle='SymPy', got={got}, want={want}, tol=0.1)"


@pytest.mark.parametrize(
    ("before", "got", "behind"),
    [
        ("", "1.0", set()),
        ("", "np.exp(rho(1, 2, 3))", {RHO}),
        ("", "divergence.kl_chain(q, p).total", {CHAIN}),
        ("a = rho(1, 2, 3)\nb = a + 1", "b", {RHO}),
        ("a, b = rho(1, 2, 3), 2.0", "b", set()),
        ("a, b = gap(1, 2)", "b", {GAP}),
        ("a = rho(1, 2, 3)\na = 2.0", "a", set()),
        ("a = 1.0\na += rho(1, 2, 3)", "a", {RHO}),
        ("def f(x):\n    y = rho(x, 1, 2)\n    return y", "f(1)", {RHO}),
        ("def f(x):\n    return g(x)\ndef g(x):\n    return rho(x, 1, 2)", "f(1)", {RHO}),
        ("def f(n):\n    return f(n - 1) if n else gap(1, 2)", "f(3)", {GAP}),
        ("f = lambda x: gap(x, 1)", "f(1)", {GAP}),
        ("y = rho(1, 2, 3)\ndef f(x):\n    def g(y):\n        return y\n    return g(x)", "f(1)", set()),
        ("g = rho", "g(1, 2, 3)", {RHO}),
        ("a = [rho(x, 1, 2) for x in xs]", "a", {RHO}),
        ("rho_ = 1.0\na = [rho_ for rho_ in (1, 2)]", "a", set()),
        ("rows = []\nfor x in range(3):\n    rows.append(gap(x, 1))", "rows", {GAP}),
        ("rows = {}\nfor x in range(3):\n    rows[x] = gap(x, 1)", "rows", {GAP}),
        ("for x in range(3):\n    last = now\n    now = rho(x, 1, 2)", "last", {RHO}),
        ("with open('a') as a, torch.no_grad():\n    b = rho(1, 2, 3)", "b", {RHO}),
        ("if a:\n    b = rho(1, 2, 3)", "b", {RHO}),
        ("%matplotlib inline\na = gap(1, 2)", "a", {GAP}),
    ],
)
def test_a_name_is_followed(before, got, behind):
    assert sides(before, check(got)) == (behind, set())


def test_each_side_has_its_own():
    assert sides(check("rho(1, 2, 3)", "gap(1, 2)")) == ({RHO}, {GAP})
    assert sides("check('price', 'SymPy', rho(1, 2, 3), 0.1, 0.2)") == ({RHO}, set())


def test_a_check_within_a_function_has_the_arguments_of_each_call():
    of = "def of(name, value):\n    check('price', name, value, 0.0, 0.1)\n"
    found = list(origins([FIRST, of, "of('a', rho(1, 2, 3))\nof('b', value=gap(1, 2))"]))
    assert [one.got for one in found] == [{RHO}, {GAP}]
    assert {one.oracle for one in found} == {"name"}


def test_rows_that_are_written_out_are_told_apart_by_column():
    loop = "for name, f, want in [('a', rho, 1.0), ('b', gap, 2.0)]:\n    check('price', name, f(1, 2), want, 0.1)"
    assert sides(loop) == ({RHO, GAP}, set())


def test_the_check_of_a_loop_is_met_once_and_names_are_those_of_the_text():
    (one,) = origins([FIRST, "for x in range(3):\n    check(3, f'at {x}', rho(x, 1, 2), 0.0, 0.1)"])
    assert (one.eq, one.oracle) == ("3", "f'at {x}'")


def test_an_oracle_is_the_side_without_the_statements_own_functions():
    law, flow, data = "condkl.linear.law", "condkl.dynamics.flow", "condkl.gradients.KLProblem"
    found = [
        Origin("law", "integration", frozenset({law}), frozenset({flow, data})),
        Origin("law", "by hand", frozenset({data}), frozenset({law})),
        Origin("law", "by hand", frozenset({law}), frozenset({"condkl.linear.rho"})),
    ]
    sides = oracles(found, {"linear.law"}, {"gradients.KLProblem"})
    assert sides == {"integration": {"dynamics.flow"}, "by hand": {"linear.rho"}}


def test_oracles_that_share_a_function_even_through_another_count_as_one():
    sides = {"a": {"f"}, "b": {"g"}, "c": {"f", "g"}, "d": set(), "e": set()}
    assert independent({name: frozenset(side) for name, side in sides.items()}) == [{"a", "b", "c"}, {"d"}, {"e"}]
