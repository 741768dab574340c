"""The known models: their evidence by other integrals and by sampling, and their images, which never change."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from condkl_studies import synthetic
from condkl_studies.evaluation import iwae_log_likelihood
from condkl_studies.synthetic import known_model

PIXELS = 64
SPREAD = {"tight": 0.1, "loose": 0.7, "crossed": 0.7}
every_name = pytest.mark.parametrize("name", SPREAD)


def truth(name):
    return known_model(name).truth()


def images(name, split):
    return known_model(name).images(split)


def log_evidence(name, *args, **options):
    return known_model(name).log_evidence(*args, **options)


def in_double(name):
    return truth(name).double()


def some(name, n=6):
    return images(name, "test")[:n].double() / 255


@pytest.fixture(scope="module")
def evidence():
    return {name: log_evidence(name, some(name).float()) for name in SPREAD}


def f_and_spread(model, v):
    return model.p_u[0](v).detach().chunk(2, -1)


@every_name
def test_u_is_a_curve_of_mean_0_and_variance_1_with_the_spread_of_its_name(name):
    v = np.linspace(-8, 8, 4001)
    f, log_s = (a.numpy() for a in f_and_spread(in_double(name), torch.tensor(v)[:, None]))
    p = stats.norm.pdf(v)[:, None]
    mean, square = (np.trapezoid(p * g, v, axis=0) for g in (f, f**2))
    np.testing.assert_allclose(mean, [0, 0], atol=1e-5)
    np.testing.assert_allclose(square, [1, 1], atol=1e-5)
    np.testing.assert_allclose(np.exp(log_s), SPREAD[name], rtol=1e-6)


@every_name
def test_the_model_has_one_v_and_two_u_and_only_crossed_lets_the_decoder_see_v(name):
    model = truth(name)
    assert (model.latents, model.pixels, model.skip) == ((1, 2), PIXELS, name == "crossed")
    assert not any(p.requires_grad for p in model.parameters())
    one, other = (model.decoder_input([torch.full((1, 1), v), torch.zeros(1, 2)]) for v in (-1.0, 1.0))
    assert torch.equal(model.p_x(one), model.p_x(other)) == (name != "crossed")


@pytest.mark.parametrize("name", ["tight", "loose"])
def test_the_evidence_is_the_integral_over_u_alone_with_v_averaged_out_first(name, evidence):
    """On a fixed grid over u, where `log_evidence` moves its grid along with f(v)."""
    model, x, step = in_double(name), some(name), 0.1
    v, u = torch.linspace(-6, 6, 401).double()[:, None], torch.arange(-6, 6 + step / 2, step).double()
    f, log_s = f_and_spread(model, v)
    density = stats.norm.pdf(u.numpy()[:, None, None], f, log_s.exp())  # (u, v, unit)
    p_v = stats.norm.pdf(v[:, 0]) / stats.norm.pdf(v[:, 0]).sum()
    mass = torch.tensor(np.einsum("iv,jv,v->ij", density[..., 0], density[..., 1], p_v) * step**2).flatten()
    assert mass.sum().item() == pytest.approx(1, abs=1e-6)
    log_p = log_bernoulli(model.p_x(torch.cartesian_prod(u, u)), x)
    assert (evidence[name] - (log_p + mass.log()).logsumexp(1)).abs().max() < {"tight": 1e-4, "loose": 3e-3}[name]


@every_name
def test_a_finer_and_wider_grid_changes_little(name, evidence):
    assert (evidence[name] - log_evidence(name, some(name).float(), reach=5.5, step=0.33)).abs().max() < 3e-3


def log_bernoulli(logits, x):
    """Log p(x|u) for each image and each draw, shape (len(x), draws)."""
    decoder = torch.distributions.Bernoulli(logits=logits)
    return torch.stack([decoder.log_prob(one).sum(1) for one in x])


@every_name
def test_the_evidence_is_the_mean_likelihood_of_draws_from_the_prior(name, evidence):
    model, n, generator = in_double(name), 60_000, torch.Generator().manual_seed(1)
    v = torch.randn(n, 1, generator=generator, dtype=torch.float64)
    f, log_s = f_and_spread(model, v)
    u = torch.normal(f, log_s.exp(), generator=generator)
    logits = model.p_x(torch.cat([v, u], 1) if model.skip else u)
    ratio = (log_bernoulli(logits, some(name)) - evidence[name][:, None]).exp()
    error = ratio.std(1) / math.sqrt(n)
    assert error.max() < 0.12
    assert ((ratio.mean(1) - 1).abs() < 4.5 * error + 3e-3).all()  # and the grid's own error


@every_name
def test_the_importance_weighted_likelihood_agrees_with_the_evidence(name, evidence):
    """With posteriors that never met the images: standard normal ones, which for u are not the prior."""
    model, repeats = truth(name), 40
    for parameter in [*model.theta(), *model.phi()]:
        parameter.zero_()
    generator = torch.Generator().manual_seed(2)
    for x, exact in zip(some(name, 2).float(), evidence[name], strict=False):
        ratio = (iwae_log_likelihood(model, x.expand(repeats, -1), 4000, generator) - exact).exp()
        error = ratio.std() / math.sqrt(repeats)
        assert error < 0.1
        assert abs(ratio.mean() - 1) < 4.5 * error + 3e-3


def test_chunks_of_images_change_no_evidence():
    one, two = (log_evidence("loose", some("loose", 5).float(), step=1.0, chunk=chunk) for chunk in (2, 5))
    torch.testing.assert_close(one, two, rtol=1e-6, atol=0)
    assert one.dtype == torch.float64


@pytest.mark.parametrize("split", ["train", "validation", "test"])
@every_name
def test_images_are_black_and_white_bytes_of_the_published_sizes(name, split):
    found = images(name, split)
    assert found.dtype == torch.uint8
    assert found.shape == ({"train": 50_000}.get(split, 10_000), PIXELS)
    assert found.unique().tolist() == [0, 255]


@every_name
def test_images_come_out_the_same_when_drawn_again_whatever_the_global_seed(name):
    found = {split: images(name, split).clone() for split in ("validation", "test")}
    synthetic._truth.cache_clear()
    synthetic._images.cache_clear()
    torch.manual_seed(3)
    for split, before in found.items():
        assert torch.equal(images(name, split), before)
    assert not torch.equal(found["validation"], found["test"])


@every_name
def test_images_are_draws_from_the_model(name):
    """Their pixels' means, and those of products of neighbours, are the model's within the sampling error."""
    model, found, n = in_double(name), images(name, "test").double() / 255, 50_000
    p = model.sample(n, torch.Generator().manual_seed(4))
    for of_model, drawn in ((p, found), (p[:, 1:] * p[:, :-1], found[:, 1:] * found[:, :-1])):
        error = (of_model.var(0) / n + drawn.var(0) / len(found)).sqrt()
        assert ((of_model.mean(0) - drawn.mean(0)).abs() <= 4.5 * error + 1e-12).all()


def test_nothing_depends_on_the_default_precision():
    found, model = images("tight", "test").clone(), truth("tight")
    x = some("tight", 3)
    evidence = log_evidence("tight", x, step=1.0)
    synthetic._truth.cache_clear()
    synthetic._images.cache_clear()
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(images("tight", "test"), found)
        assert all(torch.equal(one, other) for one, other in zip(truth("tight").omega(), model.omega(), strict=True))
        assert torch.equal(log_evidence("tight", x, step=1.0), evidence)
    finally:
        torch.set_default_dtype(torch.float32)


def test_what_a_caller_does_to_the_truth_stays_with_the_caller():
    before = truth("tight")
    for parameter in truth("tight").parameters():
        parameter.zero_()
    assert all(torch.equal(a, b) for a, b in zip(truth("tight").parameters(), before.parameters(), strict=True))


def test_grey_levels_have_no_evidence():
    with pytest.raises(ValueError, match="x: expected bits, numbers 0 and 1"):
        log_evidence("tight", images("tight", "test")[:3].float())


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match="split: expected one of train, validation, test, got 'dev'"):
        images("tight", "dev")
