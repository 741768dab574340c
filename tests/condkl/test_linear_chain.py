"""Where eq. (9) and its interpolations end with L layers, found from the definitions and set beside the recursions.

The definition: the posterior of layer l follows R - C_l - λ(C_1 + … + C_{l-1}), with layer 1 the lowest. Here it is
written as a gradient by automatic differentiation, as a maximum by a numerical optimiser, and as the network's own.
"""

import copy
import itertools
import math

import numpy as np
import pytest
import sympy as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import tensor
from scipy import optimize

from condkl.linear import chain_noise, rho
from condkl.objectives import interpolated
from condkl.switch import scale_gradient
from condkl.vae import HierarchicalVAE

WEIGHTS = (0.0, 0.3, 0.5, 1.0)


def path_weight(lam, hops, per_hop):
    """Of a conditional KL in the gradient of a layer that lies `hops` above it."""
    return lam**hops if per_hop else lam


# Tables: p[l][parent, child], the lowest layer first; the top layer has one parent.


def random_chain(layers, states, seed):
    rng = np.random.default_rng(seed)
    likelihood = rng.dirichlet(np.ones(4), size=states)[:, 0]
    conditionals = [rng.dirichlet(np.ones(states), size=states) for _ in range(layers - 1)]
    return likelihood, [*conditionals, rng.dirichlet(np.ones(states), size=1)]


def tilted_chain(likelihood, p, lam):
    """q_l ∝ p_l exp(G_l), with G_1 = log p(x|z_1) and G_{l+1} = log Z_l + (1 - λ)KL[q_l||p_l]."""
    G, q = np.log(likelihood), []
    for p_l in p:
        weights = p_l * np.exp(G)
        Z = weights.sum(1)
        q.append(weights / Z[:, None])
        G = np.log(Z) + (1 - lam) * (q[-1] * np.log(q[-1] / p_l)).sum(1)
    return q


def terms(likelihood, q, p):
    """R, the list of the C_l, and the marginals of each layer's parent, in tensors."""
    marginal, C, parents = torch.ones(1, dtype=torch.float64), [], []
    for q_l, p_l in zip(q[::-1], p[::-1], strict=True):
        parents.append(marginal)
        C.append(marginal @ (q_l * (q_l / tensor(p_l)).log()).sum(1))
        marginal = marginal @ q_l
    return marginal @ tensor(likelihood).log(), C[::-1], parents[::-1]


def slopes(likelihood, q, p, lam, per_hop=False):
    """The derivative of what each layer follows in its table, per unit of its parent's probability."""
    q = [q_l.detach().requires_grad_() for q_l in q]
    R, C, parents = terms(likelihood, q, p)
    for above, q_l in enumerate(q):
        follows = R - C[above] - sum(path_weight(lam, above - k, per_hop) * C[k] for k in range(above))
        (slope,) = torch.autograd.grad(follows, q_l, retain_graph=True)
        yield slope / parents[above].detach().unsqueeze(1)


def stationary_tables(likelihood, p, lam, per_hop=False):
    """Natural-gradient ascent with unit steps, every layer at once, until nothing moves."""
    q = [torch.full(p_l.shape, 1 / p_l.shape[1], dtype=torch.float64) for p_l in p]
    for _ in range(50):
        moved = [
            (q_l.log() + slope).softmax(1) for q_l, slope in zip(q, slopes(likelihood, q, p, lam, per_hop), strict=True)
        ]
        step = max((a - b).abs().max().item() for a, b in zip(q, moved, strict=True))
        q = moved
        if step < 1e-14:
            return [q_l.numpy() for q_l in q]
    raise AssertionError(f"no fixed point: the last step was {step:.1e}")


def distance(a, b):
    return max(np.abs(x - y).max() for x, y in zip(a, b, strict=True))


@settings(max_examples=15)
@given(st.integers(1, 4), st.integers(2, 4), st.integers(0, 10**6), st.floats(0, 1))
def test_the_tilted_chain_is_where_every_layer_stops(layers, states, seed, lam):
    likelihood, p = random_chain(layers, states, seed)
    assert distance(tilted_chain(likelihood, p, lam), stationary_tables(likelihood, p, lam)) < 1e-8


def value_by_paths(tables, layer, likelihood, p, lam):
    """E[log p(x|z_1) - log(q_l/p_l) - λ Σ_{k<l} log(q_k/p_k)], summed over every path through the layers."""
    total, states = 0.0, len(likelihood)
    for z in itertools.product(range(states), repeat=len(p)):
        parents = (*z[1:], 0)
        log_ratio = [math.log(q[a, i] / r[a, i]) for q, r, a, i in zip(tables, p, parents, z, strict=True)]
        mass = math.prod(q[a, i] for q, a, i in zip(tables, parents, z, strict=True))
        total += mass * (math.log(likelihood[z[0]]) - log_ratio[layer] - lam * sum(log_ratio[:layer]))
    return total


@pytest.mark.parametrize(("layers", "seed", "lam"), [(3, 0, 0.0), (3, 1, 0.4), (4, 2, 0.7)])
def test_every_layer_of_the_tilted_chain_is_a_numerical_maximum(layers, seed, lam):
    likelihood, p = random_chain(layers, 2, seed)
    q = tilted_chain(likelihood, p, lam)
    for layer in range(layers):
        for parent in range(len(p[layer])):

            def value(logit, layer=layer, parent=parent):
                tables = [q_l.copy() for q_l in q]
                tables[layer][parent] = 1 / (1 + math.exp(-logit)), 1 / (1 + math.exp(logit))
                return value_by_paths(tables, layer, likelihood, p, lam)

            # The root of a slope is known to rounding, the place of a maximum only to its square root.
            def slope(logit, value=value, h=1e-3):
                near, far = (value(logit + k * h) - value(logit - k * h) for k in (1, 2))
                return (8 * near - far) / (12 * h)

            best = optimize.brentq(slope, -12, 12, xtol=1e-12)
            assert q[layer][parent, 0] == pytest.approx(1 / (1 + math.exp(-best)), abs=1e-8)


def test_two_layers_end_at_the_posterior_raised_where_p_u_given_v_is_contradicted():
    likelihood, (p_u, p_v) = random_chain(2, 4, 7)
    evidence = p_u @ likelihood
    posterior_u = p_u * likelihood / evidence[:, None]
    c = (posterior_u * np.log(posterior_u / p_u)).sum(1)
    for lam in WEIGHTS:
        want = p_v[0] * evidence * np.exp((1 - lam) * c)
        np.testing.assert_allclose(tilted_chain(likelihood, [p_u, p_v], lam)[1][0], want / want.sum(), rtol=1e-13)


@pytest.mark.parametrize("layers", [3, 4])
def test_lambda_to_the_number_of_hops_ends_elsewhere(layers):
    likelihood, p = random_chain(layers, 3, 1)
    for lam in (0.3, 0.5):
        assert distance(tilted_chain(likelihood, p, lam), stationary_tables(likelihood, p, lam, per_hop=True)) > 1e-5
    for lam in (0.0, 1.0):  # where a power changes nothing
        assert distance(tilted_chain(likelihood, p, lam), stationary_tables(likelihood, p, lam, per_hop=True)) < 1e-8


# The linear Gaussian chain: q_l(z_l|z_{l+1}) = N(a z_{l+1} + h, v), with the parameters (a, h, log v) of each layer.


def gaussian_surrogate(parameters, x, b, sigma2, lam, per_hop=False):
    """R - Σ_l C_l whose gradient is the field: each C_l sees its parent's mean and variance through the path."""
    plain = seen = torch.zeros(2, dtype=torch.float64)  # nothing varies above the top layer
    elbo = torch.zeros((), dtype=torch.float64)
    for (a, h, log_v), b_l in zip(reversed(parameters), reversed(b), strict=True):
        v = log_v.exp()
        m, s = above = scale_gradient(seen, lam)
        elbo = elbo - 0.5 * (math.log(b_l) - log_v + (v + (a - 1) ** 2 * s + ((a - 1) * m + h) ** 2) / b_l - 1)
        plain = torch.stack([a * plain[0] + h, a**2 * plain[1] + v])
        seen = torch.stack([a * above[0] + h, a**2 * above[1] + v]) if per_hop else plain
    return elbo - 0.5 * (math.log(2 * math.pi * sigma2) + ((x - plain[0]) ** 2 + plain[1]) / sigma2)


def noise_at_the_stop(b, sigma2, lam, per_hop=False):
    """n_1, …, n_L read off the variances 1/v_l = 1/b_l + 1/n_l where the field vanishes; b_L is that of p(z_L)."""
    x, b = 1.3, np.array(b)

    def field(flat):
        leaf = tensor(flat).requires_grad_()
        parameters = [*leaf[:-2].reshape(len(b) - 1, 3), torch.cat([tensor([0.0]), leaf[-2:]])]  # no parent at the top
        return torch.autograd.grad(gaussian_surrogate(parameters, x, b, sigma2, lam, per_hop), leaf)[0].numpy()

    below = sigma2 + np.concatenate([[0.0], np.cumsum(b)[:-1]])
    exact = np.stack([below / (below + b), b * x / (below + b), np.log(below * b / (below + b))], axis=1)
    found = optimize.root(field, exact.reshape(-1)[np.arange(3 * len(b)) != 3 * len(b) - 3], tol=1e-14)
    assert np.abs(field(found.x)).max() < 1e-10
    v = np.exp(np.append(found.x[2:-2:3], found.x[-1]))
    return 1 / (1 / v - 1 / b)


variances = st.floats(0.2, 3.0)


@settings(max_examples=15)
@given(st.lists(variances, min_size=1, max_size=4), variances, st.floats(0, 1))
def test_the_noise_of_a_chain_is_that_of_the_posteriors_where_every_layer_stops(b, sigma2, lam):
    got = chain_noise(tensor(b[:-1]), sigma2, lam)
    np.testing.assert_allclose(got, noise_at_the_stop(b, sigma2, lam), rtol=1e-8)


@pytest.mark.parametrize("lam", [0.3, 0.5, 0.8])
def test_the_noise_of_a_chain_weighs_each_conditional_kl_once_and_not_once_per_hop(lam):
    b, sigma2 = [1.0, 0.5, 2.0, 1.0], 0.3
    got = chain_noise(tensor(b[:-1]), sigma2, lam)
    once, per_hop = (noise_at_the_stop(b, sigma2, lam, per_hop) for per_hop in (False, True))
    np.testing.assert_allclose(got, once, rtol=1e-9)
    np.testing.assert_allclose(got[:2], per_hop[:2], rtol=1e-9)  # a single hop: the rules agree
    assert (per_hop[2:] > 1.01 * once[2:]).all()


@pytest.mark.parametrize("lam", [0.0, 0.4])
def test_the_noise_of_a_chain_is_that_of_the_tilted_recursion_on_a_grid(lam):
    """Sums over a fine grid in place of the integrals over z_l, densities in place of tables."""
    b, sigma2, x = (1.0, 0.6, 1.5), 0.3, 0.4
    z = np.linspace(-25, 25, 1001)
    G, middle = -((x - z) ** 2) / (2 * sigma2), np.abs(z) < 5
    got = chain_noise(tensor(b), sigma2, lam)
    for n, b_l in zip(got[1:].tolist(), b, strict=True):
        log_p = -((z[:, None] - z) ** 2) / (2 * b_l) - 0.5 * math.log(2 * math.pi * b_l) + math.log(z[1] - z[0])
        log_Z = np.logaddexp.reduce(log_p + G, axis=1)
        q = np.exp(log_p + G - log_Z[:, None])
        G = log_Z + (1 - lam) * (q * (G - log_Z[:, None])).sum(1)  # log(q/p) = G - log Z
        want = -((x - z) ** 2) / (2 * n)
        np.testing.assert_allclose((G - G[500])[middle], (want - want[500])[middle], atol=1e-9)


def test_one_step_of_the_noise_is_sympy_s():
    x, w, z = sp.symbols("x w z", real=True)
    n, b, lam = sp.symbols("n b lambda", positive=True)
    log_p, G = -((z - w) ** 2) / (2 * b), -((x - z) ** 2) / (2 * n)
    mean = sp.solve(sp.diff(log_p + G, z), z)[0]
    variance = -1 / sp.diff(log_p + G, z, 2)
    kl = (sp.log(b / variance) + (variance + (mean - w) ** 2) / b - 1) / 2
    log_Z = (log_p + G).subs(z, mean) + sp.log(variance / b) / 2
    step = -1 / sp.diff(log_Z + (1 - lam) * kl, w, 2)
    assert sp.simplify(step - (n + (2 - lam) * b + (1 - lam) ** 2 * b**2 / (n + lam * b))) == 0
    values = {n: 0.3, b: 1.7, lam: 0.35}
    got = chain_noise(tensor([1.7]), 0.3, 0.35)[1].item()
    assert got == pytest.approx(float(step.subs(values)), rel=1e-14)


@given(variances, variances, st.floats(0, 1))
def test_two_layers_see_d_over_rho(beta, sigma2, lam):
    got = chain_noise(tensor([beta]), sigma2, lam)
    np.testing.assert_allclose(got, [sigma2, (sigma2 + beta) / rho(lam, beta, sigma2)], rtol=1e-14)


def test_the_full_gradient_sees_the_true_noise_and_eq_9_at_most_doubles_it_in_thin_layers():
    b = tensor([0.5, 2.0, 0.1])
    np.testing.assert_allclose(chain_noise(b, 0.7, 1.0), [0.7, 1.2, 3.2, 3.3], rtol=1e-14)
    thin = chain_noise(torch.full((3000,), 1e-3, dtype=torch.float64), 1.0, tensor([0.0, 0.5, 1.0]))[:, -1]
    np.testing.assert_allclose(thin, [1 + 2 * 3, 1 + 1.5 * 3, 1 + 3], rtol=1e-3)


steps = st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=8)


@given(steps, st.floats(1e-3, 1e3), st.floats(0.05, 1))
def test_the_bias_never_compounds_beyond_one_over_lambda(b, sigma2, lam):
    true = sigma2 + np.concatenate([[0.0], np.cumsum(b)])
    ratio = chain_noise(tensor(b), sigma2, lam).numpy() / true
    assert (ratio >= 1 - 1e-12).all()
    assert (ratio <= (1 + 1e-12) / lam).all()


@given(steps, st.floats(1e-3, 1e3), st.floats(0, 1))
def test_the_bias_rises_exactly_where_it_is_below_that_of_equal_proportions(b, sigma2, lam):
    true = sigma2 + np.concatenate([[0.0], np.cumsum(b)])
    ratio, s = chain_noise(tensor(b), sigma2, lam).numpy() / true, np.array(b) / true[:-1]
    half = 1 - lam * (1 + s) / 2
    fixed = half + np.sqrt(half**2 + s)
    gap, change = fixed - ratio[:-1], np.diff(ratio)
    told = (np.abs(gap) > 1e-6 * fixed) & (np.abs(change) > 1e-9 * fixed)  # the sign of rounding says nothing
    assert (np.sign(change) == np.sign(gap))[told].all()


def test_chains_that_share_a_noise_and_a_weight_are_what_each_is_alone():
    b = tensor([[1.0, 2.0], [0.5, 0.1], [3.0, 1.0]])
    assert torch.equal(chain_noise(b, 0.7, 0.3), torch.stack([chain_noise(one, 0.7, 0.3) for one in b]))


def test_shapes_broadcast_and_one_layer_sees_sigma2():
    got = chain_noise(torch.ones(3, 2, dtype=torch.float64), tensor([1.0, 2.0, 3.0]), torch.rand(4, 1))
    assert got.shape == (4, 3, 3)
    assert chain_noise(torch.zeros(0, dtype=torch.float64), 0.7, 0.5).tolist() == [0.7]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.tensor(1.0), 1.0, 0.5), r"^b: expected shape \(..., L - 1\)"),
        ((torch.tensor([1.0, -1.0]), 1.0, 0.5), "^b: expected numbers above 0"),
        ((torch.tensor([1.0]), 0.0, 0.5), "^sigma2: expected numbers above 0"),
        ((torch.tensor([1.0]), 1.0, 1.5), "^lam: expected numbers from 0 to 1"),
    ],
)
def test_bad_input_is_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        chain_noise(*arguments)


# The networks.


@pytest.mark.parametrize("latents", [(2, 3, 4), (2, 3, 2, 3)])
@pytest.mark.parametrize("lam", [0.0, 0.3, 1.0])
def test_every_ancestor_of_a_conditional_kl_has_weight_lambda_against_finite_differences(latents, lam):
    """The C_l of the plain model are moved by hand; nothing is differentiated but by the objective itself."""
    torch.manual_seed(3)
    model = HierarchicalVAE(latents, hidden=(6, 5), pixels=8).double()
    x = torch.rand(4, 8).round().double()
    noise = model.noise(x)
    layers = [model.q_v, *model.q_u]  # from the top
    C = interpolated(lam)(model, x, noise=noise).C.sum(0)
    for below, ancestor in ((j, i) for j in range(len(C)) for i in range(j + 1)):  # C_j hangs on layers 0 to j
        weight = layers[ancestor].out.weight
        direction, h = torch.randn_like(weight), 1e-5
        slope = torch.autograd.grad(C[below], weight, retain_graph=True, allow_unused=True)[0] if lam else None
        got = 0.0 if slope is None else (slope * direction).sum().item()
        moved = []
        for step in (h, -h):
            changed = copy.deepcopy(model)
            with torch.no_grad():
                [changed.q_v, *changed.q_u][ancestor].out.weight += step * direction
                moved.append(changed(x, noise=noise).C[:, below].sum().item())
        assert abs(moved[0] - moved[1]) > 1e-8  # the layer matters
        assert got == pytest.approx(lam * (moved[0] - moved[1]) / (2 * h), rel=1e-5, abs=1e-8)
