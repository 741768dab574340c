"""The mean terms of a model on a set of images."""

import math

import pytest
import torch

from condkl.data import binarise
from condkl.evaluation import mean_terms
from condkl.vae import HierarchicalVAE

PIXELS = 16


def make(latents=(2, 3)):
    torch.manual_seed(0)
    return HierarchicalVAE(latents, hidden=8, pixels=PIXELS)


def images(n=50):
    return torch.randint(0, 256, (n, PIXELS), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def test_the_mean_is_over_all_images_also_when_the_last_chunk_is_short():
    model, generator = make(), torch.Generator().manual_seed(2)
    total = dict.fromkeys(("elbo", "R", "A", "C"), 0.0)
    for part in (images()[:20], images()[20:40], images()[40:]):
        terms = model(binarise(part, generator), generator)
        for name in total:
            total[name] += float(getattr(terms, name).sum().detach()) / 50
    assert mean_terms(model, images(), seed=2, chunk=20) == pytest.approx(total, rel=1e-5)


def test_the_seed_decides_and_the_global_randomness_stays():
    model, before = make(), torch.random.get_rng_state()
    assert mean_terms(model, images(), 3) == mean_terms(model, images(), 3)
    assert mean_terms(model, images(), 3) != mean_terms(model, images(), 4)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_elbo_is_a_lower_bound_of_the_log_likelihood():
    """The likelihood by importance sampling on the same model, on one image, with its own noise."""
    model, image = make((2,)), torch.full((1, PIXELS), 255, dtype=torch.uint8)
    repeated = mean_terms(model, image.expand(2000, -1), seed=5)["elbo"]
    x = torch.ones(20_000, PIXELS)
    with torch.no_grad():
        v = torch.randn(20_000, 2, generator=torch.Generator().manual_seed(6))
        p = torch.distributions.Bernoulli(logits=model.p_x(v)).log_prob(x).sum(-1).exp()
    error = 4.5 * p.std() / p.mean() / math.sqrt(len(p))
    assert repeated < p.mean().log() + error


def test_evaluation_keeps_no_graph_and_names_every_conditional_kl():
    terms = mean_terms(make((2, 3, 4)), images(), 7)
    assert list(terms) == ["elbo", "R", "A", "C", "C1", "C2"]
    assert all(type(value) is float for value in terms.values())
    assert terms["C"] == pytest.approx(terms["C1"] + terms["C2"], rel=1e-5)
