"""Formulas in sentences: where a long one may go on in the next line."""

import pytest

pytest.importorskip("sphinx")


@pytest.fixture
def marks(extension):
    return extension("keep_marks")


@pytest.mark.parametrize(
    ("formula", "parts"),
    [
        (r"a = b + c", [r"a = b + c"]),
        (
            r"m_1 - m_\lambda = F x [1/(D + F^2) = \rho] = F x D (1-\rho)",
            [r"m_1 - m_\lambda", r"= F x [1/(D + F^2) = \rho]", r"= F x D (1-\rho)"],
        ),
        (
            r"= \left(\frac{a = b}{c}\right) d e f g h i j k l m n o \le \langle x = y \rangle",
            [r"= \left(\frac{a = b}{c}\right) d e f g h i j k l m n o", r"\le \langle x = y \rangle"],
        ),
        (r"\begin{cases} a = b & c = d \\ e = f & g = h \\ i = j & k = l \end{cases}", None),
    ],
)
def test_a_long_formula_is_cut_before_relations_outside_of_brackets(formula, parts, marks):
    assert marks.cut(formula, marks.RELATIONS) == (parts or [formula])


def test_what_is_long_still_is_cut_before_signs_but_not_before_the_first(marks):
    formula = r"- \E_q \KL[q(v) \divides p(v - 1)] - \E_q \KL[q(u) \divides p(u)]"
    assert marks.cut(formula, marks.SIGNS) == [
        r"- \E_q \KL[q(v) \divides p(v - 1)]",
        r"- \E_q \KL[q(u) \divides p(u)]",
    ]


def test_the_length_is_that_of_what_is_seen(marks):
    assert marks.length(r"\tfrac12 \log \mathrm{KL}_\theta\!") == len("12") + len("l") + len("KL") + len("θ")


def test_no_line_ends_beside_the_sign_of_an_interval(marks):
    assert marks.unbroken("lost 1.65 ± 0.21 nats") == "lost 1.65\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}0.21 nats"
