"""Tables with zeros, supports that move, draws that torch differentiates once, and arguments of every wrong kind."""

import itertools
import math
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import gaussian_problem, tensor
from scipy import stats
from torch import distributions as D  # noqa: N812

from condkl._derivatives import differentiable_draw
from condkl.dynamics import fisher, natural_gradient
from condkl.gradients import (
    BiasTest,
    Estimate,
    Field,
    KLProblem,
    TermGradients,
    bias_t_test,
    full_gradient,
    interpolated_gradient,
    pathwise,
    score_function,
    signal_to_noise,
)

INF = math.inf
AFFINE, SIGMOID = D.AffineTransform, D.SigmoidTransform()
CDF = D.transforms.CumulativeDistributionTransform(D.Normal(0.0, 1.0))
KINDS = {  # of u: from logits of shape (n, m) to q(u|v), and the KL of each row in numpy
    "table": lambda logits: D.Categorical(logits=logits),
    "one-hot": lambda logits: D.OneHotCategorical(logits=logits),
    "bits": lambda logits: D.Independent(D.Bernoulli(logits=logits), 1),
}


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def log_masses(logits, kind):
    """Of each outcome of each row, by numpy: shape (k, m), or (k, m, 2) for bits."""
    logits = np.stack([logits, np.zeros_like(logits)], -1) if kind == "bits" else logits
    logits = np.where(logits == INF, 1e3, logits)
    top = logits.max(-1, keepdims=True)
    return logits - top - np.log(np.exp(logits - top).sum(-1, keepdims=True))


def xlogy(q, ratio):
    return q * np.where(q > 0, ratio, 0)


def by_hand(theta, phi, p_v, p_u, kind):
    """The full gradient of tables: q (f - mean f), with f = log(q/p) + c, and for phi q(v) times the like of u."""
    log_q = log_masses(theta, "table")
    q = np.exp(log_q)
    log_r, log_s = log_masses(phi, kind), log_masses(p_u, kind)
    r, ratio = np.exp(log_r), log_r - np.where(log_r > -INF, log_s, 0)
    mean = xlogy(r, ratio).sum(-1, keepdims=True)
    c = mean.reshape(len(q), -1).sum(-1)
    on_phi = xlogy(r, ratio - mean)
    on_phi = on_phi[..., 0] if kind == "bits" else on_phi
    f = log_q - np.log(p_v) + c
    return xlogy(q, f - xlogy(q, f).sum()), (xlogy(q, np.ones_like(q))[:, None] * on_phi).ravel()


@settings(max_examples=25)
@given(st.sampled_from(sorted(KINDS)), st.sampled_from([torch.float32, torch.float64]), st.integers(0, 10**6))
def test_the_gradient_is_finite_and_right_wherever_the_kl_is_finite(kind, dtype, seed):
    """Zeros in q alone, and in p where q has them too."""
    rng = np.random.default_rng(seed)
    k, m = rng.integers(1, 4, size=2)
    theta, phi, p_u = rng.normal(size=k), rng.normal(size=(k, m)), rng.normal(size=(k, m))
    p_v = rng.dirichlet(np.ones(k))
    none, none_u = rng.random(k) < 0.4, rng.random((k, m)) < 0.4
    none[0] = none_u[:, 0] = False
    theta[none], phi[none_u] = -INF, -INF
    p_u[none_u & (rng.random((k, m)) < 0.5)] = -INF
    theta, phi, p_v, p_u = (torch.tensor(x, dtype=dtype) for x in (theta, phi, p_v, p_u))
    problem = KLProblem(
        lambda theta: D.Categorical(logits=theta),
        lambda phi: lambda v: KINDS[kind](phi.reshape(k, m)[v]),
        D.Categorical(p_v),
        lambda v: KINDS[kind](p_u[v]),
    )
    got = full_gradient(problem, theta, phi.flatten())
    want = by_hand(*(x.double().numpy() for x in (theta, phi, p_v / p_v.sum(), p_u)), kind)
    for one, other in zip((got.theta, got.phi), want, strict=True):
        assert one.dtype == dtype
        np.testing.assert_allclose(one, other, atol=100 * torch.finfo(dtype).eps, rtol=100 * torch.finfo(dtype).eps)
    step = natural_gradient(lambda *at: full_gradient(problem, *at), problem, ["theta", "phi"])(theta, phi.flatten())
    assert bool(step.theta.isfinite().all() & step.phi.isfinite().all())


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_where_p_lacks_what_q_has_is_finite_and_rises_towards_it(kind):
    phi, p_u = tensor([[0.1, 0.4], [0.2, 0.5]]), tensor([[0.3, 0.1], [0.0, -INF]])
    problem = KLProblem(
        lambda theta: D.Categorical(logits=theta),
        lambda phi: lambda v: KINDS[kind](phi.reshape(2, 2)[v]),
        D.Categorical(tensor([0.5, 0.5])),
        lambda v: KINDS[kind](p_u[v]),
    )
    got = full_gradient(problem, tensor([0.3, -0.2]), phi.flatten())
    assert bool(got.theta.isfinite().all() & got.phi.isfinite().all())
    assert min(got.theta[1], got.phi[3]) > 100


def test_a_table_with_one_value_has_no_gradient():
    problem = KLProblem(
        lambda theta: D.Categorical(logits=theta),
        lambda phi: lambda v: D.Categorical(logits=phi.expand(len(v), 2)),
        D.Categorical(tensor([0.9, 0.1])),
        lambda v: D.Categorical(tensor([[0.9, 0.1]]).expand(len(v), 2)),
    )
    got = full_gradient(problem, tensor([0.0, -INF]), tensor([0.0, -INF]))
    assert [got.theta.tolist(), got.phi.tolist()] == [[0, 0], [0, 0]]


def square_problem(q_v):
    """c(v) = |v|²/2, so that C is half the sum of the second moments."""
    return KLProblem(
        q_v,
        lambda phi: lambda v: D.Independent(D.Normal(v.reshape(len(v), -1), 1.0), 1),
        D.Normal(0.0, 1.0),
        lambda v: D.Independent(D.Normal(torch.zeros_like(v.reshape(len(v), -1)), 1.0), 1),
    )


def shifted(base, *transforms):
    return lambda x: D.TransformedDistribution(base(x), [t(x) for t in transforms])


def exponential(x):
    return D.Exponential(torch.ones_like(x[0]))


MOVES = {  # q(v), theta, and ∂C/∂theta by hand where it is simple
    "uniform, shifted": (lambda x: D.Uniform(x[0] - 1, x[0] + 1), [0.7], [0.7]),
    "uniform, stretched": (lambda x: D.Uniform(0 * x[0], x[0]), [2.0], [2 / 3]),
    "uniform, its other end": (lambda x: D.Uniform(x[0], 1 + 0 * x[0]), [-1.0], [-1 / 6]),
    "uniform, a box": (lambda x: D.Independent(D.Uniform(x - 1, x + 1), 1), [0.7, -0.2], [0.7, -0.2]),
    "pareto": (lambda x: D.Pareto(x[0], x[1]), [1.0, 6.0], [1.5, -0.0625]),  # of αs²/(2(α - 2))
    "exponential, shifted": (shifted(exponential, lambda x: AFFINE(x[0], 1.0)), [0.5], [1.5]),
    "exponential, shifted in two steps": (
        shifted(exponential, lambda x: D.ComposeTransform([AFFINE(0.0, 2.0), AFFINE(x[0], 1.0)])), [0.5], [2.5],
    ),
    "exponential, mirrored and shifted": (
        shifted(lambda x: D.Independent(D.Exponential(torch.ones(2).to(x)), 1), lambda x: AFFINE(x, -1.0)),
        [0.5, 3.0], [-0.5, 2.0],
    ),
    "uniform, from a normal": (
        shifted(lambda x: D.Normal(0 * x[0], 1.0), lambda x: D.ComposeTransform([CDF, AFFINE(x[0], 1.0)])),
        [0.5], [1.0],
    ),
    "logit-uniform": (shifted(lambda x: D.Uniform(x[0], 1 + 0 * x[0]), lambda x: SIGMOID), [-1.0], None),
    "mixture": (
        lambda x: D.MixtureSameFamily(D.Categorical(tensor([0.5, 0.5])), D.Uniform(x - 1, x + 1)), [0.0, 5.0], None,
    ),
    "binomial": (lambda x: D.Binomial(x[0], tensor(0.5)), [3.0], None),
    "generalised pareto": (lambda x: D.GeneralizedPareto(x[0], x[1], 0.1), [1.0, 2.0], None),
    "generalised pareto, bounded": (lambda x: D.GeneralizedPareto(0 * x[0], x[0], -1.0), [1.0], [1 / 3]),
}  # fmt: skip
STAYS = {
    "beta, stretched": (shifted(lambda x: D.Beta(tensor(2.0), tensor(3.0)), lambda x: AFFINE(0.0, x[0])), [2.0]),
    "exponential, stretched": (shifted(exponential, lambda x: AFFINE(0.0, x[0])), [0.5]),
    "gamma": (lambda x: D.Gamma(x[0], x[1]), [3.0, 2.0]),
    "logistic": (
        shifted(lambda x: D.Uniform(0 * x[0], 1 + 0 * x[0]), lambda x: SIGMOID.inv, lambda x: AFFINE(x[0], x[1])),
        [0.5, 0.7],
    ),
    "log-normal, shifted": (shifted(lambda x: D.LogNormal(0 * x[0], 0.5), lambda x: AFFINE(x[0], 1.0)), [0.5]),
    "logit-normal": (
        shifted(lambda x: D.Normal(0 * x[0], 1.0), lambda x: AFFINE(x[0], x[1]), lambda x: SIGMOID), [0.5, 0.7],
    ),
    "piled up at fixed ends": (
        shifted(lambda x: D.Normal(0 * x[0], 1.0), lambda x: AFFINE(x[0], x[1]), lambda x: CDF), [0.3, 1.2],
    ),
    "mixture of normals": (
        lambda x: D.MixtureSameFamily(D.Categorical(logits=x), D.Normal(x, torch.ones_like(x))), [0.3, 0.7],
    ),
    "poisson": (lambda x: D.Poisson(x[0]), [3.0]),
    "binomial, its probability": (lambda x: D.Binomial(4, x[0]), [0.3]),
}  # fmt: skip


def at_point(case):
    # Torch computes the densities of a generalised Pareto in float32 alone.
    dtype = torch.float32 if "generalised" in case else torch.float64
    return torch.tensor((MOVES | STAYS)[case][1], dtype=dtype)


@pytest.mark.parametrize("case", MOVES)
def test_a_score_function_is_refused_where_theta_moves_an_edge_of_the_support(case):
    q_v, *_ = MOVES[case]
    cure = "Use pathwise" if q_v(at_point(case)).has_rsample else "Choose parameters"
    with pytest.raises(ValueError, match=rf"^problem.q_v: expected a support that theta does not move.*{cure}"):
        score_function(square_problem(q_v), at_point(case), torch.ones(1), 10, seeded(0))


@pytest.mark.parametrize("case", [case for case, (_, _, exact) in MOVES.items() if exact])
def test_the_pathwise_estimate_is_right_where_the_support_moves(case):
    q_v, _, exact = MOVES[case]
    got = pathwise(square_problem(q_v), at_point(case), torch.ones(1), 20_000, seeded(1))
    assert bias_t_test(got, torch.tensor(exact)).p_value > 1e-3


@pytest.mark.parametrize("case", STAYS)
def test_a_support_that_stays_or_ends_without_density_is_not_refused(case):
    q_v, theta = STAYS[case]
    got = score_function(square_problem(q_v), at_point(case), torch.ones(1), 20_000, seeded(2))
    if q_v(at_point(case)).has_rsample:
        other = pathwise(square_problem(q_v), at_point(case), torch.ones(1), 20_000, seeded(3))
        error = (got.standard_error.square() + other.standard_error.square()).sqrt()
        assert bool(((got.mean - other.mean).abs() < 4.5 * error).all())
    assert got.each.shape == (20_000, len(theta))


def test_a_support_that_is_not_declared_is_left_alone():
    class Undeclared(D.Normal):
        @property
        def support(self):
            raise NotImplementedError

    problem = square_problem(lambda x: Undeclared(x[0], 1.0, validate_args=False))
    got = score_function(problem, tensor([0.5]), torch.ones(1), 5000, seeded(0))
    assert bias_t_test(got, tensor([0.5])).p_value > 1e-3


DRAWN = {  # whose draws torch has no forward mode for, or differentiates once; C = E|v|²/2
    "gamma": (lambda x: D.Gamma(x[0], x[1]), [3.0, 2.0], lambda a, b: a * (a + 1) / b**2 / 2),
    "beta": (lambda x: D.Beta(x[0], x[1]), [0.7, 2.0], lambda a, b: a * (a + 1) / ((a + b) * (a + b + 1)) / 2),
    "beta, few": (lambda x: D.Beta(x[0], x[1]), [0.02, 0.05], lambda a, b: a * (a + 1) / ((a + b) * (a + b + 1)) / 2),
    "dirichlet": (
        D.Dirichlet, [0.7, 2.0, 1.5],
        lambda *a: sum(x * (x + 1) for x in a) / (sum(a) * (sum(a) + 1)) / 2,
    ),
    "betas, stretched": (
        lambda x: D.TransformedDistribution(
            D.Independent(D.Beta(x[:2], torch.ones(2).to(x)), 1), [AFFINE(torch.zeros(2), 3.0)]
        ),
        [0.7, 2.0], lambda *a: sum(4.5 * x / (x + 2) for x in a),
    ),
    "chi2": (lambda x: D.Chi2(x[0]), [3.0], lambda k: k * (k + 2) / 2),
    "inverse gamma": (lambda x: D.InverseGamma(x[0], x[1]), [6.0, 2.0], lambda a, b: b * b / ((a - 1) * (a - 2)) / 2),
    "student": (lambda x: D.StudentT(x[0], x[1]), [9.0, 0.5], lambda n, m: (m * m + n / (n - 2)) / 2),
}  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", DRAWN)
def test_the_pathwise_estimate_of_a_gamma_and_its_kin_has_the_slope_of_the_closed_form(case, dtype):
    q_v, theta, C = DRAWN[case]
    h = 1e-30
    exact = [np.imag(C(*(x + 1j * h * (i == j) for j, x in enumerate(theta)))) / h for i in range(len(theta))]
    got = pathwise(square_problem(q_v), torch.tensor(theta, dtype=dtype), torch.ones(1), 20_000, seeded(4))
    assert bias_t_test(got, tensor(exact)).p_value > 1e-3
    assert bias_t_test(got, 1.3 * tensor(exact)).p_value < 1e-3


def test_draws_of_a_dirichlet_whose_gammas_underflow_lie_at_the_corners():
    """At α = (.001, .002) half of the Gammas are below 1e-308, and a thousandth of the Betas between the ends."""
    torch.manual_seed(0)
    v = differentiable_draw(D.Beta(tensor(0.001), tensor(0.002)), torch.Size([20_000]))
    want = stats.beta(0.001, 0.002).cdf([1e-9, 0.01, 0.5, 0.99])
    got = [(v <= x).double().mean().item() for x in (1e-9, 0.01, 0.5, 0.99)]
    np.testing.assert_allclose(got, want, atol=4.5 * math.sqrt(0.25 / 20_000))


def test_draws_that_torch_cannot_differentiate_one_by_one_are_refused_and_not_lost():
    class Half(D.Normal):
        """Moves by a sum of a normal and a Beta's own draw, of whose derivatives torch has only the total."""

        def rsample(self, sample_shape=torch.Size()):  # noqa: B008
            return super().rsample(sample_shape) + D.Beta(self.scale, self.scale).rsample(sample_shape)

    def refused(name):
        message = rf"^problem.q_v: expected draws that torch can differentiate.*got {name} .*score_function"
        return pytest.raises(ValueError, match=message)

    with refused("Half"):
        pathwise(square_problem(lambda x: Half(x[0], x[0])), tensor([3.0]), torch.ones(1), 10, seeded(0))
    wishart = square_problem(lambda x: D.Wishart(x[0], torch.eye(2).double()))
    # torch's own draw changes what it has to remember
    with pytest.warns(UserWarning, match="Singular"), refused("Wishart"):
        pathwise(wishart, tensor([3.0]), torch.ones(1), 10, seeded(0))


def test_a_c_that_theta_does_not_reach_has_zeros():
    problem = square_problem(lambda x: D.Normal(tensor(0.0), 1.0))
    assert not pathwise(problem, tensor([1.0, 2.0]), torch.ones(1), 5, seeded(0)).each.any()
    assert score_function(problem, tensor([1.0]), torch.ones(1), 5, seeded(0)).each.tolist() == [[0.0]] * 5


THETA, PHI = tensor([0.1, 0.2]), tensor([0.3, 0.4, 0.5])
CALLS = {
    "full": full_gradient,
    "score": lambda problem, theta, phi: score_function(problem, theta, phi, 5, seeded(0)),
    "pathwise": lambda problem, theta, phi: pathwise(problem, theta, phi, 5, seeded(0)),
    "fisher": fisher,
}
WRONG = {
    "list": ([0.1, 0.2], TypeError, "expected a flat tensor of floats, got list"),
    "numpy": (np.array([0.1, 0.2]), TypeError, "expected a flat tensor of floats, got ndarray"),
    "integers": (torch.tensor([1, 2]), ValueError, "expected a flat tensor of floats.*int64"),
    "matrix": (tensor([[0.1, 0.2]]), ValueError, "expected a flat tensor of floats"),
    "16 bits": (torch.tensor([0.1, 0.2]).half(), ValueError, "expected float32 or float64, got torch.float16"),
    "NaN": (tensor([math.nan, 0.2]), ValueError, "expected numbers, got NaN"),
    "infinity": (tensor([INF, 0.2, 0.3]), ValueError, "expected finite numbers"),
}


@pytest.mark.parametrize(("call", "which", "bad"), list(itertools.product(CALLS, ("theta", "phi"), WRONG)))
def test_parameters_of_a_wrong_kind_are_refused_by_name(call, which, bad):
    value, error, message = WRONG[bad]
    with pytest.raises(error, match=rf"^{which}: {message}"):
        CALLS[call](gaussian_problem(), **{"theta": THETA, "phi": PHI} | {which: value})


@pytest.mark.parametrize("call", CALLS)
def test_a_problem_that_gives_no_distribution_is_refused(call):
    good = gaussian_problem()
    rest = good.q_u_given_v, good.p_v, good.p_u_given_v
    with pytest.raises(TypeError, match=r"^problem.q_v: expected it to return a torch distribution, got Tensor"):
        CALLS[call](KLProblem(lambda theta: theta, *rest), THETA, PHI)
    with pytest.raises(ValueError, match=r"^problem.q_v: expected a distribution with batch shape \(\), got \(2,\)"):
        CALLS[call](KLProblem(lambda theta: D.Normal(theta, 1.0), *rest), THETA, PHI)
    for wrong in (D.Normal(0.0, 1.0), 5, Called(0.0, 1.0)):
        with pytest.raises(TypeError, match=r"^problem.q_u_given_v: expected it to return a function of v"):
            CALLS[call](KLProblem(good.q_v, lambda phi: wrong, *rest[1:]), THETA, PHI)  # noqa: B023


class Called(D.Normal):
    """Can be called, as Pyro's distributions can."""

    def __call__(self):
        return self.sample()


def test_a_problem_of_distributions_in_place_of_functions_is_refused():
    good, called = vars(gaussian_problem()), Called(0.0, 1.0)
    functions = [(name, wrong) for name in ("q_v", "q_u_given_v", "p_u_given_v") for wrong in (good["p_v"], 1, called)]
    for name, wrong in (*functions, ("p_v", good["q_v"])):
        with pytest.raises(TypeError, match=rf"^problem.{name}: expected a.*got {type(wrong).__name__}"):
            KLProblem(**good | {name: wrong})


def test_a_problem_and_what_was_found_cannot_be_changed_after_their_checks():
    x = torch.ones(2, 2)
    for one in (gaussian_problem(), Estimate(x), Field(x, x), TermGradients(x, x, x), BiasTest(x, 1.0)):
        for name in vars(one):
            with pytest.raises(FrozenInstanceError):
                setattr(one, name, None)


@pytest.mark.parametrize("generator", [None, 0, np.random.default_rng(0)])
def test_what_is_no_generator_is_refused(generator):
    for estimator in (score_function, pathwise):
        with pytest.raises(TypeError, match=r"^generator: expected a torch.Generator, got .*manual_seed"):
            estimator(gaussian_problem(), THETA, PHI, 5, generator)


def test_numpys_numbers_are_numbers():
    problem = gaussian_problem()
    assert score_function(problem, THETA, PHI, np.int64(7), seeded(0)).each.shape == (7, 2)
    half = interpolated_gradient(problem, THETA, PHI, np.float32(0.5))
    assert torch.equal(half.theta, interpolated_gradient(problem, THETA, PHI, 0.5).theta)


def test_a_test_and_a_ratio_take_numbers_and_refuse_what_has_no_spread():
    estimate = Estimate(tensor([[1.0, 2.0], [3.0, 5.0]]))
    assert bias_t_test(estimate, [2.0, 3.5]).p_value == bias_t_test(estimate, np.array([2.0, 3.5])).p_value == 1
    assert bias_t_test(Estimate(tensor([[1.0], [3.0]])), torch.tensor([2])).p_value == 1
    with pytest.raises(ValueError, match=r"^exact: expected finite"):
        bias_t_test(estimate, [math.nan, 1.0])
    for f in (signal_to_noise, lambda e: bias_t_test(e, [0.0, 0.0])):
        with pytest.raises(ValueError, match=r"^estimate: expected at least 2 samples, got 1"):
            f(Estimate(tensor([[1.0, 2.0]])))
        with pytest.raises(TypeError, match=r"^estimate: expected an Estimate, got Tensor"):
            f(tensor([[1.0, 2.0], [3.0, 4.0]]))
    for wrong in (tensor([1.0, 2.0]), [[1.0]], torch.ones(2, 2).long()):
        with pytest.raises(ValueError, match=r"^each: expected a tensor of floats, shape \(n, dim_theta\)"):
            Estimate(wrong)
    assert signal_to_noise(Estimate(torch.ones(3, 2))) == INF
    assert signal_to_noise(Estimate(torch.zeros(3, 2))) == 0
