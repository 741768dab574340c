"""The gradients of `kl_chain`: exact, by quadrature, through draws, and by the score function."""

import math

import pytest
import torch
from torch import distributions as D  # noqa: N812
from torch.distributions import (
    Bernoulli,
    Categorical,
    Gamma,
    Independent,
    Laplace,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    OneHotCategorical,
    Pareto,
    StudentT,
    TransformedDistribution,
    Uniform,
)

from condkl.divergence import kl_chain
from condkl.switch import conditional_kl

Z = 4.5


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def number(x):
    return torch.tensor(x, dtype=torch.float64)


STANDARD = Normal(number(0.0), number(1.0))


def unit(v):
    return Normal(0.0 * v, 1.0)


def about(v):
    return Normal(v, 1.0)


def test_exact_values_are_differentiable_in_q_and_p():
    def total(q_v, q_u, p_v, p_u):
        tables = [x.softmax(-1) for x in (q_v, q_u, p_v, p_u)]
        return kl_chain(
            (Categorical(tables[0]), lambda v: Categorical(tables[1][v])),
            (Categorical(tables[2]), lambda v: Categorical(tables[3][v])),
        ).total

    inputs = [torch.randn(s, generator=seeded(8)).double().requires_grad_() for s in ((3,), (3, 2), (3,), (3, 2))]
    assert torch.autograd.gradcheck(total, inputs)
    assert torch.autograd.gradgradcheck(total, inputs)


@pytest.mark.parametrize("event", [(), (1,), (2,)])
def test_quadrature_values_are_differentiable_in_q_and_p(event):
    def total(m, t, b, F, p_loc):
        v = (lambda m, t: Independent(Normal(m.expand(event), t), 1)) if event else Normal
        down = (lambda v: v.sin().sum(-1)) if event else torch.sin
        return kl_chain(
            (v(m, t), lambda v: Normal(b * down(v), 0.5)),
            (v(p_loc, torch.ones_like(m)), lambda v: Normal(F * down(v), 1.0)),
        ).total

    inputs = [number(x).requires_grad_() for x in (0.7, 0.6, 0.4, 1.5, 0.1)]
    assert torch.autograd.gradcheck(total, inputs)
    assert torch.autograd.gradgradcheck(total, inputs)


def test_panels_are_differentiable():
    def conditional(m, width):
        q = Normal(m, 1.0), lambda v: Normal(20 * (-0.5 * ((v - 0.13) / width) ** 2).exp(), 1.0)
        chain = kl_chain(q, (STANDARD, unit))
        assert "panels" in chain.method[0]
        return chain.conditional

    assert torch.autograd.gradcheck(
        conditional, [number(0.2).requires_grad_(), number(0.02).requires_grad_()], eps=1e-7
    )


def test_the_second_derivative_at_equality_is_the_information():
    """Where the KL is 0 rounding decides its sign, and must not decide its gradient."""
    for b in (0.3, 1.0, -2.7):

        def kl(x, b=b):
            return kl_chain((STANDARD, lambda v: about(x * v)), (STANDARD, lambda v: about(b * v))).total

        assert torch.autograd.functional.hessian(kl, number(b)).item() == pytest.approx(1.0, rel=1e-9)  # E v²


INFORMATION = {  # of each parameter alone, from the moments of its score
    "Gumbel": (D.Gumbel, [0.3, 1.2], [1 / 1.44, (math.pi**2 / 6 + (1 - 0.5772156649015329) ** 2) / 1.44]),
    "Weibull": (D.Weibull, [1.3, 1.2], [1.44 / 1.69, (math.pi**2 / 6 + (1 - 0.5772156649015329) ** 2) / 1.44]),
    "StudentT": (lambda m, s: StudentT(5.0, m, s), [0.3, 1.2], [6 / 8 / 1.44, 10 / 8 / 1.44]),
    "a normal, mapped": (
        lambda m, s: TransformedDistribution(Normal(0 * m, 1.0), [D.AffineTransform(m, s), D.TanhTransform()]),
        [0.3, 1.2], [1 / 1.44, 2 / 1.44],
    ),
}  # fmt: skip


@pytest.mark.parametrize("family", INFORMATION)
def test_the_second_derivative_at_equality_is_the_information_of_any_family(family):
    """Also where a parameter is one of a map, which is the same for both there and nowhere else."""
    make, at, want = INFORMATION[family]
    at = number(at)
    for kl in (lambda x: kl_chain((make(*x),), (make(*at),)), lambda x: kl_chain((make(*at),), (make(*x),))):
        got = torch.autograd.functional.hessian(lambda x, kl=kl: kl(x).total, at)
        torch.testing.assert_close(got.diagonal(), number(want), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("event", [(), (2,)])
def test_maps_that_happen_to_be_equal_keep_their_gradient(event):
    """KL = (m + a - b)²/2 for each entry, at a = b; with one map for both it depends on m alone."""

    def flow(m, a):
        mapped = TransformedDistribution(Normal(m.expand(event), 1.0), [D.AffineTransform(a, 1.0)])
        return Independent(mapped, len(event))

    m, a, b = (number(x).requires_grad_() for x in (0.7, 0.2, 0.2))
    n = max(1, math.prod(event))
    for other, want in ((b, [0.7 * n, 0.7 * n, -0.7 * n]), (a, [0.7 * n, 0.0, 0.0])):
        chain = kl_chain((flow(m, a),), (flow(0 * m, other),))
        assert chain.total.item() == pytest.approx(0.245 * n, rel=1e-9)
        got = torch.autograd.grad(chain.total, (m, a, b), materialize_grads=True)
        assert [x.item() for x in got] == pytest.approx(want, rel=1e-9, abs=1e-12)
    assert chain.method == ("closed form",)


ZEROS = {
    "logits": lambda x: Categorical(logits=x),
    "probabilities": lambda x: Categorical(x.softmax(-1)),
    "one-hot": lambda x: OneHotCategorical(logits=x),
    "bits": lambda x: Independent(Bernoulli(logits=x[:1] - x[1:]), 1),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("make", ZEROS)
def test_a_table_with_zeros_has_a_finite_gradient(make, dtype):
    """As v, above a u that is of no matter, as u and by the switch."""
    x = torch.tensor([0.0, -math.inf], dtype=dtype).requires_grad_()
    q, p = ZEROS[make](x), ZEROS[make](torch.tensor([0.9, 0.1], dtype=dtype).log())
    below = lambda v: about(v.reshape(len(v), -1)[:, 0].to(dtype))  # noqa: E731
    for kl in (
        kl_chain((q, below), (p, below)).total,
        kl_chain((EVEN, lambda v: q.expand(v.shape)), (EVEN, lambda v: p.expand(v.shape))).total,
        conditional_kl(lambda v: q.expand(v.shape), lambda v: p.expand(v.shape), torch.zeros(1)).sum(),
    ):
        assert kl.item() == pytest.approx(-math.log(0.9), rel=1e-6)
        (gradient,) = torch.autograd.grad(kl, x, retain_graph=True)
        assert gradient.tolist() == [0.0, 0.0]


def about_table(v):
    return about(v.double())


def unit_table(v):
    return unit(v.double())


def rows(terms, inputs):
    """The gradient of each term on all inputs, as a matrix."""
    gradients = [torch.autograd.grad(t, inputs, retain_graph=True, materialize_grads=True) for t in terms]
    return torch.stack([torch.cat([g.flatten() for g in row]) for row in gradients])


OTHER = number([[0.2, 0.5, 0.3], [0.3, 0.3, 0.4]])


def tables(x, y):
    return Categorical(logits=x), lambda v: Categorical(logits=y[v])


def three_tables(x, y):
    return *tables(x, y), lambda v, u: Normal(v + 0.5 * u * x[0], 1.0)


def mixture(x, y):
    """Of two Gaussians in the plane, whose KL from a standard one is that of their first entries."""
    means = torch.stack([torch.stack([y[0], 0 * y[0]]), torch.stack([y[1], 0 * y[1]])])
    v = MixtureSameFamily(Categorical(logits=x), MultivariateNormal(means, torch.eye(2).double()))
    return v, lambda v: about(v[..., 0])


def of_mixture(x, y):
    """A by an integral over the first entry alone, and C = E v²/2 by hand."""
    v = MixtureSameFamily(Categorical(logits=x), Normal(y, 1.0))
    return kl_chain((v,), (STANDARD,)).total, (x.softmax(-1) * (y**2 + 1)).sum() / 2


def of_gamma(a):
    """In closed form: E v² of a Gamma is a(a + 1)/b²."""
    a, b = a.exp()
    return torch.distributions.kl_divergence(Gamma(a, b), Gamma(number(1.0), 2.0)), a * (a + 1) / b**2 / 2


def gaussian(m):
    return Normal(m[0], m[1].exp()), lambda v: about(v + v.sin())


PLANE = Independent(Normal(number([0.0, 0.0]), 1.0), 1)
EVEN = Categorical(number([0.5, 0.5]))
# q, p, shapes of the inputs of q, method, and both terms in another way where kl_chain has no exact one
UNBIASED = {
    "tables": (tables, (EVEN, lambda v: Categorical(OTHER[v])), ((2,), (2, 3)), "monte_carlo", None),
    "three tables": (
        three_tables, (EVEN, lambda v: Categorical(OTHER[v]), lambda v, u: unit(v.double())), ((2,), (2, 3)),
        "monte_carlo", None,
    ),
    "both terms sampled": (mixture, (PLANE, lambda v: unit(v[..., 0])), ((2,), (2,)), "auto", of_mixture),
    "through plain draws": (gaussian, (STANDARD, unit), ((2,),), "monte_carlo", None),
    "through Sobol points": (gaussian, (STANDARD, unit), ((2,),), "sobol", None),
    "through gammas": (
        lambda a: (Gamma(*a.exp()), about), (Gamma(number(1.0), 2.0), unit), ((2,),), "auto", of_gamma,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", UNBIASED)
def test_the_gradient_of_samples_has_no_bias_in_either_term(case):
    q, p, shapes, method, other = UNBIASED[case]
    inputs = [torch.randn(shape, generator=seeded(3), dtype=torch.float64).requires_grad_() for shape in shapes]
    chains = [kl_chain(q(*inputs), p, method, 64, generator=seeded(seed)) for seed in range(200)]
    each = torch.stack([rows((chain.marginal, chain.conditional), inputs) for chain in chains])
    mean, error = each.mean(0), each.std(0) / math.sqrt(len(each))
    exact = kl_chain(q(*inputs), p) if other is None else None
    terms = (exact.marginal, exact.conditional) if exact else other(*inputs)
    want = rows(terms, inputs)
    assert (want.abs().amax(1) > 0.05).all()
    assert ((mean - want).abs() <= Z * error + 1e-9).all()
    assert chains[0].standard_error > 0


def test_the_baseline_makes_the_score_function_less_noisy():
    x, p = number([0.1, -0.2]).requires_grad_(), (EVEN, unit_table)

    def gradient(seed):
        q = Categorical(logits=x), lambda v: Normal(0.1 * v.double(), 0.01)
        return rows([kl_chain(q, p, "monte_carlo", 64, generator=seeded(seed)).conditional], [x])

    # c is 4.1 at both values but for 0.005: without a baseline the noise would be 4.1 times 0.5, over 8.
    assert torch.stack([gradient(seed) for seed in range(50)]).std(0).max() < 0.01


def test_a_loss_with_a_sampled_kl_trains_q_on_the_kl():
    loc, log_scale = torch.full((5,), 2.0).requires_grad_(), torch.zeros(5, requires_grad=True)
    chain = kl_chain(
        (Independent(Normal(loc, log_scale.exp()), 1), lambda v: Independent(Normal(v[:, :2], 1.0), 1)),
        (Independent(Normal(torch.zeros(5), 1.0), 1), lambda v: Independent(Normal(0 * v[:, :2], 1.0), 1)),
        generator=seeded(5),
    )
    gradients = torch.autograd.grad(chain.total, (loc, log_scale))
    assert gradients[0].tolist() == pytest.approx([4.0, 4.0, 2.0, 2.0, 2.0], abs=0.02)
    assert gradients[1].tolist() == pytest.approx([1.0, 1.0, 0.0, 0.0, 0.0], abs=0.1)
    assert "gradient through the points" in chain.method[0]


MOVING = {  # E v²/2 = θ²/2 + 1/6, θ²/6, and 3θ²/4 for index 6
    "Uniform(θ - 1, θ + 1)": (lambda t: Uniform(t - 1, t + 1), 0.7, 0.7),
    "Uniform(0, θ)": (lambda t: Uniform(0 * t, t), 2.0, 2 / 3),
    "Pareto(θ, 6)": (lambda t: Pareto(t, 6.0 + 0 * t), 1.0, 1.5),
}


@pytest.mark.parametrize("case", MOVING)
def test_a_support_that_moves_is_in_the_gradient(case):
    make, at, want = MOVING[case]
    theta = number(at).requires_grad_()
    chain = kl_chain((make(theta), about), (StudentT(number(3.0)), unit), samples=2**14, generator=seeded(6))
    (gradient,) = torch.autograd.grad(chain.conditional, theta)
    assert gradient.item() == pytest.approx(want, rel=0.01)


def test_a_support_that_moves_without_its_draws_warns():
    theta = number(0.7).requires_grad_()
    parts = Uniform(torch.stack([theta - 1, theta]), torch.stack([theta, theta + 1]))
    q = MixtureSameFamily(EVEN, parts), about
    with pytest.warns(UserWarning, match=r"the support of q\[0\] \(MixtureSameFamily\) moves.*leaves that out"):
        kl_chain(q, (STANDARD, unit))


@pytest.fixture
def _no_validation():
    """torch's own checks of arguments look at values, which `vmap` forbids."""
    D.Distribution.set_default_validate_args(False)
    yield
    D.Distribution.set_default_validate_args(True)


def of_normal(m):
    return kl_chain((Normal(m, 1.0), about), (STANDARD, unit)).terms


def of_plane(m):
    q = Independent(Normal(m.expand(2), 1.0), 1), lambda v: about(v.sum(-1))
    return kl_chain(q, (PLANE, lambda v: unit(v[:, 0]))).terms


def of_table(x):
    return kl_chain((Categorical(logits=torch.stack([x, 0 * x])), about_table), (EVEN, unit_table)).terms


def of_gamma(x):
    return kl_chain((Gamma(2 + x, 1.0),), (Gamma(number(1.5), 2.0),)).terms


def of_samples(x):
    q = Laplace(x, 1.0), lambda v: MultivariateNormal(v.unsqueeze(-1) * number([1.0, 2.0]), torch.eye(2).double())
    return kl_chain(q, (Laplace(number(0.0), 2.0), lambda v: PLANE.expand(v.shape)), samples=512).terms


@pytest.mark.usefixtures("_no_validation")
@pytest.mark.parametrize("f", [of_normal, of_plane, of_table, of_gamma])
def test_vmap_and_grad_give_what_loops_give(f):
    x = number([0.3, -0.5, 2.0])
    torch.testing.assert_close(torch.func.vmap(f)(x), torch.stack([f(a) for a in x]))
    loop = torch.stack([torch.autograd.functional.jacobian(f, a) for a in x])
    torch.testing.assert_close(torch.func.vmap(torch.func.jacrev(f))(x), loop)
    torch.testing.assert_close(torch.stack([torch.func.jacfwd(f)(a) for a in x]), loop)


@pytest.mark.usefixtures("_no_validation")
@pytest.mark.parametrize("randomness", ["same", "different"])
def test_samples_under_vmap_follow_its_randomness(randomness):
    torch.manual_seed(7)
    terms = torch.func.vmap(of_samples, randomness=randomness)(number([0.3, 0.3]))
    assert terms.isfinite().all()
    assert torch.equal(terms[0], terms[1]) == (randomness == "same")
    with pytest.raises(RuntimeError, match="randomness"):
        torch.func.vmap(of_samples)(number([0.3, 0.3]))


def test_nothing_is_recorded_where_no_gradient_is_wanted():
    loc = number(0.3).requires_grad_()
    for method in ("auto", "sobol", "monte_carlo"):
        with torch.no_grad():
            assert not kl_chain((Normal(loc, 1.0), about), (STANDARD, unit), method, 10).total.requires_grad
        chain = kl_chain((Normal(loc, 1.0), about), (STANDARD, unit), method, 10)
        assert chain.total.requires_grad
        assert not chain.standard_error.requires_grad
