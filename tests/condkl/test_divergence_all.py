"""Every family of `torch.distributions`: the KL of its pairs against SciPy, sums, mpmath and other forms."""

import itertools
import math

import mpmath
import numpy as np
import pytest
import torch
from families import FAMILIES, PAIRS, kl_by_scipy
from scipy import special, stats
from torch.distributions import (
    Bernoulli,
    Beta,
    Binomial,
    Categorical,
    Cauchy,
    ContinuousBernoulli,
    Dirichlet,
    Exponential,
    Gamma,
    Geometric,
    HalfCauchy,
    HalfNormal,
    Independent,
    InverseGamma,
    Kumaraswamy,
    Laplace,
    LKJCholesky,
    LogisticNormal,
    LogNormal,
    LowRankMultivariateNormal,
    MixtureSameFamily,
    Multinomial,
    MultivariateNormal,
    NegativeBinomial,
    Normal,
    OneHotCategorical,
    OneHotCategoricalStraightThrough,
    Pareto,
    Poisson,
    RelaxedBernoulli,
    RelaxedOneHotCategorical,
    StudentT,
    TransformedDistribution,
    Uniform,
    VonMises,
    Weibull,
    Wishart,
    transforms,
)

from condkl.divergence import kl_chain
from condkl.switch import conditional_kl

Z = 4.5
PRECISIONS = [torch.float32, torch.float64]


def at(dtype, *values):
    return [torch.tensor(x, dtype=dtype) for x in values]


def double(x):
    return torch.tensor(x, dtype=torch.float64)


def as_v(q, p):
    return kl_chain((q,), (p,))


def as_u(q, p):
    """The same pair below a table, for both of its values."""
    even = Categorical(torch.ones(2))
    return kl_chain((even, lambda v: q.expand((2,))), (even, lambda v: p.expand((2,))))


def at_a_draw(q, p):
    """The KL of the pair by the switch and by the chain, which have to be one number."""
    found = conditional_kl(lambda v: q.expand(v.shape), lambda v: p.expand(v.shape), torch.zeros(2))
    torch.testing.assert_close(found, as_u(q, p).terms[-1].expand(2))
    return found[0]


def finite(q, p, seed):
    """Parameters of a pair whose KL is finite."""
    rng = np.random.default_rng(seed)
    a, b = FAMILIES[q].draw(rng), FAMILIES[p].draw(rng)
    if q == p == "Pareto":
        b[0] = a[0] / 2  # p has to cover q
    if q == p == "GeneralizedPareto":
        b[2] = abs(b[2]) + 0.3
    return a, b


@pytest.mark.parametrize(("q", "p"), PAIRS)
def test_the_kl_of_numbers_is_that_of_scipy_as_v_in_float64_and_as_u_in_float32(q, p):
    a, b = finite(q, p, seed=len(q) + 20 * len(p))
    want = kl_by_scipy(FAMILIES[q].scipy(*a), FAMILIES[p].scipy(*b))
    for dtype, found, rtol in ((torch.float64, as_v, 1e-7), (torch.float32, as_u, 2e-6)):
        chain = found(FAMILIES[q].torch(*at(dtype, *a)), FAMILIES[p].torch(*at(dtype, *b)))
        assert chain.terms[-1].item() == pytest.approx(want, rel=rtol, abs=rtol)
        assert chain.standard_error == 0
        assert chain.terms.dtype == dtype
        assert (chain.terms >= 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_the_kl_of_numbers_is_that_of_scipy_at_other_parameters(seed):
    for q, p in PAIRS:
        a, b = finite(q, p, 1000 + seed)
        want = kl_by_scipy(FAMILIES[q].scipy(*a), FAMILIES[p].scipy(*b))
        got = as_v(FAMILIES[q].torch(*at(torch.float64, *a)), FAMILIES[p].torch(*at(torch.float64, *b))).total
        assert got.item() == pytest.approx(want, rel=1e-7, abs=1e-7), (q, a, p, b)


COUNTS = {
    "Bernoulli": (lambda t: Bernoulli(*t(0.3)), stats.bernoulli(0.3)),
    "Binomial": (lambda t: Binomial(4, *t(0.6)), stats.binom(4, 0.6)),
    "more trials": (lambda t: Binomial(7, *t(0.2)), stats.binom(7, 0.2)),
    "Categorical": (
        lambda t: Categorical(*t([0.1, 0.2, 0.7])), stats.rv_discrete(values=(range(3), [0.1, 0.2, 0.7])),
    ),
    "Geometric": (lambda t: Geometric(*t(0.35)), stats.geom(0.35, loc=-1)),
    "NegativeBinomial": (lambda t: NegativeBinomial(*t(2.5, 0.4)), stats.nbinom(2.5, 0.6)),
    "few successes": (lambda t: NegativeBinomial(*t(0.05, 0.97)), stats.nbinom(0.05, 1 - 0.97)),
    "Poisson": (lambda t: Poisson(*t(3.2)), stats.poisson(3.2)),
    "rare": (lambda t: Poisson(*t(1e-6)), stats.poisson(1e-6)),
    "sure": (lambda t: Binomial(3, *t(1.0)), stats.binom(3, 1.0)),
}  # fmt: skip


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize(("q", "p"), list(itertools.product(COUNTS, COUNTS)))
def test_the_kl_of_counts_is_the_sum_over_scipys_masses(q, p, dtype):
    k = np.arange(4000)
    log_q, log_p = (COUNTS[name][1].logpmf(k) for name in (q, p))
    here = np.exp(log_q) > 0
    want = (np.exp(log_q[here]) * (log_q[here] - log_p[here])).sum()
    exact = (
        pytest.approx(want, rel=1e-8, abs=1e-10) if dtype == torch.float64 else pytest.approx(want, rel=1e-5, abs=1e-6)
    )
    for found in (as_v, as_u):
        chain = found(*(COUNTS[name][0](lambda *values: at(dtype, *values)) for name in (q, p)))
        assert chain.terms[-1].item() == exact
        assert chain.standard_error == 0


# Right values by mpmath, 30 digits: quad(exp(log q) (log q - log p)) over log(x - end), over logit x, or asinh x, in
# pieces up to 6,000; and closed forms where they are short.


def of_betas(a, b, c, d):
    """KL[Beta(a, b) || Beta(c, d)] with 40 digits, of which up to 20 cancel."""
    with mpmath.workdps(40):
        a, b, c, d = map(mpmath.mpf, (a, b, c, d))
        norms = mpmath.log(mpmath.beta(c, d)) - mpmath.log(mpmath.beta(a, b))
        shifts = (a - c) * mpmath.digamma(a) + (b - d) * mpmath.digamma(b) + (c - a + d - b) * mpmath.digamma(a + b)
        return float(norms + shifts)


EDGES = {
    "Gamma(.01, 1) || HalfNormal(1)": (lambda t: (Gamma(*t(0.01, 1.0)), HalfNormal(*t(1.0))), 95.176638077892693),
    "Gamma(.01, 1) || F(3, 4)": (
        lambda t: (Gamma(*t(0.01, 1.0)), torch.distributions.FisherSnedecor(*t(3.0, 4.0))), 144.35659858654208,
    ),
    "Beta(.01, .02) || Kumaraswamy(2, 3)": (
        lambda t: (Beta(*t(0.01, 0.02)), Kumaraswamy(*t(2.0, 3.0))), 175.17694614020784,
    ),
    "Kumaraswamy(.2, .2) || Uniform": (
        lambda t: (Kumaraswamy(*t(0.2, 0.2)), Uniform(*t(0.0, 1.0))), 1.9338272483691775,
    ),
    "RelaxedBernoulli(.05, logit 1) || Uniform": (
        lambda t: (RelaxedBernoulli(*t(0.05), logits=t(1.0)[0]), Uniform(*t(0.0, 1.0))), 27.567059805462437,
    ),
    "RelaxedBernoulli(.05, logit 1) || Beta(2, 3)": (
        lambda t: (RelaxedBernoulli(*t(0.05), logits=t(1.0)[0]), Beta(*t(2.0, 3.0))), 83.926341274199078,
    ),
    "LogNormal(-90, 20) || HalfCauchy(1)": (
        lambda t: (LogNormal(*t(-90.0, 20.0)), HalfCauchy(*t(1.0))), 86.036940333513851,
    ),
    "LogNormal(-90, 20) || LogNormal(-80, 10)": (
        lambda t: (LogNormal(*t(-90.0, 20.0)), LogNormal(*t(-80.0, 10.0))), math.log(0.5) + 2.5 - 0.5,
    ),
    "Pareto(1, .05) || HalfCauchy(1)": (lambda t: (Pareto(*t(1.0, 0.05)), HalfCauchy(*t(1.0))), 16.475863070439508),
    "InverseGamma(.05, 1) || F(3, 4)": (
        lambda t: (InverseGamma(*t(0.05, 1.0)), torch.distributions.FisherSnedecor(*t(3.0, 4.0))), 35.215872330928729,
    ),
    "StudentT(2.01) || Normal": (lambda t: (StudentT(*t(2.01)), Normal(*t(0.0, 1.0))),
        0.5 * math.log(2 * math.pi) + 100.5 - stats.t(2.01).entropy(),
    ),
    "Cauchy || StudentT(.5, 1, 2)": (
        lambda t: (Cauchy(*t(0.0, 1.0)), StudentT(*t(0.5, 1.0, 2.0))), 0.39361624247680079,
    ),
    "Uniform || ContinuousBernoulli(.3)": (
        lambda t: (Uniform(*t(0.0, 1.0)), ContinuousBernoulli(*t(0.3))),
        -math.log(math.log(7 / 3) / 0.4) - (math.log(0.3) + math.log(0.7)) / 2,
    ),
    "ContinuousBernoulli(.3) || Uniform": (  # with η = log(3/7): η E x - log((e^η - 1)/η), and e^η = 3/7
        lambda t: (ContinuousBernoulli(*t(0.3)), Uniform(*t(0.0, 1.0))),
        math.log(3 / 7) * (-0.75 - 1 / math.log(3 / 7)) - math.log(-4 / 7 / math.log(3 / 7)),
    ),
    "ContinuousBernoulli(-500) || (20)": (  # mean 1/500, normalisers log 1/500 and log (e^20 - 1)/20
        lambda t: (ContinuousBernoulli(logits=t(-500.0)[0]), ContinuousBernoulli(logits=t(20.0)[0])),
        -520 / 500 + math.log(500) + math.log(math.expm1(20) / 20),
    ),
    "Beta(1e5, 1e5) || Beta(1.001e5, 1e5)": (
        lambda t: (Beta(*t(1e5, 1e5)), Beta(*t(1.001e5, 1e5))), of_betas(100_000, 100_000, 100_100, 100_000),
    ),
    "Bernoulli(.5) || logit 30": (lambda t: (Bernoulli(*t(0.5)), Bernoulli(logits=t(30.0)[0])),
        15 - math.log(2) + math.log1p(math.exp(-30))),
    "Categorical || logit -800": (
        lambda t: (Categorical(*t([0.5, 0.5])), Categorical(logits=t([0.0, -800.0])[0])), 400 - math.log(2),
    ),
    "Categorical || a mass of 1e-12": (
        lambda t: (Categorical(*t([0.5, 0.5])), Categorical(*t([1 - 1e-12, 1e-12]))), math.log(0.5) + 6 * math.log(10),
    ),
    "one-hot || logit -800": (
        lambda t: (OneHotCategorical(*t([0.5, 0.5])), OneHotCategorical(logits=t([0.0, -800.0])[0])),
        400 - math.log(2),
    ),
    "bits || logits 30 and -30": (
        lambda t: (
            Independent(Bernoulli(*t([0.5, 0.5])), 1), Independent(Bernoulli(logits=t([30.0, -30.0])[0]), 1),
        ),
        30 - 2 * math.log(2) + 2 * math.log1p(math.exp(-30)),
    ),
    "Geometric(1e-6) || Geometric(2e-6)": (
        lambda t: (Geometric(*t(1e-6)), Geometric(*t(2e-6))),
        math.log(0.5) + (1 / 1e-6 - 1) * (math.log1p(-1e-6) - math.log1p(-2e-6)),
    ),
    "Wishart(4, I) || Wishart(5, I)": (
        lambda t: (Wishart(*t(4.0, [[1.0, 0.0], [0.0, 1.0]])), Wishart(*t(5.0, [[1.0, 0.0], [0.0, 1.0]]))),
        special.multigammaln(2.5, 2) - special.multigammaln(2, 2) - (special.digamma(2) + special.digamma(1.5)) / 2,
    ),
    "Poisson(1e8) || Poisson(1.001e8)": (
        lambda t: (Poisson(*t(1e8)), Poisson(*t(1.001e8))), 1e8 * (0.001 - math.log1p(0.001)),
    ),
    "Normal(0, 1e-8) || Normal(0, 1)": (
        lambda t: (Normal(*t(0.0, 1e-8)), Normal(*t(0.0, 1.0))), 8 * math.log(10) - 0.5 + 5e-17,
    ),
    "Uniform(0, 2^-100) || Exponential(1)": (
        lambda t: (Uniform(*t(0.0, 2.0**-100)), Exponential(*t(1.0))), 100 * math.log(2),
    ),
    "VonMises(1, 2000) || VonMises(0, 1)": (
        lambda t: (VonMises(*t(1.0, 2000.0)), VonMises(*t(0.0, 1.0))),
        special.ive(1, 2000) / special.ive(0, 2000) * (2000 - math.cos(1))
        - (math.log(special.ive(0, 2000)) + 2000) + math.log(special.i0(1)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("case", EDGES)
def test_the_kl_is_right_at_the_edge_of_parameters(case, dtype):
    pair, want = EDGES[case]
    # Where parameters are no float32 the right value moves by as much as they do.
    rtol = 1e-7 if dtype == torch.float64 else 2e-5
    q, p = pair(lambda *values: at(dtype, *values))
    for graph in (True, False):
        with torch.set_grad_enabled(graph):
            for found in (as_v, as_u):
                chain = found(q, p)
                assert chain.terms[-1].item() == pytest.approx(want, rel=rtol, abs=1e-7)
                assert chain.standard_error == 0
            assert at_a_draw(q, p).item() == pytest.approx(want, rel=rtol, abs=1e-7)


# Most of the mass is nearer to 1 than any float64, so that it is known from the tail alone. The KL of the two with 1/2
# is the integral over x^.01 up to 1/2, and over (1-x)^.01 from there, by mpmath in 30 digits.
FAR = {
    "Beta(.01, .01) || Kumaraswamy(.5, .5)": (Beta, (0.01, 0.01), Kumaraswamy, (0.5, 0.5), 44.927461781689718),
    "Beta(1, .01) || Kumaraswamy(.5, .5)": (Beta, (1.0, 0.01), Kumaraswamy, (0.5, 0.5), 45.428081487854830),
    "Kumaraswamy(1, .01) || Uniform": (Kumaraswamy, (1.0, 0.01), Uniform, (0.0, 1.0), 99 - math.log(100)),
    "Kumaraswamy(.01, 1) || Uniform": (Kumaraswamy, (0.01, 1.0), Uniform, (0.0, 1.0), 99 - math.log(100)),
}


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("case", FAR)
def test_mass_that_no_float_tells_from_an_end_is_counted(case, dtype):
    q, a, p, b, want = FAR[case]
    q, p = q(*at(dtype, *a)), p(*at(dtype, *b))
    for chain in (as_v(q, p), as_u(q, p)):
        assert chain.terms[-1].item() == pytest.approx(want, rel=1e-6 if dtype == torch.float64 else 2e-5)
        assert chain.standard_error == 0
    assert at_a_draw(q, p).item() == pytest.approx(want, rel=2e-5)


def test_what_torch_has_cached_does_not_change_the_answer():
    """torch keeps logits that it computes from probabilities, with a floor, and the other way round."""
    probabilities, logits = torch.tensor([1.0, 0.0]), torch.tensor([0.0, -200.0])
    for expanded in (False, True):
        for p, want in ((Categorical(probabilities), math.inf), (Categorical(logits=logits), 100 - math.log(2))):
            _ = p.logits, p.probs
            p = p.expand((3,)).expand((3,)) if expanded else p
            assert as_v(Categorical(torch.ones(2)), p).total.flatten()[0].item() == pytest.approx(want, rel=1e-6)
        for p, want in ((Bernoulli(probabilities[0]), math.inf), (Bernoulli(logits=-logits[1]), 100 - math.log(2))):
            _ = p.logits, p.probs
            p = p.expand((3,)) if expanded else p
            assert as_v(Bernoulli(0.5), p).total.flatten()[0].item() == pytest.approx(want, rel=1e-6)


def of_gammas(a, r, b, s):
    """KL[Gamma(a, r) || Gamma(b, s)] with 40 digits."""
    with mpmath.workdps(40):
        a, r, b, s = map(mpmath.mpf, (a, r, b, s))
        norms = mpmath.loggamma(b) - mpmath.loggamma(a) + b * mpmath.log(r / s)
        return float(norms + (a - b) * mpmath.digamma(a) + a * (s / r - 1))


LOST = {
    "Beta": (Beta, (1e9, 1e9), (1.00001e9, 1e9), of_betas(1e9, 1e9, 1.00001e9, 1e9)),
    "Gamma": (Gamma, (1e10, 2.0), (1e10, 2.00002), 1e10 * (1e-5 - math.log1p(1e-5))),
    "Gamma, both": (Gamma, (1e12, 2.0), (1.000001e12, 2.000004), of_gammas(1e12, 2.0, 1.000001e12, 2.000004)),
    "Dirichlet": (
        lambda *a: Dirichlet(torch.stack(a)), (1e9, 1e9), (1.00001e9, 1e9), of_betas(1e9, 1e9, 1.00001e9, 1e9),
    ),
}  # fmt: skip


@pytest.mark.parametrize("family", LOST)
def test_what_a_closed_form_loses_to_rounding_is_found_otherwise(family):
    make, a, b, want = LOST[family]
    chain = as_v(make(*at(torch.float64, *a)), make(*at(torch.float64, *b)))
    assert chain.total.item() == pytest.approx(want, rel=1e-6 if family == "Gamma" else 1e-9)  # torch's is good enough
    assert chain.standard_error == 0


INFINITE = {
    "StudentT(2) || Normal": (StudentT(double(2.0)), Normal(double(0.0), 1.0)),
    "Cauchy || Laplace": (Cauchy(double(0.0), 1.0), Laplace(double(0.0), 1.0)),
    "StudentT(20) || Gumbel": (StudentT(double(20.0)), torch.distributions.Gumbel(double(0.0), 1.0)),
    "Pareto(1) || Exponential": (Pareto(double(1.0), 1.0), Exponential(double(1.0))),
    "HalfCauchy || Weibull": (HalfCauchy(double(1.0)), Weibull(double(1.0), 1.5)),
    "Gamma(.5) || InverseGamma": (Gamma(double(0.5), 1.0), InverseGamma(double(2.0), 1.0)),
    "Exponential || InverseGamma": (Exponential(double(1.0)), InverseGamma(double(2.0), 1.0)),
    "Laplace(1) || Gumbel": (Laplace(double(0.0), 1.0), torch.distributions.Gumbel(double(0.0), 1.0)),
    "Exponential || Uniform": (Exponential(double(1.0)), Uniform(double(0.0), 2000.0)),
    "Uniform || a gap": (
        Uniform(double(0.0), 1.0),
        MixtureSameFamily(Categorical(torch.ones(2)), Uniform(double([0.0, 0.6]), double([0.5, 1.0]))),
    ),
    "Uniform || narrower": (Uniform(double(0.0), 2.0), Uniform(double(0.0), 1.0)),
    "Normal || VonMises": (Normal(double(0.0), 1.0), VonMises(double(0.0), 1.0)),
    "affine image || half line": (
        TransformedDistribution(Exponential(double(1.0)), [transforms.AffineTransform(-1.0, 1.0)]),
        Exponential(double(1.0)),
    ),
    "a plane || a torus": (
        MultivariateNormal(double([0.0, 0.0]), torch.eye(2).double()),
        Independent(VonMises(double([0.0, 0.0]), 1.0), 1),
    ),
    "a plane || a square": (
        MultivariateNormal(double([0.0, 0.0]), torch.eye(2).double()),
        Independent(Kumaraswamy(double([2.0, 2.0]), 1.5), 1),
    ),
    "Bernoulli || a density": (Bernoulli(double(0.5)), Weibull(double(1.0), 1.0)),
    "Poisson || Binomial": (Poisson(double(2.0)), Binomial(5, double(0.3))),
    "Poisson || Bernoulli": (Poisson(double(2.0)), Bernoulli(double(0.3))),
}


if hasattr(torch.distributions, "GeneralizedPareto"):
    corner = torch.distributions.GeneralizedPareto(double([0.0, 0.0]), double([1.0, 1.0]), double([0.1, 0.1]))
    INFINITE["a plane || a corner"] = INFINITE["a plane || a square"][0], Independent(corner, 1)


@pytest.mark.parametrize("case", INFINITE)
def test_an_infinite_kl_is_infinite_and_nothing_about_it_is_uncertain(case):
    for found in (as_v, as_u):
        chain = found(*INFINITE[case])
        assert chain.total == math.inf
        assert chain.standard_error == 0
    if INFINITE[case][0].event_shape:  # of a plane only samples can tell, which one draw of v has not
        with pytest.raises(ValueError, match="is no closed form, sum or integral"):
            at_a_draw(*INFINITE[case])
    else:
        assert at_a_draw(*INFINITE[case]) == math.inf


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_the_kl_of_a_batch_holds_finite_and_infinite_ones(dtype):
    q, p = StudentT(*at(dtype, [1.5, 2.0, 2.5, 30.0])), Normal(*at(dtype, 0.0, 1.0))
    entropy = [stats.t(n).entropy() for n in (2.5, 30)]
    want = [0.5 * math.log(2 * math.pi) + n / (n - 2) / 2 - h for n, h in zip((2.5, 30), entropy, strict=True)]
    np.testing.assert_allclose(as_v(q, p).total, [math.inf, math.inf, *want], rtol=1e-6 if dtype.itemsize < 8 else 1e-8)


def test_continuous_bernoullis_that_are_nearly_uniform_keep_their_digits():
    a, b = 0.009, -0.005
    with mpmath.workdps(40):
        mean = 1 / (1 - mpmath.exp(-mpmath.mpf(a))) - 1 / mpmath.mpf(a)
        log_norms = [mpmath.log(mpmath.expm1(x) / mpmath.mpf(x)) for x in (a, b)]
        want = float((mpmath.mpf(a) - b) * mean + log_norms[1] - log_norms[0])
    got = as_v(*(ContinuousBernoulli(logits=double(x)) for x in (a, b)))
    assert got.total.item() == pytest.approx(want, rel=1e-8)


def test_a_half_line_from_above_is_that_from_below_mirrored():
    """Also where the density grows without end towards the end."""
    q, p = Gamma(double(0.1), double(1.3)), Normal(double(1.0), double(2.0))
    mirrored = TransformedDistribution(q, [transforms.AffineTransform(0.0, -1.0)])
    want = as_v(q, p).total.item()
    assert as_v(mirrored, Normal(double(-1.0), double(2.0))).total.item() == pytest.approx(want, rel=1e-9)


@pytest.mark.parametrize("a", [0.005, 0.02])
def test_a_tail_beyond_the_smallest_number_counts(a):
    """Of Gamma(.005) 3% lie below 1e-300, where the log ratio to a LogNormal is a parabola of log x."""
    mean, variance = special.digamma(a), special.polygamma(1, a)  # of log x
    want = -stats.gamma(a).entropy() + mean + (math.log(2 * math.pi) + variance + mean**2) / 2
    got = as_v(Gamma(double(a), double(1.0)), LogNormal(double(0.0), double(1.0)))
    assert got.total.item() == pytest.approx(want, rel=1e-9)


@pytest.mark.parametrize("unit", [1e-100, 1e100])
def test_a_kl_does_not_depend_on_the_unit(unit):
    def kl(unit):
        q, p = StudentT(double(5.0), 0.0, double(unit)), Normal(double(0.3 * unit), double(2 * unit))
        return as_v(q, p).total.item()

    assert kl(unit) == pytest.approx(kl(1.0), rel=1e-9)


def test_a_map_in_float32_is_computed_in_float64():
    """A logarithm of its slope in float32 would be 1e-8 off."""
    loc, scale = torch.tensor(0.3), torch.tensor([0.7, 1.3, 2.9, 0.11])
    q = TransformedDistribution(Normal(torch.zeros(4), 1.0), [transforms.AffineTransform(loc, scale)])
    for one, other in ((q, Normal(loc, scale)), (Normal(loc, scale), q)):
        assert as_v(one, other).total.max() < 1e-12


def test_a_batch_of_too_many_integrals_is_sampled():
    q, p = StudentT(double(5.0)).expand((2049,)), Normal(double(0.0), 1.0).expand((2049,))
    assert kl_chain((q,), (p,), "monte_carlo", 2).method[0].startswith("log ratio of samples")


def test_one_hot_tables_have_a_closed_form_where_probabilities_underflow():
    q, p = (OneHotCategorical(logits=double(x)) for x in ([0.0, 0.0], [-1000.0, 0.0]))
    assert as_v(q, p).method == ("closed form",)
    assert as_v(q, p).total.item() == pytest.approx(500 - math.log(2), rel=1e-12)


def test_a_mixture_of_tables_has_the_masses_that_its_parts_add_up_to():
    weights, tables, even = double([0.3, 0.7]), double([[0.9, 0.1], [0.2, 0.8]]), double([0.5, 0.5])
    mixture = MixtureSameFamily(Categorical(weights), Categorical(tables))
    want = special.rel_entr(even, weights @ tables).sum()
    assert as_v(Categorical(even), mixture).total.item() == pytest.approx(want.item(), rel=1e-12)


def covariance(seed, size, batch=()):
    root = torch.randn(*batch, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return root @ root.mT + torch.eye(size).double()


def of_gaussians(m, S, n, T):
    """½ (tr T⁻¹S + (n - m)ᵀ T⁻¹ (n - m) - d + log |T|/|S|), by NumPy."""
    inverse, shift = np.linalg.inv(T), np.subtract(n, m)
    return 0.5 * (
        np.trace(inverse @ S) + shift @ inverse @ shift - len(m) + np.linalg.slogdet(T)[1] - np.linalg.slogdet(S)[1]
    )


def gaussians(dtype):
    """Forms of Gaussian vectors, with their moments."""
    loc, full = at(dtype, [0.3, -1.0, 0.5])[0], covariance(1, 3).to(dtype)
    scale, factor, rest = at(dtype, [0.5, 2.0, 1.2], [[1.0], [0.5], [-2.0]], [0.4, 1.0, 0.3])
    yield MultivariateNormal(loc, full), loc, full
    yield MultivariateNormal(-loc, precision_matrix=full), -loc, full.inverse()
    yield LowRankMultivariateNormal(2 * loc, factor, rest), 2 * loc, factor @ factor.mT + rest.diag()
    yield Independent(Normal(0 * loc, scale), 1), 0 * loc, scale.square().diag()


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize(("i", "j"), list(itertools.product(range(4), range(4))))
def test_all_forms_of_gaussian_vectors_know_each_other(i, j, dtype):
    (q, m, S), (p, n, T) = (list(gaussians(dtype))[k] for k in (i, j))
    want = of_gaussians(*(x.double().numpy() for x in (m, S, n, T)))
    for found in (as_v, as_u):
        chain = found(q, p)
        rounding = 10_000 * torch.finfo(dtype).eps  # of the factors that torch makes of the matrices
        assert chain.total.item() == pytest.approx(want, rel=rounding, abs=rounding)
        assert chain.method[-1] == "closed form"


def of_dirichlets(a, b):
    norms = special.gammaln(a.sum()) - special.gammaln(a).sum() - special.gammaln(b.sum()) + special.gammaln(b).sum()
    return norms + ((a - b) * (special.digamma(a) - special.digamma(a.sum()))).sum()


def of_wisharts(n, U, m, V):
    """E of the log ratio of SciPy's densities, by its mean log determinant and trace."""
    d = len(U)
    mean_log_det = special.digamma((n - np.arange(d)) / 2).sum() + d * math.log(2) + np.linalg.slogdet(U)[1]
    each = [
        (k - d - 1) / 2 * mean_log_det - np.trace(np.linalg.inv(W) @ (n * U)) / 2
        - k * d / 2 * math.log(2) - k / 2 * np.linalg.slogdet(W)[1] - special.multigammaln(k / 2, d)
        for k, W in ((n, U), (m, V))
    ]  # fmt: skip
    return each[0] - each[1]


def vectors_and_matrices(dtype=torch.float64):
    """Distributions of vectors and matrices whose KL is known otherwise."""
    a, b, c = np.array([0.2, 3.0, 1.5]), np.array([1.0, 1.0, 4.0]), np.array([0.2, 0.5, 0.3])
    d, U, V = np.array([0.6, 0.1, 0.3]), covariance(2, 2).numpy(), covariance(3, 2).numpy()
    table = special.rel_entr(c, d).sum()
    normals = of_gaussians([0.3, -1.0], np.eye(2) / 4, [0.0, 0.0], np.eye(2))

    def t(*values):
        return at(dtype, *values)

    yield "Dirichlet", Dirichlet(*t(a)), Dirichlet(*t(b)), of_dirichlets(a, b)
    yield "small Dirichlet", Dirichlet(*t(a * 1e-3)), Dirichlet(*t(b)), of_dirichlets(a * 1e-3, b)
    for kind in (OneHotCategorical, OneHotCategoricalStraightThrough):
        yield kind.__name__, kind(*t(c)), OneHotCategorical(*t(d)), table
    yield "Multinomial", Multinomial(7, *t(c)), Multinomial(7, *t(d)), 7 * table
    yield "Wishart", Wishart(*t(4.5, U)), Wishart(*t(3.0, V)), of_wisharts(4.5, U, 3.0, V)
    normal = Normal(*t([0.3, -1.0], [0.5, 0.5])), Normal(*t([0.0, 0.0], [1.0, 1.0]))
    yield "LogisticNormal", *(LogisticNormal(x.loc, x.scale) for x in normal), normals
    bend = [transforms.TanhTransform(), transforms.AffineTransform(1.0, 3.0)]
    yield "one map", *(Independent(TransformedDistribution(x, bend), 1) for x in normal), normals
    heavy, wide = Independent(StudentT(*t([3.0, 5.0])), 1), Independent(Normal(*t([0.0, 0.0], [1.0, 1.0])), 1)
    by_parts = sum(0.5 * math.log(2 * math.pi) + n / (n - 2) / 2 - stats.t(n).entropy() for n in (3, 5))
    yield "independent StudentT", heavy, wide, by_parts
    bits = Independent(Bernoulli(*t([0.2, 0.0])), 1), Independent(Bernoulli(*t([0.5, 0.3])), 1)
    yield "bits", *bits, special.rel_entr([0.2, 0.8], [0.5, 0.5]).sum() - math.log(0.7)


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("name", [case[0] for case in vectors_and_matrices()])
def test_the_kl_of_vectors_is_what_it_is_by_other_ways(name, dtype):
    q, p, want = next(case[1:] for case in vectors_and_matrices(dtype) if case[0] == name)
    for found in (as_v, as_u):
        chain = found(q, p)
        assert chain.total.item() == pytest.approx(want, rel=1e-8 if dtype == torch.float64 else 2e-5, abs=1e-12)
        assert chain.standard_error == 0


def correlation_kl(eta, other):
    """Of the correlation r of two, whose density is (1 - r²)^(η-1) up to a constant."""
    a, b = stats.beta(eta, eta, -1, 2), stats.beta(other, other, -1, 2)
    r, w = np.polynomial.legendre.leggauss(200)
    return float((w * a.pdf(r) * (a.logpdf(r) - b.logpdf(r))).sum())


def relaxed_pair(t, temperature, logit):
    return RelaxedOneHotCategorical(*t(temperature), logits=t([logit, 0.0])[0])


SAMPLED = {
    "LKJCholesky": (
        lambda t: (LKJCholesky(2, *t(2.0)), LKJCholesky(2, *t(3.5))), correlation_kl(2.0, 3.5),
    ),
    "RelaxedOneHotCategorical": (
        lambda t: (relaxed_pair(t, 1.5, 0.4), relaxed_pair(t, 0.8, -0.3)),
        kl_by_scipy(FAMILIES["RelaxedBernoulli"].scipy(1.5, 0.4), FAMILIES["RelaxedBernoulli"].scipy(0.8, -0.3)),
    ),
    "a Gaussian || heavy tails": (
        lambda t: (
            MultivariateNormal(*t([0.0, 0.0], [[1.0, 0.0], [0.0, 1.0]])), Independent(StudentT(*t([4.0, 4.0])), 1),
        ),
        2 * kl_by_scipy(FAMILIES["Normal"].scipy(0, 1), FAMILIES["StudentT"].scipy(4, 0, 1)),
    ),
    "a mixture of Gaussians || a Gaussian": (
        lambda t: (
            MixtureSameFamily(
                Categorical(*t([0.5, 0.5])),
                MultivariateNormal(*t([[-1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]])),
            ),
            Independent(Normal(*t([0.0, 0.0], [1.0, 1.0])), 1),
        ),
        float(mpmath.quad(lambda x: mpmath.npdf(x, 1) * mpmath.log(mpmath.cosh(x)), [-9, 0, 2, 11])) - 0.5,
    ),
}  # fmt: skip


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("case", SAMPLED)
def test_what_only_samples_can_tell_is_within_their_error(case, dtype):
    pair, want = SAMPLED[case]
    q, p = pair(lambda *values: at(dtype, *values))
    for found in (as_v, as_u):
        torch.manual_seed(1)
        chain = found(q, p)
        assert 0 < chain.standard_error < 0.05
        assert abs(chain.total - want) < Z * chain.standard_error
        assert "samples" in chain.method[-1] or "Sobol" in chain.method[-1]


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_draws_of_a_nearly_discrete_vector_keep_their_logarithms(dtype):
    """At a temperature of .05 an entry is e^-20 and less; by the first entry it is a RelaxedBernoulli, as above."""
    t = lambda *values: at(dtype, *values)  # noqa: E731
    q = relaxed_pair(t, 0.05, 1.0)
    for p in (Dirichlet(*t([1.0, 1.0])), relaxed_pair(t, 1.0, 0.0)):
        for found in (as_v, as_u):
            torch.manual_seed(3)
            chain = found(q, p)
            assert 0 < chain.standard_error < 0.6
            assert abs(chain.total - 27.567059805462437) < Z * chain.standard_error


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_where_a_form_of_torch_does_not_exist_for_some_counts_the_sum_does(dtype):
    q = lambda v: Binomial(v + 1, *at(dtype, 0.3))  # noqa: E731
    p = lambda v: Poisson(torch.full(v.shape, 1.2, dtype=dtype))  # noqa: E731
    two = Categorical(*at(dtype, [0.4, 0.6]))
    k = np.arange(3)
    want = sum(
        w * special.rel_entr(stats.binom.pmf(k, n, 0.3), stats.poisson.pmf(k, 1.2)).sum()
        for w, n in ((0.4, 1), (0.6, 2))
    )
    assert kl_chain((two, q), (two, p)).total.item() == pytest.approx(want, rel=1e-6)


SMOOTH = [
    ("Normal", "Logistic"), ("Gumbel", "Normal"), ("StudentT", "StudentT"), ("Mixture", "Normal"),
    ("VonMises", "Normal"), ("Gamma", "LogNormal"), ("LogNormal", "Gamma"), ("Weibull", "Gamma"), ("Pareto", "Gamma"),
    ("Uniform", "Normal"), ("Uniform", "Beta"), ("Beta", "Kumaraswamy"), ("InverseGamma", "LogNormal"),
    ("ContinuousBernoulli", "ContinuousBernoulli"), ("RelaxedBernoulli", "Beta"), ("HalfNormal", "Weibull"),
    ("Chi2", "Gamma"),
]  # fmt: skip


@pytest.mark.parametrize(("q", "p"), SMOOTH)
def test_gradients_are_those_of_finite_differences(q, p):
    a, b = (double(x).requires_grad_() for x in finite(q, p, 3))

    def kl(a, b):
        return as_v(FAMILIES[q].torch(*a), FAMILIES[p].torch(*b)).total

    exact = torch.autograd.grad(kl(a, b), (a, b), materialize_grads=True)
    h = 1e-5
    for which, gradient in enumerate(exact):
        for j, slope in enumerate(gradient):
            if q == p == "StudentT" or FAMILIES[(q, p)[which]].ranges[j] != (0.0, 0.0):
                step = torch.zeros_like(gradient).index_fill(0, torch.tensor(j), h)
                with torch.no_grad():
                    up, down = (
                        kl(*((x + s * step if k == which else x) for k, x in enumerate((a, b)))) for s in (1, -1)
                    )
                assert slope.item() == pytest.approx(((up - down) / (2 * h)).item(), abs=2e-5, rel=1e-5)
