"""The closed forms at the ends of the number format, and given arguments of every wrong kind."""

import inspect
import math

import mpmath
import numpy as np
import pytest
import torch
from problems import tensor

from condkl import linear
from condkl.linear import (
    chain_noise,
    elbo_gap,
    log_evidence,
    misspecification_price,
    starvation_law,
    starvation_time,
    tempered_posterior,
    tilted_posterior,
)

GOOD = {"x": 1.3, "F": 1.5, "beta": 0.5, "sigma2": 0.2, "lam": 0.5, "S": 2.0,
        "r": 0.5, "level": 0.3, "b": tensor([1.0, 1.0]), "log_p": torch.zeros(2).double(), "c": tensor([0.0, 1.0]),
        "mismatch": 0.0}  # fmt: skip
FUNCTIONS = [linear.rho, linear.tempered_posterior, linear.exact_posterior, linear.log_evidence, linear.elbo_gap,
             linear.fixed_point_F2, linear.chain_noise, linear.misspecification_price, linear.starvation_time,
             linear.starvation_law, linear.tilted_posterior]  # fmt: skip
CASES = [(f, name) for f in FUNCTIONS for name in inspect.signature(f).parameters]
every_argument = pytest.mark.parametrize(("f", "name"), CASES, ids=[f"{f.__name__}-{name}" for f, name in CASES])


def call(f, **changed):
    return f(**{name: GOOD[name] for name in inspect.signature(f).parameters} | changed)


def results(found):
    return list(found) if isinstance(found, tuple) else [found]


@every_argument
@pytest.mark.parametrize(
    ("bad", "error"),
    [(math.nan, ValueError), (math.inf, ValueError), ("1", TypeError), (None, TypeError), (1j, TypeError)],
)
def test_what_is_no_finite_number_is_refused_by_name(f, name, bad, error):
    with pytest.raises(error, match=rf"^{name}: expected (finite|a float|real)"):
        call(f, **{name: bad})


SPEAKS_OF = {"r": "depends on v", "level": "in nats", "beta": "variance", "sigma2": "variance", "S": "variance",
             "b": "variance", "lam": "full gradient"}  # fmt: skip


@pytest.mark.parametrize(("f", "name"), [case for case in CASES if case[1] in SPEAKS_OF])
def test_a_number_out_of_its_range_is_refused_in_its_own_words(f, name):
    words = rf"^{name}: expected numbers (above 0, got -1|from 0 to 1).*{SPEAKS_OF[name]}"
    with pytest.raises(ValueError, match=words):
        call(f, **{name: -1.0 if name != "b" else tensor([1.0, -1.0])})


@pytest.mark.parametrize(("f", "name"), [case for case in CASES if case[0] is not misspecification_price])
def test_shapes_that_do_not_broadcast_are_refused_by_name(f, name):
    other = next(one for one in inspect.signature(f).parameters if one != name)
    with pytest.raises(ValueError, match=r"expected shapes that broadcast, got .*\((5|4).*unsqueeze"):
        call(f, **{name: torch.full((5, 3), 0.5), other: torch.full((4, 3), 0.5)})


@pytest.mark.parametrize("f", [f for f in FUNCTIONS if f not in (starvation_time, starvation_law)])
def test_results_have_the_dtype_of_the_tensors_given(f):
    names = list(inspect.signature(f).parameters)
    for dtype, want in ((torch.float32, torch.float32), (torch.float16, torch.float32), (torch.int64, torch.float64)):
        given = {name: torch.as_tensor(GOOD[name]).to(dtype) for name in names}
        given = {name: value if value.all() else torch.ones_like(value) for name, value in given.items()}
        assert {x.dtype for x in results(call(f, **given))} == {want}
        if f is not tilted_posterior:  # whose other arguments are tensors too
            assert {x.dtype for x in results(call(f, **{names[0]: given[names[0]]}))} == {want}
        plain = {name: np.asarray(GOOD[name]).tolist() for name in names if name != "b"}
        assert {x.dtype for x in results(call(f, **plain))} == {torch.float64}


def test_a_table_without_a_dimension_is_refused():
    with pytest.raises(ValueError, match=r"^log_p: expected shape \(\.\.\., n\)"):
        tilted_posterior(0.0, 1.0, 0.5)


@pytest.mark.parametrize("time", [starvation_time, starvation_law])
@pytest.mark.parametrize("name", ["r", "lam", "level", "beta"])
def test_a_gradient_that_a_time_would_lose_is_refused(time, name):
    with pytest.raises(ValueError, match=rf"^{name}: expected numbers without a gradient.*Detach"):
        call(time, **{name: tensor(GOOD[name]).requires_grad_()})


def test_levels_that_rounding_hides_are_refused_where_each_function_ends():
    for time, least in ((starvation_time, 1e-14), (starvation_law, 1e-20)):
        with pytest.raises(ValueError, match=rf"^level: expected at least {least:g} nats, got"):
            time(9.0, 0.5, least / 2)
    assert starvation_time(9.0, 0.0, 1e-14).item() == pytest.approx(starvation_law(9.0, 0.0, 1e-14).item(), rel=1e-9)
    assert starvation_law(1e-22, 1.0, 1e-21).item() == 0  # it starts below
    assert starvation_law(2e-21, 1.0, 1e-21).item() == 0  # it starts there


@pytest.mark.parametrize("lam", [0.0, 1.0])
def test_a_starvation_that_takes_very_long_is_neither_for_ever_nor_foreign(lam):
    """With r = 1e12 the time is ½(r + log(r/(2 level))) for the full gradient, beyond any fixed limit."""
    want = 0.5 * (lam * 1e12 + math.log(1e12 / 2e-3))
    assert starvation_law(1e12, lam, 1e-3).item() == pytest.approx(want, rel=1e-3 if lam == 0 else 1e-9)
    slow = starvation_law(9.0, lam, 1e-3, beta=1e10).item()  # beyond 1e9, where a flow is given up
    assert starvation_time(9.0, lam, 1e-3, beta=1e10).item() == pytest.approx(slow, rel=1e-9)
    assert starvation_law(1e300, lam, 1e-3).item() == pytest.approx(
        0.5 * (lam * 1e300 + math.log(1e300 / 2e-3)), rel=1e-3
    )
    with pytest.raises(RuntimeError, match=r"too slow to be followed. Use starvation_law|slopes leave the range"):
        starvation_time(9.0, lam, 1e-3, beta=1e300 if lam == 0 else 1e-300)


@pytest.mark.parametrize(("r", "lam"), [(1e6, 1.0), (1e9, 0.3), (1e5, 0.01)])
def test_the_law_keeps_its_digits_where_y_falls_to_nothing(r, lam):
    """y at E = r/7 in 30 digits: y - 1 + … cancels at 1e-300, and x - E where both are large."""
    with mpmath.workdps(30):
        E, beta = mpmath.mpf(r) / 7, mpmath.mpf(2)
        y = mpmath.exp(-beta * mpmath.log(7) - beta * lam * (r - E)) + beta * mpmath.quad(
            lambda s: mpmath.exp(-beta * s - beta * lam * E * mpmath.expm1(s)),
            [0, 4 / (beta * lam * E), 16 / (beta * lam * E), 64 / (beta * lam * E)],
        )
        level = (y - 1 - mpmath.log(y) + y * E) / 2
        want = (beta * lam * (r - E) + beta * mpmath.log(7) + mpmath.log(y)) / 2
    assert starvation_law(r, lam, float(level), 2.0).item() == pytest.approx(float(want), rel=1e-9)


def test_numbers_whose_squares_leave_the_format_have_finite_answers():
    """log N(1e300; 0, 1e600) by hand, the ends of the posterior, and n₂ = (σ² + b)²/(σ² + λb)."""
    huge = 1e300
    assert log_evidence(huge, huge, 0.5, 0.2).item() == pytest.approx(
        -0.5 * math.log(2 * math.pi) - math.log(huge) - 0.5, rel=1e-12
    )
    # P₁/P_λ tends to 1/ρ, and x²F²D(1 - ρ)²/(F² (ρF²)²) to 0.
    rho = 0.2 / 0.7
    assert elbo_gap(1.3, huge, 0.5, 0.2, 0.0).item() == pytest.approx(0.5 * (1 / rho - 1 + math.log(rho)), rel=1e-12)
    assert [x.item() for x in tempered_posterior(1.3, huge, 0.5, 0.2, 0.0)] == [0.0, 0.0]
    assert chain_noise([1.0], huge, 0.0).tolist() == [huge, huge]
    assert misspecification_price(huge).full.item() == pytest.approx(0.5 * math.log(huge))


def test_the_gap_keeps_its_digits_as_lambda_tends_to_one():
    """½∫(1 - s) Var c ds is of second order in 1 - λ: halving it divides the gap by four, down to rounding."""
    gaps = [elbo_gap(1.3, 1.5, 0.5, 0.2, 1 - 2.0**-k).item() for k in (20, 21, 45)]
    assert gaps[0] / gaps[1] == pytest.approx(4, rel=1e-5)
    assert gaps[0] / gaps[2] == pytest.approx(4.0**25, rel=1e-5)
    # Across the point where a series takes over, against the same in 30 digits.
    for F in (0.0999, 0.1001, 1e-4):
        with mpmath.workdps(30):
            e = mpmath.mpf(F) ** 2  # 1 - ρ = 1, in effect, as σ² is nothing beside β
            want = (e - mpmath.log(1 + e)) / 2
        assert elbo_gap(0.0, F, 1.0, 1e-30, 0.0).item() == pytest.approx(float(want), rel=1e-13)
