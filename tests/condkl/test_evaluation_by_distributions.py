"""The likelihood and the units in use of any model, against evidence and variances that are known exactly."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import special, stats
from torch.distributions import (
    Bernoulli,
    Categorical,
    Independent,
    MultivariateNormal,
    Normal,
    OneHotCategorical,
    Poisson,
)

from condkl import active_units, iwae_log_likelihood
from condkl.evaluation import log_mean_weight, unit_variances


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def tensor(value):
    return torch.tensor(value, dtype=torch.float64)


def normal(mean, std):
    return Independent(Normal(mean, std * torch.ones_like(mean)), 1)


# --- Linear Gaussian chains, v -> u -> … -> x, whose evidence is Gaussian ---------------------------------------------

WIDTHS = {"one layer": (2, 3), "two layers": (2, 3, 2), "three layers": (1, 2, 3, 2)}  # from v to x
STD = 0.6  # of each layer below v, and of x
every_chain = pytest.mark.parametrize("name", WIDTHS)


def chain(name):
    """The matrices from each layer to the next, and images."""
    rng, widths = np.random.default_rng(0), WIDTHS[name]
    maps = [rng.normal(size=(below, above)) for above, below in itertools.pairwise(widths)]
    return maps, rng.normal(size=(4, widths[-1]))


def prior(maps):
    v = MultivariateNormal(torch.zeros(maps[0].shape[1]).double(), torch.eye(maps[0].shape[1]).double())
    return [v, *(lambda *z, W=W: normal(z[-1] @ tensor(W).T, STD) for W in maps[:-1])]


def covariance(maps):
    """Of each layer and x, by the recursion of the chain; with it the joint of one layer and those below it."""
    found = [np.eye(maps[0].shape[1])]
    for W in maps:
        found.append(W @ found[-1] @ W.T + STD**2 * np.eye(len(W)))
    return found


def evidence(maps, x):
    return stats.multivariate_normal(np.zeros(x.shape[1]), covariance(maps)[-1]).logpdf(x)


def exact_posterior(maps, x):
    """q(z_l|z_{l-1},x): a Gaussian whose precision is that of z_l given the layer above plus that of x given z_l."""
    q = []
    for i in range(len(maps)):
        through, noise = np.eye(len(maps[i].T)), np.zeros((len(maps[i].T),) * 2)
        for W in maps[i:]:
            through, noise = W @ through, W @ noise[: W.shape[1], : W.shape[1]] @ W.T + STD**2 * np.eye(len(W))
        precision_above = np.eye(through.shape[1]) / (STD**2 if i else 1.0)
        gain = through.T @ np.linalg.inv(noise)
        cov = np.linalg.inv(precision_above + gain @ through)
        pull, cov, above = tensor(x @ gain.T @ cov), tensor(cov), tensor(cov @ precision_above)
        if i == 0:
            q.append(MultivariateNormal(pull, cov))
        else:
            W = tensor(maps[i - 1])
            q.append(lambda *z, W=W, pull=pull, cov=cov, a=above: MultivariateNormal(pull + z[-1] @ W.T @ a.T, cov))
    return q


def likelihood(maps):
    return lambda *z: normal(z[-1] @ tensor(maps[-1]).T, STD)


@pytest.mark.parametrize("chunk", [None, 1, 3])
@every_chain
def test_with_the_exact_posterior_every_draw_gives_the_exact_evidence(name, chunk):
    maps, x = chain(name)
    for samples in (1, 7):
        found = iwae_log_likelihood(
            exact_posterior(maps, x), prior(maps), likelihood(maps), samples, chunk, tensor(x), seeded(1)
        )
        np.testing.assert_allclose(found, evidence(maps, x), rtol=1e-10)


def rough(maps, x):
    """Posteriors that are none too good: the exact ones for another image, and too wide."""

    def wider(d):
        return MultivariateNormal(d.loc, 1.3 * d.covariance_matrix)

    first, *rest = exact_posterior(maps, x + 0.3)
    return [wider(first), *(lambda *z, f=f: wider(f(*z)) for f in rest)]


@every_chain
def test_the_weights_are_unbiased_for_the_evidence_and_their_mean_is_tight_as_k_grows(name):
    maps, x = chain(name)
    n = 4000
    many = np.repeat(x[:1], n, 0)
    one = iwae_log_likelihood(rough(maps, many), prior(maps), likelihood(maps), 1, None, tensor(many), seeded(2))
    ratio = (one - evidence(maps, x[:1]).item()).exp()
    assert ratio.std() > 0.2  # the posteriors are wrong, and the weights have to make up for it
    error = ratio.std() / math.sqrt(n)
    assert abs(ratio.mean() - 1) < 4.5 * error
    found = iwae_log_likelihood(rough(maps, x[:1]), prior(maps), likelihood(maps), n, 1000, tensor(x[:1]), seeded(3))
    assert abs(found.item() - evidence(maps, x[:1]).item()) < 4.5 * error


def test_log_p_of_x_may_come_as_a_tensor():
    maps, x = chain("two layers")
    q, p, x = rough(maps, x), prior(maps), tensor(x)
    by_distribution = iwae_log_likelihood(q, p, likelihood(maps), 5, x=x, generator=seeded(4))
    by_tensor = iwae_log_likelihood(q, p, lambda *z: likelihood(maps)(*z).log_prob(x), 5, generator=seeded(4))
    assert torch.equal(by_distribution, by_tensor)


# --- A discrete v ---------------------------------------------------------------------------------------------------

MASS, MEANS = np.array([0.5, 0.3, 0.2]), np.array([-2.0, 0.0, 3.0])


def test_the_likelihood_of_a_model_with_a_discrete_v_is_its_sum_as_k_grows():
    """v in three states, u|v ~ N(m_v, 1), three pixels with log-odds u: the integral over u by Gauss-Hermite."""
    x = tensor([[0.0, 1.0, 1.0], [1.0, 1.0, 1.0]])
    nodes, weight = np.polynomial.hermite_e.hermegauss(60)
    p_x = special.expit((MEANS[:, None] + nodes)[..., None, None] * (2 * x.numpy() - 1)).prod(-1)  # (v, node, image)
    exact = np.log(np.einsum("v,k,vki->i", MASS, weight / weight.sum(), p_x))
    q_v = Categorical(logits=tensor([[0.2, 0.0, 0.1], [0.0, 0.0, 1.0]]))
    means, K = tensor(MEANS), 20_000

    def estimate(samples, n=1):
        many = Categorical(logits=q_v.logits.repeat_interleave(n, 0))
        bits = x.repeat_interleave(n, 0)
        return iwae_log_likelihood(
            [many, lambda v: Normal(0.8 * means[v], 1.2)],
            [Categorical(probs=tensor(MASS)), lambda v: Normal(means[v], 1.0)],
            lambda v, u: Independent(Bernoulli(logits=u[..., None].expand(*u.shape, 3)), 1),
            samples,
            1000,
            bits,
            seeded(5),
        )

    ratio = (estimate(1, 2000).view(2, -1) - tensor(exact)[:, None]).exp()
    assert ((ratio.mean(1) - 1).abs() < 4.5 * ratio.std(1) / math.sqrt(2000)).all()
    assert ((estimate(K) - tensor(exact)).abs() < 4.5 * ratio.std(1) / math.sqrt(K)).all()


# --- Precision, memory, randomness -----------------------------------------------------------------------------------


def constant():
    """A model whose weights are all alike."""
    q = [normal(torch.zeros(2, 3), 1.0)]
    return q, q, lambda v: torch.full(v.shape[:-1], -70.123)


def test_weights_are_added_up_in_float64():
    """In float32 the log of their sum would round by 1e-6."""
    one, many = (iwae_log_likelihood(*constant(), samples, generator=seeded(6)) for samples in (1, 1000))
    assert one.dtype == many.dtype == torch.float64
    assert (one - many).abs().max() < 1e-12
    assert one[0].item() == pytest.approx(-70.123, rel=1e-7)


@pytest.mark.parametrize(("chunk", "seen"), [(None, [(2, 3)] * 7), (3, [(3, 2, 3), (3, 2, 3), (1, 2, 3)])])
def test_no_more_draws_are_held_than_the_chunk(chunk, seen):
    shapes = []
    q, p, _ = constant()
    iwae_log_likelihood(q, p, lambda v: (shapes.append(tuple(v.shape)), v.sum(-1))[1], 7, chunk)
    assert shapes == seen


def test_weights_in_chunks_of_unequal_length_count_the_same():
    weights = torch.randn(10, 2, generator=seeded(7), dtype=torch.float64)
    for chunk in (1, 3, 10, 99):
        rows = iter(weights)
        found = log_mean_weight(lambda n, rows=rows: torch.stack([next(rows) for _ in range(n)]), 10, chunk)
        torch.testing.assert_close(found, weights.exp().mean(0).log(), rtol=1e-12, atol=1e-14)


def test_a_weight_of_zero_leaves_the_others():
    weights = iter(torch.tensor([-math.inf, 0.0, -math.inf, -math.inf]))
    assert log_mean_weight(lambda n: next(weights)[None], 4, 1).item() == pytest.approx(-math.log(4))


def test_the_generator_decides_and_the_global_randomness_and_the_graph_stay():
    q = [normal(torch.zeros(2, 3, requires_grad=True), 1.0)]
    p, before = [normal(torch.ones(3), 1.0)], torch.random.get_rng_state()
    one, two, other = (iwae_log_likelihood(q, p, lambda v: v.sum(-1), 4, generator=seeded(s)) for s in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert not one.requires_grad
    assert torch.equal(torch.random.get_rng_state(), before)


# --- Units ----------------------------------------------------------------------------------------------------------


def linear_posterior(n, a=(1.0, 0.0), b=(0.0, 0.05), c=(0.0, 0.06), wide=2.0):
    """q(v|x) = N(a x, wide²), q(u|v,x) = N(b v + c x, 1) by units: the posterior mean of u is (b a + c) x."""
    x = torch.linspace(-1.7, 1.7, n).double()[:, None]
    a, b, c = map(tensor, (a, b, c))
    return x, [normal(x * a, wide), lambda v: normal(v[..., :1] * b + x * c, 1.0)]


@pytest.mark.parametrize("samples", [2, 50])
def test_the_variance_is_that_of_the_posterior_mean_with_the_layers_above_averaged_out(samples):
    n = 2000
    x, q = linear_posterior(n)
    found = unit_variances(q, samples, seeded(8))
    of_x = np.var(x.numpy(), ddof=1)
    np.testing.assert_allclose(found[0], [of_x, 0], rtol=1e-12)
    b, c, wide = 0.05, 0.06, 2.0
    # Its error: the mean of u has noise (b wide)²/samples, and the variance over n images one of about this size.
    noise = (b * wide) ** 2 / samples
    error = math.sqrt((4 * (b + c) ** 2 * of_x * noise + 2 * noise**2 * (1 + 1 / (samples - 1))) / n)
    assert abs(found[1][1] - (b + c) ** 2 * of_x) < 4.5 * error
    assert abs(found[1][0]) < 1e-15


def test_a_unit_that_only_passes_the_noise_of_the_layer_above_is_not_active():
    """Its mean at one draw varies by 0.04 over the images, though not with them."""
    _, q = linear_posterior(3000, a=(0.0, 0.0), b=(0.1, 0.0), c=(0.0, 0.5))
    assert [one.tolist() for one in active_units(q, generator=seeded(9))] == [[False, False], [False, True]]


def test_units_of_discrete_layers_and_of_three_layers_are_counted():
    x = torch.linspace(-2, 2, 500).double()
    q = [
        OneHotCategorical(logits=torch.stack([x, torch.zeros_like(x), torch.full_like(x, -9.0)], -1)),
        lambda v: Independent(Bernoulli(logits=4 * v[..., :2] - 2), 1),
        lambda v, u: Independent(Poisson(torch.stack([torch.ones_like(x), 1 + u[..., 0] * v[..., 0]], -1)), 1),
    ]
    found = active_units(q, 200, generator=seeded(10))
    assert [one.tolist() for one in found] == [[True, True, False], [True, True], [False, True]]
    p = special.expit(x.numpy())  # the mean of the last unit: E v u, u being 1 with probability logistic(2) at v = 1
    variances = unit_variances(q, 200, seeded(10))
    assert variances[2][1].item() == pytest.approx(np.var(p * special.expit(2), ddof=1), rel=0.1)


class NoMean(Normal):
    """Torch has no mean for it."""

    @property
    def mean(self):
        raise NotImplementedError


def test_a_layer_without_a_mean_in_torch_is_averaged_over_its_draws():
    x = torch.linspace(-1, 1, 2000).double()[:, None]
    found = unit_variances([NoMean(x * tensor([1.0, 0.0]), 1.0)], 100, seeded(11))
    want = np.var(x.numpy(), ddof=1)
    error = math.sqrt((4 * want * 0.01 + 2 * 0.01**2 * (1 + 1 / 99)) / 2000)
    assert abs(found[0] - tensor([want, 0.0])).max() < 4.5 * error


# --- Refusals -------------------------------------------------------------------------------------------------------

Q = normal(torch.zeros(4, 2), 1.0)


def below(v):
    return normal(v, 1.0)


def pixels(*z):
    return Independent(Bernoulli(logits=z[-1]), 1)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"q": Q}, TypeError, r"q: expected a sequence of layers, as \[q_v, lambda v: q_u\(v, x\)\], got Independent"),
        ({"q": []}, TypeError, "q: expected a sequence of layers"),
        ({"p": [below, below]}, TypeError, r"p\[0\]: expected a torch distribution, got function\. The order is from"),
        ({"q": [Q, Q]}, TypeError, r"q\[1\]: expected a function of the draws above .*, got Independent\. The order"),
        ({"q": [Q, lambda v: v]}, TypeError, r"q\[1\]: expected it to return a torch distribution, got Tensor"),
        ({"p": [Q]}, ValueError, "p: expected 2 layers, as many as q has, got 1"),
        (
            {"q": [Normal(torch.zeros(4, 2), 1.0), below]},
            ValueError,
            r"q\[0\]: expected batch shape \(images,\), .*Indep",
        ),
        (
            {"q": [Q, lambda v: Normal(v, 1.0)]},
            ValueError,
            r"q\[1\]: for draws of shape .* expected batch shape .*Put the",
        ),
        ({"chunk": 3, "q": [Q, lambda v: Q]}, ValueError, r"q\[1\]: .*\(3, 4\), got batch \(4,\).*batch by expand"),
        (
            {"p": [Q, lambda v: normal(v[..., :1], 1.0)]},
            ValueError,
            r"p\[1\]: expected the event shape \(2,\) of q\[1\]",
        ),
        (
            {"log_px": lambda *z: z[-1], "x": None},
            ValueError,
            r"log_px: expected a logarithm of shape \(4,\), got \(4, 2\)",
        ),
        ({"x": None}, ValueError, "x: expected the images, as log_px gives a distribution, got None"),
        ({"log_px": lambda *z: z[-1].sum(-1)}, ValueError, "x: expected None, as log_px gives a tensor, got a tensor"),
        (
            {"x": torch.full((4, 2), 255.0)},
            ValueError,
            r"x: expected values that Independent can take.*255.*binarise grey",
        ),
        ({"x": torch.full((4, 2), 0.5)}, ValueError, "x: expected values that Independent can take"),
        ({"log_px": lambda *z: z[-1].sum(), "x": None}, ValueError, r"log_px: expected .* shape \(4,\), got \(\)"),
        ({"x": torch.ones(1, 2)}, ValueError, r"x: expected 4 images, as many as q\[0\] has, got shape \(1, 2\)"),
        ({"generator": 0}, TypeError, r"generator: expected a torch\.Generator, got int"),
        ({"samples": 0}, ValueError, "samples: expected a whole number of at least 1, got 0"),
        ({"chunk": 0}, ValueError, "chunk: expected a whole number of at least 1, got 0"),
    ],
)
def test_a_likelihood_that_makes_no_sense_is_refused_by_name(arguments, error, message):
    good = {"q": [Q, below], "p": [Q, below], "log_px": pixels, "samples": 3, "x": torch.ones(4, 2)}
    assert iwae_log_likelihood(**good).shape == (4,)
    with pytest.raises(error, match=message):
        iwae_log_likelihood(**good | arguments)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.uint8])
def test_bits_of_any_kind_have_the_likelihood_of_floats(dtype):
    found = [
        iwae_log_likelihood([Q], [Q], pixels, 3, x=x, generator=torch.Generator().manual_seed(0))
        for x in (torch.eye(4)[:, :2], torch.eye(4)[:, :2].to(dtype))
    ]
    assert torch.equal(*found)


def test_numbers_outside_the_support_are_refused_though_torch_does_not_look():
    def unchecked(v):
        return Independent(Bernoulli(logits=v, validate_args=False), 1, validate_args=False)

    with pytest.raises(ValueError, match="binarise grey levels"):
        iwae_log_likelihood([Q], [Q], unchecked, 1, x=torch.full((4, 2), 255.0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"samples": 1}, "samples: expected at least 2, got 1"),
        ({"q": [Normal(torch.zeros(1, 2), 1.0)]}, r"q\[0\]: expected two images or more, got means of shape \(1, 2\)"),
        ({"q": [Normal(0.0, 1.0)]}, r"q\[0\]: expected two images or more, got means of shape \(\)"),
        (
            {"q": [Categorical(torch.ones(4, 3))]},
            r"q\[0\]: expected a distribution with a mean, got Categorical.*OneHot",
        ),
        ({"q": [Normal(torch.full((4, 2), math.inf), 1.0, validate_args=False)]}, r"q\[0\]: .* not a finite number"),
        (
            {"q": [Q, lambda v: Normal(torch.zeros(3), 1.0)]},  # three units, and no images
            r"q\[1\]: expected means of 4 images, as q\[0\] has, got shape \(3,\)\. Give a layer .* expand",
        ),
    ],
)
def test_units_that_make_no_sense_are_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        active_units(**{"q": [Q, below]} | arguments)
