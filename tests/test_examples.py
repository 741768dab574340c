"""The examples do what they show."""

import importlib.util
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence

from condkl import conditional_kl

EXAMPLES = Path(__file__).parents[1] / "examples"


def example(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_an_outsiders_vae_learns_and_is_measured_and_eq_9_empties_its_upper_layer():
    two_layer_vae = example("two_layer_vae")
    before, *_ = two_layer_vae.main(steps=1)
    found = {weight: two_layer_vae.main(steps=200, weight=weight) for weight in (1.0, 0.0)}
    for elbo, log_likelihood, _ in found.values():
        assert elbo > before + 10
        assert elbo - 1 < log_likelihood < -64 * entropy(0.05) + 2  # of the noise alone, in which each bit is wrong
    assert [units for *_, units in found.values()] == [[2, 4], [0, 4]]


def test_the_code_of_the_readme_runs(capsys):
    """Its own names come first; the model is one that the reader has."""
    nets = {name: torch.nn.Linear(*sizes) for name, sizes in {"v": (6, 4), "u": (8, 6), "from_v": (2, 6)}.items()}

    def normal(name, *inputs):
        mean, log_std = nets[name](torch.cat(inputs, -1)).chunk(2, -1)
        return Independent(Normal(mean, log_std.exp()), 1)

    x = torch.rand(5, 6).round()
    given = {
        "x": x,
        "v": torch.randn(5, 2),
        "q_v": lambda x: normal("v", x),
        "q_u": lambda v, x: normal("u", x, v),
        "p_v": Independent(Normal(torch.zeros(2), 1.0), 1),
        "p_u": lambda v: normal("from_v", v),
        "p_x": lambda u: Independent(Bernoulli(logits=u.repeat(1, 2)), 1),
    }
    blocks = re.findall(r"```python\n(.*?)```", (EXAMPLES.parent / "README.md").read_text("utf-8"), re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(block, given)
    assert given["C"].shape == given["log_likelihood"].shape == (5,)
    assert [layer.shape for layer in given["active"]] == [(2,), (3,)]
    assert "tensor" in capsys.readouterr().out


def entropy(p):
    return -p * math.log(p) - (1 - p) * math.log(1 - p)


@pytest.mark.parametrize("lam", [1.0, 0.3, 0.0])
def test_the_recipe_in_jax_has_the_loss_and_the_gradients_of_torch(lam):
    jax = pytest.importorskip("jax", reason="JAX is not installed: it comes with the extra `bench`")
    rng, sizes = np.random.default_rng(0), {"q_v": (6, 4), "q_u": (8, 6), "p_u": (2, 6), "p_x": (3, 6)}
    weights = {name: rng.normal(size=size, scale=0.5).astype(np.float32) for name, size in sizes.items()}
    x, noise = (
        (rng.random((5, 6)) < 0.5).astype(np.float32),
        [rng.normal(size=(5, n)).astype(np.float32) for n in (2, 3)],
    )
    value, found = jax.value_and_grad(example("switch_jax").loss)(weights, x, noise, lam)

    own = {name: torch.tensor(weight, requires_grad=True) for name, weight in weights.items()}
    bits, (e_v, e_u) = torch.tensor(x), map(torch.tensor, noise)

    def gaussian(name, *inputs):
        mean, log_std = (torch.cat(inputs, -1) @ own[name]).chunk(2, -1)
        return Independent(Normal(mean, log_std.exp()), 1)

    q_v = gaussian("q_v", bits)
    v = q_v.mean + q_v.stddev * e_v
    q_u = gaussian("q_u", bits, v)
    R = Independent(Bernoulli(logits=(q_u.mean + q_u.stddev * e_u) @ own["p_x"]), 1).log_prob(bits)
    A = kl_divergence(q_v, Independent(Normal(torch.zeros(2), 1.0), 1))
    C = conditional_kl(lambda v: gaussian("q_u", bits, v), lambda v: gaussian("p_u", v), v, lam)
    loss = -(R - A - C).mean()
    loss.backward()
    assert float(value) == pytest.approx(loss.item(), rel=1e-5)
    for name, weight in own.items():
        np.testing.assert_allclose(found[name], weight.grad, rtol=1e-4, atol=1e-5, err_msg=name)


def test_the_recipe_in_pyro_trains_by_pyros_loss():
    pyro = pytest.importorskip("pyro", reason="the extra `pyro` is not installed")
    losses = {}
    for lam in (1.0, 0.0):
        pyro.clear_param_store()
        pyro.set_rng_seed(0)
        svi, x = example("switch_pyro").training(lam), torch.rand(50, 20).round()
        losses[lam] = [svi.step(x) for _ in range(3)]
    assert losses[1.0][0] == losses[0.0][0]
    assert losses[1.0] != losses[0.0]
