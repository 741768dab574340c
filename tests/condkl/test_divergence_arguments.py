"""How `kl_chain` samples, and what it refuses."""

import math
import warnings

import pytest
import torch
from torch.distributions import (
    Binomial,
    Categorical,
    Dirichlet,
    Gamma,
    HalfNormal,
    Independent,
    LogisticNormal,
    LogNormal,
    MultivariateNormal,
    Normal,
    OneHotCategorical,
    StudentT,
    TransformedDistribution,
    constraints,
)
from torch.distributions.transforms import Transform

from condkl._kl.draws import tail_index
from condkl.divergence import kl_chain

Z = 4.5


def number(x):
    return torch.tensor(x, dtype=torch.float64)


STANDARD = Normal(number(0.0), number(1.0))
EVEN = Categorical(torch.full((3,), 1 / 3, dtype=torch.float64))


def wide(v):
    return Normal(v, 2.0)


def narrow(v):
    return Normal(1.5 * v, 0.8)


def table(k, n=3):
    return lambda v: Categorical(torch.full((n, k), 1 / k)[v])


WIDE, NARROW = (STANDARD, wide), (STANDARD, narrow)


def sampled(generator, samples=100, method="monte_carlo"):
    return kl_chain(NARROW, WIDE, method, samples, generator=generator)


@pytest.mark.parametrize("method", ["monte_carlo", "sobol"])
def test_the_same_generator_gives_the_same_samples_and_moves_on(method):
    generator = torch.Generator().manual_seed(1)
    first, second = sampled(generator, method=method), sampled(generator, method=method)
    again = sampled(torch.Generator().manual_seed(1), method=method)
    assert (first.total, first.standard_error) == (again.total, again.standard_error)
    assert first.total != second.total


@pytest.mark.parametrize("q_u", [narrow, lambda v: StudentT(5.0, v)])
@pytest.mark.parametrize("method", ["auto", "monte_carlo"])
def test_a_generator_leaves_the_global_randomness_alone(q_u, method):
    before = torch.random.get_rng_state()
    kl_chain((STANDARD, q_u), WIDE, method, 50, generator=torch.Generator().manual_seed(2))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_what_needs_no_samples_costs_no_global_randomness():
    before = torch.random.get_rng_state()
    kl_chain((Binomial(4, number(0.5)), wide), (Binomial(2, number(0.5)), wide), "exact")
    kl_chain((Gamma(number(0.1), number(1.0)),), (HalfNormal(number(1.0)),))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_without_a_generator_the_global_seed_decides():
    torch.manual_seed(3)
    first = sampled(None)
    torch.manual_seed(3)
    assert sampled(None).total == first.total
    assert sampled(None).total != first.total


class Undeclared(StudentT):
    """Says nothing of its support, as some distributions of other packages do, so that no integral can be taken."""

    @property
    def support(self):
        raise NotImplementedError


class Unset(StudentT):
    support = None


def heavy(v):
    return Undeclared(5.0, 0.9 * v)


def heavier(v):
    return Undeclared(3.0, v, 2.0)


@pytest.mark.parametrize("kind", [Undeclared, Unset])
def test_a_distribution_without_a_declared_support_is_trusted(kind):
    def total(q_u):
        p = STANDARD, lambda v: StudentT(3.0, v, 2.0)
        return kl_chain((STANDARD, q_u), p, "monte_carlo", 500, generator=torch.Generator().manual_seed(9))

    chain, exact = total(lambda v: kind(5.0, 0.9 * v)), total(lambda v: StudentT(5.0, 0.9 * v))
    assert chain.method[1].startswith("log ratio of samples")
    assert exact.method[1] == "integral over a line"
    assert abs(chain.total - exact.total) < Z * (chain.standard_error + exact.standard_error)


def rosenbrock(v):
    """A banana of u given v: two numbers, the second near the square of the first, as a map of normals."""
    return TransformedDistribution(Independent(Normal(v.unsqueeze(-1) * number([1.0, 0.5]), 0.6), 1), [Bend()])


class Bend(Transform):
    domain = codomain = constraints.real_vector
    bijective = True

    def _call(self, x):
        return torch.stack([x[..., 0], x[..., 1] + x[..., 0] ** 2], -1)

    def _inverse(self, y):
        return torch.stack([y[..., 0], y[..., 1] - y[..., 0] ** 2], -1)

    def log_abs_det_jacobian(self, x, y):
        return torch.zeros_like(x[..., 0])


# method, q of all blocks, p of all blocks, whether a closed form of u's KL is left out
NOISY = {
    "plain, closed form": ("monte_carlo", NARROW, WIDE),
    "plain, log ratio": ("monte_carlo", (STANDARD, heavy), (STANDARD, heavier)),
    "Sobol, closed form": ("sobol", NARROW, WIDE),
    "Sobol, log ratio": (
        "sobol", (STANDARD, rosenbrock),
        (STANDARD, lambda v: Independent(Normal(0 * v.unsqueeze(-1) + number([0.2, 1.0]), 1.5), 1)),
    ),
    "table, then Sobol": (
        "auto", (EVEN, lambda v: rosenbrock(v - 1.0)),
        (EVEN, lambda v: Independent(Normal(0 * v.unsqueeze(-1) + number([0.2, 1.0]), 1.5), 1)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", NOISY)
def test_the_standard_error_is_as_large_as_the_error_over_repeated_seeds(case):
    method, q, p = NOISY[case]
    chains = [
        kl_chain(q, p, method, 1000, generator=torch.Generator().manual_seed(seed)) for seed in range(150)
    ]  # fmt: skip
    if case == "plain, closed form":
        truth = kl_chain(q, p, "quadrature").total
    else:
        truth = kl_chain(q, p, method, 300_000, generator=torch.Generator().manual_seed(1000))
        assert truth.standard_error < chains[0].standard_error / 10
        truth = truth.total
    z = torch.stack([(chain.total - truth) / chain.standard_error for chain in chains])
    degrees = 63 if "Sobol" in chains[0].method[-1] + chains[0].method[0] else 1000  # of the groups' t distribution
    spread = math.sqrt(degrees / (degrees - 2))
    assert abs(z.mean()) < Z * spread / math.sqrt(len(z)) + 0.1
    assert abs(z.std() - spread) < Z * spread / math.sqrt(2 * len(z))


def test_samples_in_equal_groups_of_a_power_of_2_are_counted():
    chain = sampled(torch.Generator().manual_seed(4), 1000, "sobol")
    assert chain.method[0] == "closed form; mean over 64 times 8 Sobol points, gradient through the points"


def test_sobol_points_beat_plain_samples():
    plain = sampled(torch.Generator().manual_seed(4), 8192)
    assert sampled(torch.Generator().manual_seed(4), 8192, "sobol").standard_error < plain.standard_error / 3


def test_more_numbers_than_the_sequence_has_are_drawn_plainly():
    v = Independent(Normal(torch.zeros(21_202), 1.0), 1)
    chain = kl_chain((v, lambda v: Normal(v.mean(-1), 1.0)), (v, lambda v: Normal(0 * v[:, 0], 1.0)), "sobol", 64)
    assert "through the draws" in chain.method[0]


class Shift(Transform):
    """Moves the second number by what a network in float32 makes of the first."""

    domain = codomain = constraints.real_vector
    bijective = True

    def __init__(self):
        super().__init__()
        self.net = torch.nn.Linear(1, 1)

    def _call(self, x):
        return torch.cat([x[..., :1], x[..., 1:] + self.net(x[..., :1])], -1)

    def _inverse(self, y):
        return torch.cat([y[..., :1], y[..., 1:] - self.net(y[..., :1])], -1)

    def log_abs_det_jacobian(self, x, y):
        return torch.zeros_like(x[..., 0])


def test_a_map_made_of_a_network_keeps_the_dtype_of_its_weights():
    torch.manual_seed(0)
    base, shift = Independent(Normal(torch.zeros(2), 1.0), 1), Shift()
    flow = TransformedDistribution(base, [shift])
    chain = kl_chain((flow,), (base,), samples=5000, generator=torch.Generator().manual_seed(8))
    want = (shift.net.weight.item() ** 2 + shift.net.bias.item() ** 2) / 2
    assert abs(chain.total.item() - want) < Z * chain.standard_error


def test_samples_with_heavy_tails_warn():
    q, p = Undeclared(number(2.0)), STANDARD  # their KL is infinite, as E u² is
    with pytest.warns(UserWarning, match=r"heavy tail \(Pareto index .*can be trusted"):
        kl_chain((q,), (p,), generator=torch.Generator().manual_seed(0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kl_chain((Undeclared(number(6.0)),), (p,), generator=torch.Generator().manual_seed(0))


def test_the_tail_index_of_pareto_variables_is_found():
    for k in (0.3, 0.7, 1.0, 1.5):
        draws = torch.rand(20_000, 50, generator=torch.Generator().manual_seed(5), dtype=torch.float64) ** -k
        index, error = tail_index(draws)
        assert abs(index.mean() - k) < 0.05 + 5 * index.std() / math.sqrt(50)
        assert abs(index.std() / error.mean() - 1) < 5 / math.sqrt(2 * 50)


def test_draws_that_underflow_warn():
    tiny = Dirichlet(torch.full((3,), 0.01))
    with pytest.warns(UserWarning, match=r"draws of q\[0\] \(Dirichlet\) are 0 in float64"):
        kl_chain((tiny,), (LogisticNormal(torch.zeros(2), torch.ones(2)),), generator=torch.Generator().manual_seed(6))
    small = LogNormal(-90.0, 20.0)
    with pytest.warns(UserWarning, match=r"draws of q\[0\] \(LogNormal\) are 0 in float32.*Use float64"):
        kl_chain((small, lambda v: Normal(v, 1.0)), (small, lambda v: Normal(2 * v, 1.0)), "sobol", 64)
    both = Independent(small.expand((2,)), 1)
    with pytest.warns(UserWarning, match=r"draws of q\[0\] \(Independent\) are 0 in float32.*Use float64"):
        kl_chain((both, lambda v: Normal(v[:, 0], 1.0)), (both, lambda v: Normal(2 * v[:, 0], 1.0)), "sobol", 64)


def test_an_integral_that_cannot_be_resolved_warns():
    q, p = LogNormal(number(-90.0), number(20.0)), Gamma(number(0.1), number(1.0))  # E v is 1e48
    with pytest.warns(UserWarning, match="KL of LogNormal from Gamma is an integral over a number that cannot"):
        kl_chain((q,), (p,))


def test_a_term_that_is_no_number_is_refused():
    broken = lambda v: Normal(v * math.nan, 1.0, validate_args=False)  # noqa: E731
    with pytest.raises(ValueError, match="a term is no number"):
        kl_chain((EVEN, broken), (EVEN, lambda v: Normal(0.0 * v, 1.0)))


class Called(Normal):
    """Can be called, as Pyro's distributions can."""

    def __call__(self):
        return self.sample()


BATCHED = Normal(torch.zeros(2), 1.0)
PLANE = MultivariateNormal(torch.zeros(2), torch.eye(2))
TWO, THREE = (EVEN, table(2)), (EVEN, table(3))
NO_FORM = (STANDARD, heavy), WIDE


def rows(v):
    return Normal(torch.zeros(len(v), 3), 1.0)


# name: arguments, options, error, message
REFUSED = {
    "not in blocks": ((STANDARD, wide), {}, TypeError, r"q: expected a tuple of blocks from the top.*got Normal"),
    "no blocks": (((), ()), {}, TypeError, "q: expected a tuple of blocks"),
    "fewer blocks": ((NARROW, (STANDARD,)), {}, ValueError, "p: expected 2 blocks as in q, got 1"),
    "q(v) a function": (((wide, wide), WIDE), {}, TypeError, r"q\[0\]: expected a torch distribution, got function"),
    "q(u|v) no function": (((STANDARD, STANDARD), WIDE), {}, TypeError, r"q\[1\]: expected a function.*got Normal"),
    "q(u|v) can be called": (
        ((STANDARD, Called(0.0, 1.0)), WIDE), {}, TypeError, r"q\[1\]: expected a function.*got Called",
    ),
    "p(u|v) no function": ((NARROW, (STANDARD, 3)), {}, TypeError, r"p\[1\]: expected a function.*got int"),
    "tensor": ((NARROW, (STANDARD, lambda v: v)), {}, TypeError, r"p\[1\]: expected it to.*got Tensor"),
    "no batch": (((STANDARD, lambda v: STANDARD), WIDE), {}, ValueError, r"q\[1\]: .*batch shape \(32,\).*expand"),
    "batch lost": (
        ((BATCHED, lambda v: Normal(v[:, 0], 1.0)), (BATCHED, wide)), {}, ValueError,
        r"q\[1\]: for draws of shape \(32, 2\) expected.*batch shape \(32, 2\), got batch \(32,\)",
    ),
    "no Independent": ((NARROW, (STANDARD, rows)), {}, ValueError, r"p\[1\]: .*got batch \(32, 3\).*Independent"),
    "other event of u": (
        (NARROW, (STANDARD, lambda v: Independent(rows(v), 1))), {}, ValueError,
        r"p\[1\]: expected the event shape \(\) of q\[1\], got \(3,\)",
    ),
    "other event of v": ((NARROW, (PLANE, wide)), {}, ValueError, r"p\[0\]: expected the event shape \(\) of q\[0\]"),
    "other categories of v": (
        (TWO, (Categorical(torch.ones(4)), table(2))), {}, ValueError, r"p\[0\]: expected 3.*got 4\. Pad",
    ),
    "other categories of u": (
        (TWO, (EVEN, table(4))), {}, ValueError, r"p\[1\]: expected 2 categories as in q, got 4",
    ),
    "other one-hot width": (
        ((OneHotCategorical(torch.ones(3)),), (OneHotCategorical(torch.ones(4)),)), {}, ValueError,
        r"p\[0\]: expected the event shape \(3,\)",
    ),
    "unknown method": ((NARROW, WIDE), {"method": "magic"}, ValueError, "method: expected auto.*'magic'"),
    "one sample": ((NARROW, WIDE), {"samples": 1}, ValueError, "samples: expected at least 2, got 1"),
    "no samples": ((NARROW, WIDE), {"samples": 0}, ValueError, "samples: expected a whole number"),
    "no nodes": ((NARROW, WIDE), {"nodes": 0}, ValueError, "nodes: expected a whole number"),
    "no tolerance": ((NARROW, WIDE), {"tolerance": 0.0}, ValueError, "tolerance: expected a number above 0, got 0.0"),
    "exact normal": ((NARROW, WIDE), {"method": "exact"}, ValueError, r"'exact' needs a q\[0\] of few.*got Normal"),
    "table quadrature": ((TWO, TWO), {"method": "quadrature"}, ValueError, r"needs a Gaussian q\[0\].*got Categorical"),
    "quadrature in four dimensions": (
        [(MultivariateNormal(torch.zeros(4), torch.eye(4)), lambda v: Normal(v[:, 0], 1.0))] * 2,
        {"method": "quadrature"}, ValueError, r"at most three dimensions, got MultivariateNormal with event shape \(4",
    ),
    "half-normal quadrature": (
        ((HalfNormal(1.0), wide), (HalfNormal(1.0), wide)), {"method": "quadrature"}, ValueError,
        r"needs a Gaussian q\[0\].*got HalfNormal",
    ),
    "table Sobol": ((TWO, TWO), {"method": "sobol"}, ValueError, r"'sobol' needs a q\[0\] that is drawn.*'monte_"),
    "no closed form": (
        NO_FORM, {"method": "quadrature"}, ValueError, "'quadrature' is out of reach: the KL of Undeclared from Normal",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_call_that_cannot_be_meant_is_refused_by_name(case):
    args, kwargs, error, message = REFUSED[case]
    with pytest.raises(error, match=message):
        kl_chain(*args, **kwargs)
