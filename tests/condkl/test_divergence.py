"""`kl_chain` against sums by hand, closed forms of joint Gaussians, quadrature and its own standard error."""

import math
import time
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats
from torch.distributions import (
    Bernoulli,
    Beta,
    Binomial,
    Categorical,
    Gamma,
    HalfNormal,
    Independent,
    MultivariateNormal,
    Normal,
    OneHotCategorical,
    Poisson,
    StudentT,
    Uniform,
)

from condkl.divergence import conditional_kl_at, kl_chain

Z = 4.5  # standard errors allowed; the seeds are fixed
METHODS = ("exact", "quadrature", "monte_carlo")
# q(v) = N(m, t²), q(u|v) = N(a + bv, s²); p(v) = N(0, 1), p(u|v) = N(Fv, β)
LINEAR = {"m": 0.7, "t": 0.6, "a": 0.3, "b": 0.4, "s": 0.5, "F": 1.5, "beta": 0.8}
TABLES = (
    [0.7, 0.2, 0.1],
    [[0.9, 0.1], [0.3, 0.7], [0.5, 0.5]],
    [0.2, 0.3, 0.5],
    [[0.6, 0.4], [0.2, 0.8], [0.1, 0.9]],
)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def tensor(x):
    return torch.tensor(np.asarray(x), dtype=torch.float64)


def chain_of_tables(q_v, q_u, p_v, p_u, **kwargs):
    q_v, q_u, p_v, p_u = map(tensor, (q_v, q_u, p_v, p_u))
    return kl_chain(
        (Categorical(q_v), lambda v: Categorical(q_u[v])), (Categorical(p_v), lambda v: Categorical(p_u[v])), **kwargs
    )


def linear_chain(m, t, a, b, s, F, beta, **kwargs):
    return kl_chain(
        (Normal(tensor(m), tensor(t)), lambda v: Normal(a + b * v, s)),
        (Normal(tensor(0.0), tensor(1.0)), lambda v: Normal(F * v, math.sqrt(beta))),
        **kwargs,
    )


def sums_by_hand(q_v, q_u, p_v, p_u):
    """A, C and the KL of the joint, by loops; 0 log 0 = 0."""
    A = C = joint = 0.0
    for i in range(len(q_v)):
        if q_v[i] > 0:
            A += q_v[i] * (math.log(q_v[i] / p_v[i]) if p_v[i] else math.inf)
        for j in range(len(q_u[i])):
            if q_v[i] > 0 and q_u[i][j] > 0:
                C += q_v[i] * q_u[i][j] * (math.log(q_u[i][j] / p_u[i][j]) if p_u[i][j] else math.inf)
                p = p_v[i] * p_u[i][j]
                joint += q_v[i] * q_u[i][j] * (math.log(q_v[i] * q_u[i][j] / p) if p else math.inf)
    return A, C, joint


def gaussian_by_hand(m, t, a, b, s, F, beta):
    """A, by the formula of one normal, and the KL of the joint, by that of two vectors [v, u]."""
    mean = np.array([m, a + b * m])
    q = np.array([[t * t, b * t * t], [b * t * t, b * b * t * t + s * s]])
    p = np.array([[1, F], [F, F * F + beta]])
    inverse = np.linalg.inv(p)
    joint = 0.5 * (np.trace(inverse @ q) + mean @ inverse @ mean - 2 + math.log(np.linalg.det(p) / np.linalg.det(q)))
    marginal = integrate.quad(
        lambda v: stats.norm.pdf(v, m, t) * (stats.norm.logpdf(v, m, t) - stats.norm.logpdf(v)), m - 9 * t, m + 9 * t
    )[0]
    return marginal, joint - marginal, joint


def compute(method):
    """The chain of a standard case by `method`, with (A, C, total) by hand."""
    if method == "exact":
        return chain_of_tables(*TABLES, method=method), sums_by_hand(*TABLES)
    chain = linear_chain(**LINEAR, method=method, samples=40_000, generator=seeded(1))
    return chain, gaussian_by_hand(**LINEAR)


def allowed(chain):
    return max(Z * chain.standard_error.item(), 1e-10)


@pytest.mark.parametrize("method", METHODS)
def test_the_conditional_kl_enters_the_total_with_a_plus_sign(method):
    chain, (_, C, total) = compute(method)
    assert C > 0.1
    assert chain.total.item() == pytest.approx(total, abs=allowed(chain))
    assert chain.total.item() == pytest.approx((chain.marginal + chain.conditional).item(), abs=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_the_conditional_kl_is_averaged_over_q_of_v_and_not_over_p_of_v(method):
    chain, (A, C, _) = compute(method)
    assert chain.marginal.item() == pytest.approx(A, abs=1e-10)
    assert chain.conditional.item() == pytest.approx(C, abs=allowed(chain))
    if method == "exact":
        swapped = sums_by_hand(TABLES[2], TABLES[1], TABLES[2], TABLES[3])[1]
    else:
        swapped = gaussian_by_hand(**LINEAR | {"m": 0.0, "t": 1.0})[1]
    assert abs(swapped - C) > 3 * allowed(chain)  # so that the assertion above tells the two apart


@pytest.mark.parametrize("method", METHODS)
def test_results_are_scalars_and_only_samples_have_an_error(method):
    chain, _ = compute(method)
    parts = (chain.marginal, chain.conditional, chain.total, chain.standard_error)
    assert [part.shape for part in parts] == [()] * 4
    assert (chain.standard_error > 0) == (method == "monte_carlo")


def test_what_was_found_cannot_be_changed():
    chain, _ = compute("exact")
    for name in vars(chain):
        with pytest.raises(FrozenInstanceError):
            setattr(chain, name, None)


@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 10**6))
def test_enumeration_agrees_with_loops_on_any_tables(k, n, seed):
    draw = np.random.default_rng(seed).dirichlet
    tables = draw(np.ones(k)), draw(np.ones(n), size=k), draw(np.ones(k)), draw(np.ones(n), size=k)
    chain, want = chain_of_tables(*tables), sums_by_hand(*tables)
    got = [chain.marginal.item(), chain.conditional.item(), chain.total.item()]
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)
    assert min(got) > -1e-12  # a KL is not negative


@given(st.integers(2, 5), st.integers(0, 10**6))
def test_the_kl_of_a_table_from_itself_is_zero(k, seed):
    draw = np.random.default_rng(seed).dirichlet
    v, u = draw(np.ones(k)), draw(np.ones(3), size=k)
    assert chain_of_tables(v, u, v, u).total.abs() < 1e-14


@given(st.floats(-2, 2), st.floats(0.1, 2), st.floats(-2, 2), st.floats(0.1, 2), st.floats(-3, 3), st.floats(0.1, 4))
def test_quadrature_agrees_with_the_closed_form_of_the_joint_gaussian(m, t, b, s, F, beta):
    case = {"m": m, "t": t, "a": 0.2, "b": b, "s": s, "F": F, "beta": beta}
    chain, (A, C, total) = linear_chain(**case, method="quadrature"), gaussian_by_hand(**case)
    got = [chain.marginal.item(), chain.conditional.item(), chain.total.item()]
    np.testing.assert_allclose(got, [A, C, total], rtol=1e-9, atol=1e-9)


def test_auto_takes_the_exact_way_where_there_is_one():
    assert chain_of_tables(*TABLES).standard_error == 0
    assert linear_chain(**LINEAR).standard_error == 0
    for size in (1, 2, 3, 4):
        wide = MultivariateNormal(torch.zeros(size).double(), torch.eye(size).double())
        chain = kl_chain(
            (wide, lambda v: Normal(v.cos().sum(-1), 1.0)), (wide, lambda v: Normal(0 * v[:, 0], 1.0)),
            samples=10_000, generator=seeded(2),
        )  # fmt: skip
        mean, square = math.exp(-0.5), (1 + math.exp(-2)) / 2  # of the cosine of a standard normal
        want = (size * square + size * (size - 1) * mean**2) / 2
        assert abs(chain.total - want) < (Z * chain.standard_error if size == 4 else 1e-10)
        assert (chain.standard_error > 0) == (size == 4)


def test_events_with_several_dimensions_are_summed():
    loc = tensor([0.5, -1.0, 0.2])
    q_v, p_v = Independent(Normal(loc, 0.5), 1), Independent(Normal(torch.zeros(3).double(), 1.0), 1)
    q_u = lambda v: Independent(Normal(v[:, :2], 0.7), 1)  # noqa: E731
    p_u = lambda v: Independent(Normal(0 * v[:, :2], 1.0), 1)  # noqa: E731
    chain = kl_chain((q_v, q_u), (p_v, p_u), "sobol", samples=40_000, generator=seeded(3))
    marginal = sum(-math.log(0.5) + 0.125 + m * m / 2 - 0.5 for m in loc.tolist())
    conditional = sum(-math.log(0.7) + (0.49 + 0.25 + m * m) / 2 - 0.5 for m in loc.tolist()[:2])
    assert chain.marginal.item() == pytest.approx(marginal, rel=1e-12)
    assert abs(chain.total.item() - marginal - conditional) < allowed(chain)


@pytest.mark.parametrize("kind", [OneHotCategorical, Bernoulli])
def test_one_hot_and_binary_variables_count_as_tables(kind):
    tables = [np.array(t) for t in ([0.7, 0.3], [[0.9, 0.1], [0.4, 0.6]], [0.2, 0.8], [[0.5, 0.5], [0.1, 0.9]])]

    def wrap(p):
        return kind(tensor(p)) if kind is OneHotCategorical else Bernoulli(tensor(p)[..., 1])

    def at(table):
        return lambda v: wrap(table[v.argmax(-1) if kind is OneHotCategorical else v.long()])

    chain = kl_chain((wrap(tables[0]), at(tables[1])), (wrap(tables[2]), at(tables[3])), method="exact")
    got = [chain.marginal.item(), chain.conditional.item(), chain.total.item()]
    np.testing.assert_allclose(got, sums_by_hand(*tables), rtol=1e-12)


def test_a_batch_of_one_hot_vectors_is_a_batch_of_tables():
    q, p, at = tensor([[0.7, 0.3], [0.2, 0.8], [0.5, 0.5]]), tensor([0.4, 0.6]), tensor([0.0, 1.0])
    zero = lambda v: Normal(torch.zeros(v.shape[:2]).double(), 1.0)  # noqa: E731
    hot = kl_chain((OneHotCategorical(q), lambda v: Normal(at[v.argmax(-1)], 1.0)), (OneHotCategorical(p), zero))
    table = kl_chain((Categorical(q), lambda v: Normal(at[v], 1.0)), (Categorical(p), zero))
    torch.testing.assert_close(hot.terms, table.terms, rtol=1e-13, atol=0)


def test_binomials_with_different_counts_are_enumerated():
    def table(n, p):
        return [stats.binom.pmf(k, n, p) for k in range(5)]

    q_v, p_v = Binomial(2, tensor(0.3)), Binomial(4, tensor(0.6))
    q_u, p_u = (lambda v, n=n, c=c: Binomial(n, c + v / 10) for n, c in ((3, 0.2), (4, 0.5)))
    chain = kl_chain((q_v, q_u), (p_v, p_u))
    want = sums_by_hand(
        table(2, 0.3)[:3], [table(3, 0.2 + v / 10) for v in range(3)], table(4, 0.6)[:3],
        [table(4, 0.5 + v / 10) for v in range(3)],
    )  # fmt: skip
    np.testing.assert_allclose([chain.marginal, chain.conditional, chain.total], want, rtol=1e-6)
    assert kl_chain((p_v, q_u), (q_v, p_u)).marginal == math.inf
    assert kl_chain((q_v, p_u), (p_v, q_u)).conditional == math.inf


def test_a_pair_without_a_registered_kl_is_integrated_over_its_log_ratio():
    def c(v):
        q, p = stats.t(5, loc=v), stats.norm(0.5 * v, 2)
        return integrate.quad(
            lambda u: q.pdf(u) * (q.logpdf(u) - p.logpdf(u)), v - 300, v + 300, points=[v], limit=200
        )[0]

    def q_u(v):
        return StudentT(5.0, v.double())

    def p_u(v):
        return Normal(0.5 * v.double(), 2.0)

    weights, prior = [0.3, 0.7], [0.5, 0.5]
    want = sum(q * (math.log(q / p) + c(v)) for v, (q, p) in enumerate(zip(weights, prior, strict=True)))
    chain = kl_chain((Categorical(tensor(weights)), q_u), (Categorical(tensor(prior)), p_u), method="exact")
    assert chain.standard_error == 0
    assert chain.total.item() == pytest.approx(want, abs=1e-6)  # the range of the integral above


@pytest.mark.parametrize("method", ["quadrature", "monte_carlo"])
def test_a_marginal_without_a_registered_kl_is_still_found(method):
    same = lambda v: Normal(v, 1.0)  # noqa: E731
    q, p = stats.norm(0.3, 0.8), stats.t(5)
    want = integrate.quad(lambda v: q.pdf(v) * (q.logpdf(v) - p.logpdf(v)), -8, 8)[0]
    p_v = StudentT(tensor(5.0))
    chain = kl_chain((Normal(tensor(0.3), tensor(0.8)), same), (p_v, same), method, generator=seeded(5))
    assert abs(chain.marginal.item() - want) < allowed(chain)
    assert chain.conditional == 0


@pytest.mark.parametrize("broken", range(4))
def test_a_zero_in_p_where_q_has_mass_gives_infinity_and_not_nan(broken):
    tables = [np.array(t) for t in TABLES]
    if broken < 2:
        tables[2][broken], tables[2][2] = 0.0, 0.5 + tables[2][broken]
    else:
        tables[3][broken - 2] = [1.0, 0.0]
    for method in ("exact", "monte_carlo"):
        chain = chain_of_tables(*tables, method=method, generator=seeded(6))
        assert [chain.marginal.item(), chain.total.item()] == [math.inf if broken < 2 else chain.marginal, math.inf]
        assert (chain.conditional == math.inf) == (broken >= 2)
        assert chain.standard_error == 0


def test_values_that_p_does_not_know_have_no_mass_under_p():
    half, same = tensor(0.5), lambda v: Normal(v.double(), 1.0)
    three, two = Categorical(tensor([0.2, 0.3, 0.5])), Categorical(tensor([0.5, 0.5]))
    assert kl_chain((three, same), (Bernoulli(half), same)).total == math.inf
    assert kl_chain((Binomial(4, half), same), (two, same)).total == math.inf
    assert kl_chain((two, same), (Binomial(1, half), same)).total.item() == pytest.approx(0, abs=1e-12)
    u = kl_chain((two, lambda v: three.expand(v.shape)), (two, lambda v: Bernoulli(half).expand(v.shape)))
    assert u.conditional == math.inf


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_a_sure_binomial_has_a_finite_kl(probability):
    two = Categorical(tensor([0.5, 0.5]))
    q_u, p_u = (lambda v, c=c: Binomial(2, tensor(c)).expand(v.shape) for c in (probability, 0.5))
    assert kl_chain((two, q_u), (two, p_u)).conditional.item() == pytest.approx(2 * math.log(2), rel=1e-12)
    assert kl_chain((two, q_u), (two, q_u)).conditional.item() == pytest.approx(0, abs=1e-12)


def test_a_narrower_uniform_prior_gives_infinity():
    q, p = Uniform(tensor(0.0), tensor(2.0)), Uniform(tensor(0.0), tensor(1.0))
    same = lambda v: Normal(v, 1.0)  # noqa: E731
    assert kl_chain((q, same), (p, same)).total == math.inf
    assert kl_chain((q,), (p,)).method == ("p does not cover q",)
    narrow = lambda v: Uniform(v - 0.5, v + 0.5)  # noqa: E731
    assert kl_chain((q, lambda v: Uniform(v - 1, v + 1)), (q, narrow)).conditional == math.inf
    assert kl_chain((q, lambda v: StudentT(5.0, v)), (q, narrow)).conditional == math.inf
    assert kl_chain((q, narrow), (q, lambda v: Uniform(v - 1, v + 1))).total.item() == pytest.approx(math.log(2))


def test_a_category_without_mass_counts_nothing_even_where_the_conditionals_disagree():
    tables = [0.4, 0.6, 0.0], TABLES[1], [0.5, 0.5, 0.0], [TABLES[3][0], TABLES[3][1], [0.0, 1.0]]
    for method in ("exact", "monte_carlo"):
        chain = chain_of_tables(*tables, method=method, samples=40_000, generator=seeded(7))
        assert abs(chain.total.item() - sums_by_hand(*tables)[2]) < allowed(chain)


def chain_by_loops(tables_q, tables_p):
    """The three terms of three blocks of tables, by loops."""
    (q_v, q_u, q_w), (p_v, p_u, p_w) = tables_q, tables_p
    terms = np.zeros(3)
    for i, j, k in np.ndindex(q_w.shape):
        mass = q_v[i] * q_u[i, j] * q_w[i, j, k]
        ratios = q_v[i] / p_v[i], q_u[i, j] / p_u[i, j], q_w[i, j, k] / p_w[i, j, k]
        terms += mass * np.log(ratios)
    return terms


def test_three_blocks_are_enumerated_together():
    draw = np.random.default_rng(8).dirichlet
    q, p = (
        (draw(np.ones(3)), draw(np.ones(4), size=3), draw(np.ones(2), size=(3, 4))) for _ in range(2)
    )  # v, u given v, w given both

    def blocks(tables):
        v_, u_, w_ = map(tensor, tables)
        return Categorical(v_), lambda v: Categorical(u_[v]), lambda v, u: Categorical(w_[v, u])

    chain = kl_chain(blocks(q), blocks(p))
    np.testing.assert_allclose(chain.terms, chain_by_loops(q, p), rtol=1e-12)
    assert chain.total == pytest.approx(float(chain.marginal + chain.conditional), rel=1e-14)
    sampled = kl_chain(blocks(q), blocks(p), "monte_carlo", 40_000, generator=seeded(9))
    assert abs(sampled.total - chain.total) < Z * sampled.standard_error


@pytest.mark.parametrize("method", ["auto", "sobol", "monte_carlo"])
def test_three_gaussian_blocks_agree_with_the_closed_form_of_the_joint(method):
    def joint(a, b, c):  # v ~ N(a, 1), u = bv + e, w = cu + v + e
        mix = np.array([[1, 0, 0], [b, 1, 0], [c * b + 1, c, 1]])
        return torch.distributions.MultivariateNormal(tensor(mix[:, 0] * a), tensor(mix @ mix.T))

    def blocks(a, b, c):
        return Normal(tensor(a), 1.0), lambda v: Normal(b * v, 1.0), lambda v, u: Normal(c * u + v, 1.0)

    chain = kl_chain(blocks(0.3, 0.5, 0.2), blocks(-0.2, 0.8, -0.4), method, generator=seeded(10))
    want = torch.distributions.kl_divergence(joint(0.3, 0.5, 0.2), joint(-0.2, 0.8, -0.4))
    assert abs(chain.total - want) < allowed(chain)
    assert (chain.standard_error > 0) == (method != "auto")


@pytest.mark.parametrize("method", ["auto", "sobol", "monte_carlo"])
@pytest.mark.parametrize("event", [False, True])
def test_a_batch_gives_what_its_elements_give(event, method):
    loc, scale = tensor([[0.1, -0.7, 2.0], [0.5, 0.3, -1.0]]), tensor([[0.3, 1.0, 0.6], [1.5, 0.2, 0.9]])
    weight = tensor([1.0, -0.5])

    def chain(loc, scale, prior):
        v = (lambda m, s: Independent(Normal(m.unsqueeze(-1), s.unsqueeze(-1)), 1)) if event else Normal
        wide = (lambda v: v) if event else (lambda v: v.unsqueeze(-1))
        return kl_chain(
            (v(loc, scale), lambda v: Independent(Normal(wide(v) * weight, 0.7), 1)),
            (v(prior, torch.ones_like(prior)), lambda v: Independent(Normal(wide(v).tanh() + 0 * weight, 1.0), 1)),
            method, generator=seeded(11),
        )  # fmt: skip

    whole = chain(loc, scale, tensor(0.0))  # one prior for all
    assert whole.terms.shape == (2, 3, 2)
    assert whole.standard_error.shape == whole.total.shape == (2, 3)
    for index in np.ndindex(2, 3):
        one = chain(loc[index], scale[index], tensor(0.0))
        noise = (whole.standard_error[index] ** 2 + one.standard_error**2).sqrt()
        assert abs(one.total - whole.total[index]) <= Z * noise + 1e-6  # what two rules may differ by


def test_a_v_without_mass_in_one_image_only_says_nothing_there():
    q_v = Categorical(tensor([[0.5, 0.5, 0.0], [0.0, 0.3, 0.7]]))
    scale = tensor([1.0, 2.0, 0.0])  # no distribution at all for the last
    p_v = Categorical(torch.ones(3).double())

    def u(v):
        return Normal(0.0 * v, scale[v], validate_args=False)

    chain = kl_chain((q_v, u), (p_v, lambda v: Normal(0.0 * v.double(), 1.0)))
    at_two = -math.log(2) + 2 - 0.5
    assert chain.conditional[0].item() == pytest.approx(0.5 * at_two, rel=1e-12)
    assert chain.conditional[1] == math.inf  # where it has mass it counts


def spike(width, at=0.13):
    """E of half the square of 20 exp(-(v - at)²/(2 width²)) under a standard normal, and the chain's functions."""
    narrow = width / math.sqrt(2)  # of the square
    want = 200 * narrow * math.sqrt(2 * math.pi) * stats.norm.pdf(at, scale=math.sqrt(1 + narrow**2))
    return want, lambda v: Normal(20 * (-0.5 * ((v - at) / width) ** 2).exp(), 1.0), lambda v: Normal(0 * v, 1.0)


@pytest.mark.parametrize("method", ["auto", "quadrature"])
@pytest.mark.parametrize(("width", "dtype"), [(0.01, torch.float64), (0.1, torch.float64), (0.01, torch.float32)])
def test_what_gauss_hermite_nodes_miss_is_seen_and_resolved(width, dtype, method):
    want, q_u, p_u = spike(width)
    v = Normal(torch.zeros((), dtype=dtype), 1.0)
    chain = kl_chain((v, q_u), (v, p_u), method)
    assert chain.conditional.item() == pytest.approx(want, rel=1e-6)
    assert "panels" in chain.method[0]


def test_what_one_image_misses_shows_in_the_others():
    want, q_u, p_u = spike(0.01)
    v = Normal(torch.zeros(100).double(), 1.0)
    chain = kl_chain((v, q_u), (v, p_u))
    np.testing.assert_allclose(chain.conditional, want, rtol=1e-6)


def test_a_jump_is_resolved():
    v = Normal(tensor(0.3), tensor(0.8))
    chain = kl_chain((v, lambda v: Normal((v > 1).double(), 1.0)), (v, lambda v: Normal(0 * v, 1.0)))
    assert chain.conditional.item() == pytest.approx(stats.norm.sf(1, 0.3, 0.8) / 2, abs=1e-6)


def test_what_a_product_of_rules_misses_is_sampled():
    v = MultivariateNormal(torch.zeros(2).double(), torch.eye(2).double())
    jump = lambda v: Normal(2 * (v.sum(-1) > 0.3).double(), 1.0)  # noqa: E731
    same = lambda v: Normal(0 * v[:, 0], 1.0)  # noqa: E731
    chain = kl_chain((v, jump), (v, same), generator=seeded(12))
    assert "Sobol" in chain.method[0]
    assert abs(chain.total - 2 * stats.norm.sf(0.3, scale=math.sqrt(2))) < Z * chain.standard_error
    with pytest.warns(
        UserWarning, match=r"24\^2 Gauss-Hermite nodes do not resolve.*Pass more nodes, or method='sobol'"
    ):
        kl_chain((v, jump), (v, same), "quadrature")


@pytest.mark.parametrize("method", ["auto", "quadrature"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_not_blamed_on_the_nodes(dtype, method, recwarn):
    number = lambda x: torch.tensor(x, dtype=dtype)  # noqa: E731
    chain = kl_chain(
        (Normal(number(0.7), number(0.6)), lambda v: Normal(0.3 + 0.4 * v, number(0.5))),
        (Normal(number(0.0), number(1.0)), lambda v: Normal(1.5 * v, number(0.9))),
        method,
    )  # fmt: skip
    want = gaussian_by_hand(**LINEAR | {"beta": 0.81})
    assert chain.terms.dtype == torch.float32
    np.testing.assert_allclose(chain.terms, want[:2], rtol=20 * torch.finfo(dtype).eps)
    assert not [w for w in recwarn if "nodes" in str(w.message)]


@pytest.mark.parametrize(
    ("dtype", "want"), [(torch.float16, torch.float32), (torch.float32, torch.float32), (torch.float64, torch.float64)]
)
def test_results_have_the_dtype_of_the_distributions_and_at_least_float32(dtype, want):
    v = torch.zeros(2, dtype=dtype)
    q = Categorical(logits=v), lambda v: StudentT(5.0, v.to(dtype))
    p = Categorical(logits=v), lambda v: Normal(v.to(dtype), 2.0)
    for chain in (kl_chain(q, p), kl_chain(q, p, "monte_carlo", 10, generator=seeded(14))):
        assert chain.terms.dtype == chain.standard_error.dtype == want
    assert conditional_kl_at(q[1], p[1], v).dtype == want


@pytest.mark.parametrize("nodes", [1, 5, 64])
def test_a_linear_chain_does_not_depend_on_the_nodes(nodes):
    chain = linear_chain(**LINEAR, nodes=nodes)
    np.testing.assert_allclose(chain.terms, gaussian_by_hand(**LINEAR)[:2], rtol=1e-6)


def test_discrete_draws_without_end_are_summed():
    rate, prior = tensor(3.5), tensor(2.0)
    chain = kl_chain(
        (Poisson(rate), lambda v: Normal(0.3 * v, 1.0)), (Poisson(prior), lambda v: Normal(0.0 * v, 1.0))
    )  # fmt: skip
    assert chain.standard_error == 0
    np.testing.assert_allclose(
        chain.terms, [3.5 * math.log(3.5 / 2) - 1.5, 0.045 * (3.5 + 3.5**2)], rtol=1e-12
    )  # fmt: skip


def test_an_independent_over_no_dimension_is_what_it_holds():
    q, p = Poisson(tensor(3.5)), Poisson(tensor(2.0))
    chains = [
        kl_chain((wrap(q), lambda v: Normal(0.3 * v, 1.0)), (wrap(p), lambda v: Normal(0.0 * v, 1.0)))
        for wrap in (lambda d: d, lambda d: Independent(d, 0))
    ]
    assert chains[0].method == chains[1].method
    assert torch.equal(chains[0].terms, chains[1].terms)


def test_events_of_bits_are_enumerated():
    q, p = tensor([0.1, 0.2, 0.7]), tensor([0.5, 0.4, 0.6])
    chain = kl_chain(
        (Independent(Bernoulli(q), 1), lambda v: Normal(v.prod(-1), 1.0)),
        (Independent(Bernoulli(p), 1), lambda v: Normal(0 * v[:, 0], 1.0)),
    )
    want = (q * (q / p).log() + (1 - q) * ((1 - q) / (1 - p)).log()).sum()
    np.testing.assert_allclose(chain.terms, [want, q.prod() / 2], rtol=1e-12)
    assert "8 values" in chain.method[0]


def test_the_method_says_what_was_done():
    assert linear_chain(**LINEAR).method == ("closed form; mean over 32 Gauss-Hermite nodes", "closed form")
    gamma, beta = Gamma(tensor(2.0), tensor(1.0)), lambda v: Beta(1 + v, 2.0)
    chain = kl_chain(
        (Categorical(tensor([0.5, 0.5])), lambda v: gamma.expand(v.shape), lambda v, u: beta(u)),
        (Bernoulli(tensor(0.5)), lambda v: HalfNormal(1.0 + v), lambda v, u: Uniform(-v - 1, 1.0)),
        samples=1000, generator=seeded(13),
    )  # fmt: skip
    assert chain.method == (
        "sum over 2 values; mean over 2 values",
        "integral over a line; mean over 500 samples, gradient through the draws",
        "closed form",
    )


IMAGES, MIDDLES = 100, torch.linspace(-2.0, 2.0, 10)


def finite_batch(draws):
    """A table of ten values for each image; and the same sums in plain torch."""
    logits = draws(IMAGES, 10)
    q = Categorical(logits=logits), lambda v: Normal(MIDDLES[v], 0.5)
    p = Categorical(torch.ones(10)), lambda v: Normal(0.0 * v, 1.0)

    def plain():
        log_q = logits.log_softmax(-1)
        c = math.log(2) + (0.25 + MIDDLES**2) / 2 - 0.5
        return (log_q.exp() * (log_q + math.log(10))).sum(-1), (log_q.exp() * c).sum(-1)

    return q, p, plain


def smooth_batch(draws, dims):
    """As many independent Gaussian numbers for each image; and the same rule in plain torch."""
    loc, scale = draws(IMAGES, dims), (0.2 * draws(IMAGES, dims)).exp()
    q = Independent(Normal(loc, scale), 1), lambda v: Independent(Normal(v.sin(), 0.5), 1)
    p = Independent(Normal(torch.zeros(dims), 1.0), 1), lambda v: Independent(Normal(0.5 * v, 1.0), 1)
    x, w = (torch.tensor(a).float() for a in np.polynomial.hermite_e.hermegauss(64))

    def plain():
        marginal = ((scale**2 + loc**2 - 1) / 2 - scale.log()).sum(-1)
        v = loc + scale * x[:, None, None]
        c = math.log(2) + (0.25 + (v.sin() - 0.5 * v) ** 2) / 2 - 0.5
        return marginal, ((w / w.sum())[:, None, None] * c).sum(0).sum(-1)

    return q, p, plain


BATCHES = {
    "ten values": finite_batch,
    "one number": lambda draws: smooth_batch(draws, 1),
    "two numbers": lambda draws: smooth_batch(draws, 2),
}


def batch_of(case):
    generator = seeded(14)
    return BATCHES[case](lambda *shape: torch.randn(shape, generator=generator))


@pytest.mark.parametrize("case", BATCHES)
def test_a_batch_of_images_is_one_sum_over_few_points(case):
    """The conditionals are asked once for the sum, and once for its check, for all images together."""
    (q_v, q_u), p, plain = batch_of(case)
    asked = []
    chain = kl_chain((q_v, lambda v: (asked.append(v.shape), q_u(v))[1]), p)
    for got, want in zip((chain.marginal, chain.conditional), plain(), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
    assert chain.standard_error.abs().max() == 0
    assert len(asked) == (1 if case == "ten values" else 2)
    assert all(shape[1] == IMAGES for shape in asked)
    assert (
        sum(shape[0] for shape in asked)
        <= {"ten values": 10, "one number": 32 + 81, "two numbers": 24**2 + 31**2}[case]
    )


@pytest.mark.parametrize("case", ["ten values", "one number"])
def test_a_batch_of_images_costs_little_more_than_its_sums(case):
    """Beside the sums alone, which the machine of the day slows as much: 10 times as long; a loop over images, 1000."""
    q, p, plain = batch_of(case)
    calls = {"chain": lambda: kl_chain(q, p), "plain": plain}
    took = {name: [] for name in calls}
    for _ in range(30):  # in turn, so that what else runs slows both
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            took[name].append(time.perf_counter() - start)
    assert min(took["chain"]) < 60 * min(took["plain"])
