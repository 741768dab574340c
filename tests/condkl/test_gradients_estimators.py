"""Estimators of the term that eq. (9) drops: bias by enumeration and by t-tests, and what one sample gives."""

import functools
import itertools
import math

import numpy as np
import pytest
import torch
from problems import BETA, F, gaussian_problem, tensor
from scipy import stats
from torch.distributions import Categorical, Dirichlet, Independent, LogisticNormal, Normal

from condkl.gradients import Estimate, KLProblem, bias_t_test, pathwise, score_function, signal_to_noise

THETA_TABLE = [0.6, -0.4, 0.1, -1.2]  # logits of q(v)
PHI_TABLE = [[0.9, 0.1, -0.3], [-0.5, 0.4, 0.2], [0.1, -1.1, 0.8], [0.3, 0.3, -0.2]]  # of q(u|v)
P_V = [0.1, 0.4, 0.2, 0.3]
P_U = [[0.1, 0.7, 0.2], [0.3, 0.3, 0.4], [0.6, 0.2, 0.2], [0.25, 0.25, 0.5]]
THETA, PHI = (0.7, -0.5), (0.4, 0.3, -0.7)  # q(v) = N(m, t²), q(u|v) = N(bv + d, s²): (m, log t) and (b, d, log s)
M, T, DELTA = THETA[0], math.exp(THETA[1]), PHI[0] - F
MILLION = 10**6
CASES = {
    "categorical": ("table", functools.partial(score_function, baseline=None)),
    "categorical, baseline": ("table", functools.partial(score_function, baseline="leave_one_out")),
    "normal": ("gaussian", functools.partial(score_function, baseline=None)),
    "normal, baseline": ("gaussian", functools.partial(score_function, baseline="leave_one_out")),
    "normal, pathwise": ("gaussian", pathwise),
}
every_case = pytest.mark.parametrize("case", CASES)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def softmax(logits):
    weights = np.exp(logits)
    return weights / weights.sum()


def table_problem(q_v=lambda theta: Categorical(logits=theta), p_v=P_V, p_u=P_U):
    k, m = np.shape(p_u)
    return KLProblem(
        q_v=q_v,
        q_u_given_v=lambda phi: lambda v: Categorical(logits=phi.reshape(k, m)[v]),
        p_v=Categorical(tensor(p_v)),
        p_u_given_v=lambda v: Categorical(tensor(p_u)[v]),
    )


def arguments(kind):
    if kind == "table":
        return table_problem(), tensor(THETA_TABLE), tensor(PHI_TABLE).flatten()
    return gaussian_problem(), tensor(THETA), tensor(PHI)


def table_by_hand(theta=THETA_TABLE, phi=PHI_TABLE, p_u=P_U):
    """q(v), c(v) and the derivatives of C on the logits of q(v)."""
    q = softmax(theta)
    r = [softmax(logits) for logits in phi]
    c = np.array([sum(a * math.log(a / b) for a, b in zip(*rows, strict=True)) for rows in zip(r, p_u, strict=True)])
    return q, c, q * (c - q @ c)


def exact(kind):
    """The gradient of C on theta."""
    if kind == "table":
        return tensor(table_by_hand()[2])
    return tensor([DELTA * (DELTA * M + PHI[1]), DELTA**2 * T**2]) / BETA


def gaussian_c(v):
    s2 = math.exp(2 * PHI[2])
    return 0.5 * math.log(BETA / s2) + (s2 + (DELTA * v + PHI[1]) ** 2) / (2 * BETA) - 0.5


@functools.cache
def million(case):
    kind, estimator = CASES[case]
    return estimator(*arguments(kind), samples=MILLION, generator=seeded(1))


@every_case
def test_a_million_samples_show_no_bias(case):
    result = bias_t_test(million(case), exact(CASES[case][0]))
    assert result.p_value > 0.001
    assert million(case).each.shape == (MILLION, len(exact(CASES[case][0])))


@pytest.mark.parametrize("case", ["categorical", "categorical, baseline", "normal, pathwise"])
def test_a_bias_of_one_percent_is_found(case):
    biased = Estimate(1.01 * million(case).each)
    assert bias_t_test(biased, exact(CASES[case][0])).p_value < 1e-4


@every_case
def test_the_zero_of_eq_9_is_not_an_unbiased_estimate(case):
    want = exact(CASES[case][0])
    assert bias_t_test(Estimate(torch.zeros(100, len(want)).double()), want).p_value == 0
    assert bias_t_test(million(case), torch.zeros_like(want)).p_value == 0


def test_each_score_function_sample_is_c_times_the_score_and_v_comes_from_q():
    q, c, _ = table_by_hand()
    rows = c[:, None] * (np.eye(4) - q)  # for each v, what the sample has to be
    each = score_function(*arguments("table"), 2000, seeded(2)).each.numpy()
    distance = np.abs(each[:, None] - rows).max(-1)
    np.testing.assert_allclose(distance.min(-1), 0, atol=1e-14)
    counts = np.bincount(distance.argmin(-1), minlength=4)
    assert stats.chisquare(counts, 2000 * q).pvalue > 0.001
    assert stats.chisquare(counts, 2000 * np.array(P_V)).pvalue < 1e-9  # so that p(v) would be noticed


def test_each_score_function_sample_of_a_normal_is_c_times_the_score_and_v_comes_from_q():
    """With v = m + te the scores are e/t and e² - 1; their ratio and the sign of the first give e."""
    each = score_function(*arguments("gaussian"), 2000, seeded(3)).each.numpy()
    half = each[:, 1] / each[:, 0] / T / 2
    e = half + np.sign(each[:, 0]) * np.sqrt(half**2 + 1)
    want = gaussian_c(M + T * e)[:, None] * np.stack([e / T, e**2 - 1], -1)
    np.testing.assert_allclose(each, want, rtol=1e-7, atol=1e-7)
    assert stats.kstest(e, "norm").pvalue > 0.001


def test_each_pathwise_sample_has_the_same_noise_in_all_directions_and_v_comes_from_q():
    """dc/dm = c'(v), which gives v; then dc/d(log t) has to be c'(v)(v - m) at that same v."""
    each = pathwise(*arguments("gaussian"), 2000, seeded(4)).each.numpy()
    v = (each[:, 0] * BETA / DELTA - PHI[1]) / DELTA
    np.testing.assert_allclose(each[:, 1], each[:, 0] * (v - M), rtol=1e-10, atol=1e-12)
    assert stats.kstest(v, stats.norm(M, T).cdf).pvalue > 0.001
    assert stats.kstest(v, "norm").pvalue < 1e-9  # so that p(v) would be noticed


class Scripted(Categorical):
    """A Categorical that draws what the script says."""

    script: tuple[int, ...] = ()

    def sample(self, sample_shape):
        assert tuple(sample_shape) == (len(self.script),)
        return torch.tensor(self.script)


def expectation(n, baseline, monkeypatch):
    """Of each of n estimates, shape (n, 3), over all n-tuples of v; and the gradient of C."""
    theta, phi, p_u = THETA_TABLE[:3], PHI_TABLE[:3], P_U[:3]
    problem = table_problem(lambda theta: Scripted(logits=theta), [*P_V[:2], 0.5], p_u)
    q, _, gradient = table_by_hand(theta, phi, p_u)
    total = np.zeros((n, 3))
    for script in itertools.product(range(3), repeat=n):
        monkeypatch.setattr(Scripted, "script", script)
        each = score_function(problem, tensor(theta), tensor(phi).flatten(), n, seeded(0), baseline).each
        total += math.prod(q[v] for v in script) * each.numpy()
    return total, gradient


@pytest.mark.parametrize("n", [2, 3, 4])
def test_the_leave_one_out_baseline_leaves_its_own_sample_out(n, monkeypatch):
    """With it the expectation over all n-tuples would be (n - 1)/n times the gradient."""
    got, gradient = expectation(n, "leave_one_out", monkeypatch)
    np.testing.assert_allclose(got, np.tile(gradient, (n, 1)), atol=1e-14)
    assert np.abs(gradient / n).max() > 1e-3


@pytest.mark.parametrize("n", [1, 2])
def test_without_a_baseline_the_expectation_is_exact_even_for_one_sample(n, monkeypatch):
    got, gradient = expectation(n, None, monkeypatch)
    np.testing.assert_allclose(got, np.tile(gradient, (n, 1)), atol=1e-14)


def test_the_baseline_removes_a_constant_from_c_and_its_noise():
    """The scale of q(u|v) shifts c by the same amount at every v."""
    problem, theta, phi = arguments("gaussian")
    wide = phi + tensor([0.0, 0.0, 3.0])
    for baseline, same in (("leave_one_out", True), (None, False)):
        near, far = (score_function(problem, theta, f, 500, seeded(5), baseline) for f in (phi, wide))
        assert torch.allclose(near.each, far.each, atol=1e-10) == same
    assert signal_to_noise(far) < 0.5 * signal_to_noise(near)


def test_a_v_of_several_dimensions_is_estimated_without_bias():
    m, w = [0.5, -0.8], [0.4, 0.7]
    problem = KLProblem(
        q_v=lambda theta: Independent(Normal(theta, 0.6), 1),
        q_u_given_v=lambda phi: lambda v: Normal(v @ phi, 0.5),
        p_v=Independent(Normal(torch.zeros(2).double(), 1.0), 1),
        p_u_given_v=lambda v: Normal(F * v[:, 0], math.sqrt(BETA)),
    )
    delta = np.array(w) - [F, 0]
    want = tensor(delta * (delta @ m) / BETA)
    for estimator in (score_function, pathwise):
        got = estimator(problem, tensor(m), tensor(w), 20_000, seeded(6))
        assert bias_t_test(got, want).p_value > 0.001
        assert bias_t_test(got, 1.2 * want).p_value < 0.001


@every_case
def test_estimates_come_from_the_generator_and_leave_the_global_one_alone(case):
    kind, estimator = CASES[case]
    generator, results = seeded(7), []
    for seed in (0, 1):
        before = torch.manual_seed(seed).get_state()
        results.append(estimator(*arguments(kind), samples=50, generator=seeded(7)).each)
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(*results)
    first, second = (estimator(*arguments(kind), samples=50, generator=generator).each for _ in range(2))
    assert torch.equal(first, results[0])
    assert not torch.equal(first, second)


@every_case
def test_estimates_carry_no_graph_and_leave_the_parameters_alone(case):
    kind, estimator = CASES[case]
    problem, theta, phi = arguments(kind)
    assert not estimator(
        problem, theta.requires_grad_(), phi.requires_grad_(), samples=5, generator=seeded(8)
    ).each.requires_grad
    assert [theta.grad, phi.grad] == [None, None]


def test_pathwise_refuses_a_discrete_v_and_names_the_way_out():
    with pytest.raises(ValueError, match=r"q_v: expected a distribution with rsample, got Categorical.*score_function"):
        pathwise(*arguments("table"), 10, seeded(0))


def test_a_c_without_a_closed_form_is_refused():
    problem = KLProblem(
        gaussian_problem().q_v, lambda phi: lambda v: LogisticNormal(v.unsqueeze(-1), 1.0),
        Normal(0.0, 1.0), lambda v: Dirichlet(torch.ones(len(v), 2)),
    )  # fmt: skip
    for estimator in (score_function, pathwise):
        with pytest.raises(ValueError, match="KL of LogisticNormal from Dirichlet is no closed form"):
            estimator(problem, tensor(THETA), tensor(PHI), 10, seeded(0))


def test_an_unknown_baseline_and_one_of_no_other_samples_are_refused():
    for baseline in ("mean", "", True):
        with pytest.raises(ValueError, match=r"^baseline: expected None or 'leave_one_out', got"):
            score_function(*arguments("table"), 10, seeded(0), baseline)
    with pytest.raises(ValueError, match=r"^samples: expected at least 2 with a leave-one-out baseline, got 1"):
        score_function(*arguments("table"), 1, seeded(0), "leave_one_out")


@every_case
def test_parameters_that_are_not_flat_and_counts_below_one_are_refused_by_name(case):
    kind, estimator = CASES[case]
    problem, theta, phi = arguments(kind)
    with pytest.raises(ValueError, match=r"^theta: expected a flat tensor"):
        estimator(problem, theta.reshape(-1, 1), phi, samples=5, generator=seeded(0))
    with pytest.raises(ValueError, match=r"^phi: expected a flat tensor"):
        estimator(problem, theta, phi.reshape(1, -1), samples=5, generator=seeded(0))
    with pytest.raises(ValueError, match=r"^samples: expected a whole number"):
        estimator(problem, theta, phi, samples=0, generator=seeded(0))


def test_the_t_test_is_scipys_for_each_coordinate_and_bonferronis_for_all():
    each, want = np.random.default_rng(0).normal(0.3, [1.0, 2.0, 0.5], (40, 3)), np.array([0.3, 0.0, 0.1])
    got, scipys = bias_t_test(Estimate(tensor(each)), tensor(want)), stats.ttest_1samp(each, want)
    np.testing.assert_allclose(got.t, scipys.statistic, rtol=1e-12)
    assert got.p_value == pytest.approx(3 * scipys.pvalue.min(), rel=1e-9)
    assert bias_t_test(Estimate(tensor(each)), tensor(each.mean(0))).p_value == 1


@pytest.mark.parametrize("size", [0.1, 1e6])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_an_estimator_without_noise_is_right_to_rounding_or_biased(size, dtype):
    want, eps = torch.full((2,), size, dtype=dtype), torch.finfo(dtype).eps
    constant = Estimate(want.expand(10, 2))
    assert bias_t_test(constant, want * (1 + eps)).p_value == 1
    assert bias_t_test(constant, want * (1 + 1e6 * eps)).p_value < 1e-6


def test_a_t_test_that_cannot_tell_does_not_say_unbiased():
    with pytest.raises(ValueError, match=r"^estimate: expected at least 2 samples, got 1"):
        bias_t_test(Estimate(tensor([[0.1, 0.2]])), tensor([0.1, 0.2]))
    with pytest.raises(ValueError, match=r"^exact: expected shape \(2,\), got \(1,\)"):
        bias_t_test(Estimate(tensor([[0.1, 0.2], [0.3, 0.4]])), tensor([0.1]))
    assert math.isnan(bias_t_test(Estimate(tensor([[0.1, math.nan], [0.2, 0.3]])), tensor([0.1, 0.2])).p_value)


def test_the_standard_error_and_the_signal_to_noise_ratio_are_those_of_one_sample():
    each = np.random.default_rng(1).normal(0.5, [1.0, 2.0], (30, 2))
    mean, variance = each.sum(0) / 30, ((each - each.mean(0)) ** 2).sum(0) / 29
    got = Estimate(tensor(each))
    np.testing.assert_allclose(got.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(got.standard_error, np.sqrt(variance / 30), rtol=1e-12)
    assert signal_to_noise(got) == pytest.approx(math.sqrt((mean**2).sum() / variance.sum()), rel=1e-12)
