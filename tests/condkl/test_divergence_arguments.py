"""How `kl_chain` samples, and what it refuses."""

import math

import pytest
import torch
from torch.distributions import (
    Binomial,
    Categorical,
    Independent,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    OneHotCategorical,
    StudentT,
)

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


def sampled(generator, samples=100):
    return kl_chain(STANDARD, narrow, STANDARD, wide, "monte_carlo", samples, generator=generator)


def test_the_same_generator_gives_the_same_samples_and_moves_on():
    generator = torch.Generator().manual_seed(1)
    first, second = sampled(generator), sampled(generator)
    again = sampled(torch.Generator().manual_seed(1))
    assert first == again
    assert first.total != second.total


@pytest.mark.parametrize("q_u", [narrow, lambda v: StudentT(5.0, v)])
def test_a_generator_leaves_the_global_randomness_alone(q_u):
    before = torch.random.get_rng_state()
    kl_chain(STANDARD, q_u, STANDARD, wide, "monte_carlo", 50, generator=torch.Generator().manual_seed(2))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_values_outside_the_support_of_p_cost_no_global_randomness():
    before = torch.random.get_rng_state()
    kl_chain(Binomial(4, number(0.5)), wide, Binomial(2, number(0.5)), wide, "exact")
    assert torch.equal(torch.random.get_rng_state(), before)


def test_without_a_generator_the_global_seed_decides():
    torch.manual_seed(3)
    first = sampled(None)
    torch.manual_seed(3)
    assert sampled(None) == first
    assert sampled(None) != first


def test_monte_carlo_values_carry_no_gradient():
    loc = number(0.3).requires_grad_()
    chain = kl_chain(Normal(loc, number(1.0)), narrow, STANDARD, wide, "monte_carlo", 10)
    assert not any(x.requires_grad for x in (chain.marginal, chain.conditional, chain.total, chain.standard_error))


def heavy(v):
    return StudentT(5.0, 0.9 * v)


def heavier(v):
    return StudentT(3.0, v, 2.0)


def log_ratio_truth():
    """The expected log ratio of `heavy` and `heavier` under a standard normal v, on a fine grid."""
    v, u = torch.linspace(-9, 9, 401).double(), torch.linspace(-300, 300, 30_001).double().unsqueeze(1)
    log_q, log_p = heavy(v).log_prob(u), heavier(v).log_prob(u)
    c = torch.trapezoid(log_q.exp() * (log_q - log_p), u, dim=0)
    return torch.trapezoid(STANDARD.log_prob(v).exp() * c, v)


class Undeclared(StudentT):
    """Says nothing of its support, as some distributions of other packages do."""

    @property
    def support(self):
        raise NotImplementedError


@pytest.mark.parametrize("kind", [Undeclared, type("Unset", (StudentT,), {"support": None})])
def test_a_distribution_without_a_declared_support_is_trusted(kind):
    chains = [
        kl_chain(STANDARD, heavy, STANDARD, lambda v, k=k: k(3.0, v, 2.0, validate_args=False), "monte_carlo", 50,
                 generator=torch.Generator().manual_seed(9))
        for k in (StudentT, kind)
    ]  # fmt: skip
    assert chains[0] == chains[1]


@pytest.mark.parametrize("closed_form", [True, False])
def test_the_standard_error_is_as_large_as_the_error_over_repeated_seeds(closed_form):
    q_u, p_u = (narrow, wide) if closed_form else (heavy, heavier)
    truth = kl_chain(STANDARD, narrow, STANDARD, wide, "quadrature").total if closed_form else log_ratio_truth()
    z = []
    for seed in range(150):
        generator = torch.Generator().manual_seed(seed)
        chain = kl_chain(STANDARD, q_u, STANDARD, p_u, "monte_carlo", 1000, generator=generator)
        z.append((chain.total - truth) / chain.standard_error)
    z = torch.stack(z)
    assert abs(z.mean()) < Z / math.sqrt(len(z))
    assert abs(z.std() - 1) < Z / math.sqrt(2 * len(z))


def test_too_few_nodes_for_a_sharp_conditional_kl_warn():
    step = lambda v: Normal(torch.tanh(50 * v), 0.3)  # noqa: E731
    with pytest.warns(UserWarning, match=r"8 Gauss-Hermite nodes do not resolve.*Pass more nodes, or method='monte"):
        kl_chain(STANDARD, step, STANDARD, wide, nodes=8)


def test_too_few_nodes_for_a_sharp_marginal_kl_warn():
    teeth = MixtureSameFamily(Categorical(torch.ones(2).double()), Normal(number([-1.0, 1.0]), number(0.01)))
    with pytest.warns(UserWarning, match=r"64 Gauss-Hermite nodes do not resolve KL\[q\(v\)"):
        kl_chain(STANDARD, wide, teeth, wide)


def test_exact_values_are_differentiable_in_q_and_p():
    def total(q_v, q_u, p_v, p_u):
        tables = [x.softmax(-1) for x in (q_v, q_u, p_v, p_u)]
        return kl_chain(
            Categorical(tables[0]), lambda v: Categorical(tables[1][v]),
            Categorical(tables[2]), lambda v: Categorical(tables[3][v]),
        ).total  # fmt: skip

    inputs = [
        torch.randn(s, generator=torch.Generator().manual_seed(8)).double().requires_grad_()
        for s in ((3,), (3, 2), (3,), (3, 2))
    ]
    assert torch.autograd.gradcheck(total, inputs)


def test_quadrature_values_are_differentiable_in_q_and_p():
    def total(m, t, b, F, p_loc):
        one = torch.ones_like(m)
        return kl_chain(
            Normal(m, t), lambda v: Normal(b * v, 0.5), Normal(p_loc, one), lambda v: Normal(F * v, 1.0)
        ).total

    inputs = [number(x).requires_grad_() for x in (0.7, 0.6, 0.4, 1.5, 0.1)]
    assert torch.autograd.gradcheck(total, inputs)


ALL_WIDE = (STANDARD, wide, STANDARD, wide)
EVEN_TABLES = (EVEN, table(2), EVEN, table(2))
BATCHED = Normal(torch.zeros(2), 1.0)
PLANE = MultivariateNormal(torch.zeros(2), torch.eye(2))
HEAVY = (STANDARD, lambda v: StudentT(5.0, v), STANDARD, wide)


def rows(v):
    return Normal(torch.zeros(len(v), 3), 1.0)


# name: arguments, options, error, message
REFUSED = {
    "swapped": ((STANDARD, STANDARD, wide, wide), {}, TypeError, "p_v: expected a torch distribution.*order is"),
    "q(v) a function": ((wide, STANDARD, wide, STANDARD), {}, TypeError, "q_v: expected a torch dist.*order is"),
    "q(u|v) no function": ((STANDARD, STANDARD, STANDARD, wide), {}, TypeError, "q_u_given_v: expected.*order is"),
    "p(u|v) no function": ((STANDARD, wide, STANDARD, 3), {}, TypeError, "p_u_given_v: expected a function.*got int"),
    "tensor": ((STANDARD, wide, STANDARD, lambda v: v), {}, TypeError, "p_u_given_v: expected it to.*got Tensor"),
    "batch of v": ((BATCHED, wide, BATCHED, wide), {}, ValueError, "q_v: expected one distribution.*Independent"),
    "no batch": ((STANDARD, lambda v: STANDARD, STANDARD, wide), {}, ValueError, r"q_u_given_v: .*batch shape \(64,\)"),
    "no Independent": ((STANDARD, wide, STANDARD, rows), {}, ValueError, r"p_u_given_v: .*got batch \(64, 3\).*Indep"),
    "other event of u": (
        (STANDARD, wide, STANDARD, lambda v: Independent(rows(v), 1)), {}, ValueError,
        r"p_u_given_v: expected the event shape \(\) of q_u_given_v, got \(3,\)",
    ),
    "other event of v": ((STANDARD, wide, PLANE, wide), {}, ValueError, r"p_v: expected the event shape \(\) of q_v"),
    "other categories of v": (
        (EVEN, table(2), Categorical(torch.ones(4)), table(2)), {}, ValueError, r"p_v: expected 3.*got 4\. Pad",
    ),
    "other categories of u": (
        (EVEN, table(2), EVEN, table(4)), {}, ValueError, "p_u_given_v: expected 2 categories as in q, got 4",
    ),
    "other one-hot width": (
        (OneHotCategorical(torch.ones(3)), table(2), OneHotCategorical(torch.ones(4)), table(2)), {}, ValueError,
        r"p_v: expected the event shape \(3,\)",
    ),
    "unknown method": (ALL_WIDE, {"method": "magic"}, ValueError, "method: expected auto.*'magic'"),
    "one sample": (ALL_WIDE, {"samples": 1}, ValueError, "samples: expected at least 2, got 1"),
    "no samples": (ALL_WIDE, {"samples": 0}, ValueError, "samples: expected a whole number"),
    "no nodes": (ALL_WIDE, {"nodes": 0}, ValueError, "nodes: expected a whole number"),
    "exact normal": (ALL_WIDE, {"method": "exact"}, ValueError, "'exact' needs a finite q_v.*got Normal"),
    "table quadrature": (EVEN_TABLES, {"method": "quadrature"}, ValueError, "'quadrature' needs a scalar Normal q_v"),
    "no closed form": (HEAVY, {"method": "quadrature"}, ValueError, "'quadrature' is out of reach.*StudentT"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_call_that_cannot_be_meant_is_refused_by_name(case):
    args, kwargs, error, message = REFUSED[case]
    with pytest.raises(error, match=message):
        kl_chain(*args, **kwargs)
