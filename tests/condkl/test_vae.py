"""The VAE's terms against `torch.distributions`, scipy and quadrature; its shapes, parameters and refusals."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence
from torch.func import vmap

from condkl.objectives import full, modified
from condkl.vae import Gaussian, HierarchicalVAE, TanhNet, Terms, gaussian

MODELS = [((2,), False), ((2,), True), ((2, 3), False), ((2, 3), True), ((2, 3, 4), False), ((2, 3, 4), True)]
PIXELS = 12


def make(latents=(2, 3), skip=False, seed=0):
    torch.manual_seed(seed)
    return HierarchicalVAE(latents, hidden=(8, 6), skip=skip, pixels=PIXELS).double()


def images(n=5, seed=1):
    return torch.rand(n, PIXELS, generator=torch.Generator().manual_seed(seed)).round().double()


def gaussians(n=4, d=3, seed=2):
    mean, log_scale = torch.randn(2, n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return Gaussian(mean, log_scale)


def as_torch(g):
    return Independent(Normal(g.mean, g.log_scale.exp()), 1)


def split(output):
    half = output.shape[-1] // 2
    return Independent(Normal(output[:, :half], output[:, half:].exp()), 1)


def test_kl_from_is_the_kl_of_torch_with_its_half():
    q, p = gaussians(seed=2), gaussians(seed=3)
    torch.testing.assert_close(q.kl_from(p), kl_divergence(as_torch(q), as_torch(p)), rtol=1e-12, atol=0)


def test_kl_from_standard_is_the_kl_of_torch_with_its_half():
    q = gaussians()
    standard = Independent(Normal(torch.zeros(4, 3).double(), 1.0), 1)
    torch.testing.assert_close(q.kl_from_standard(), kl_divergence(as_torch(q), standard), rtol=1e-12, atol=0)


def test_the_gaussian_kls_are_integrals_of_the_log_ratio():
    q, p = gaussians(1, 2, seed=4), gaussians(1, 2, seed=5)

    def integral(i, prior):
        one = stats.norm(q.mean[0, i].item(), math.exp(q.log_scale[0, i]))
        f = lambda z: one.pdf(z) * (one.logpdf(z) - prior.logpdf(z))  # noqa: E731
        return integrate.quad(f, one.mean() - 10 * one.std(), one.mean() + 10 * one.std(), limit=200)[0]

    other = [stats.norm(p.mean[0, i].item(), math.exp(p.log_scale[0, i])) for i in range(2)]
    assert q.kl_from(p).item() == pytest.approx(sum(integral(i, other[i]) for i in range(2)), rel=1e-9)
    assert q.kl_from_standard().item() == pytest.approx(sum(integral(i, stats.norm()) for i in range(2)), rel=1e-9)


def test_the_kls_of_the_units_are_those_of_torch_and_add_up():
    q, p = gaussians(seed=2), gaussians(seed=3)
    one, other = (Normal(g.mean, g.log_scale.exp()) for g in (q, p))
    torch.testing.assert_close(q.kl_per_unit(p), kl_divergence(one, other), rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(q.kl_per_unit_from_standard(), kl_divergence(one, Normal(0.0, 1.0)), rtol=1e-12, atol=0)
    assert torch.equal(q.kl_per_unit(p).sum(-1), q.kl_from(p))
    assert torch.equal(q.kl_per_unit_from_standard().sum(-1), q.kl_from_standard())


def test_the_log_density_is_that_of_torch_with_its_constant():
    g, z = gaussians(), torch.randn(4, 3, generator=torch.Generator().manual_seed(14), dtype=torch.float64)
    torch.testing.assert_close(g.log_prob(z), as_torch(g).log_prob(z), rtol=1e-12, atol=0)


def test_a_network_gives_the_means_first_and_then_the_log_scales():
    g = gaussian(torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
    assert (g.mean.tolist(), g.log_scale.tolist()) == ([[1, 2]], [[3, 4]])


def test_the_kl_of_a_gaussian_from_itself_is_zero():
    q = gaussians()
    assert q.kl_from(q).abs().max() < 1e-15
    assert Gaussian(torch.zeros(2, 3), torch.zeros(2, 3)).kl_from_standard().tolist() == [0, 0]


def test_a_draw_scales_the_noise_by_the_standard_deviation():
    noise = torch.full((1, 1), 2.0)
    assert Gaussian(torch.full((1, 1), 1.0), torch.full((1, 1), math.log(3))).at(noise).item() == pytest.approx(7)


def test_the_net_has_two_tanh_layers_on_the_sum_of_its_inputs():
    torch.manual_seed(6)
    net = TanhNet([3, 2], 5, 4).double()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter)
    a, b = torch.randn(7, 3).double(), torch.randn(7, 2).double()
    W = {name: value.detach().numpy() for name, value in net.named_parameters()}
    first = a.numpy() @ W["parts.0.weight"].T + b.numpy() @ W["parts.1.weight"].T + W["parts.0.bias"]
    second = np.tanh(first) @ W["middle.weight"].T + W["middle.bias"]
    want = np.tanh(second) @ W["out.weight"].T + W["out.bias"]
    np.testing.assert_allclose(net(a, b).detach().numpy(), want, rtol=1e-12)
    assert not any("parts.1.bias" in name for name in W)


def test_networks_start_at_xavier_weights_and_zero_biases():
    for name, parameter in make().named_parameters():
        if name.endswith("bias"):
            assert not parameter.any()
        else:
            assert parameter.abs().max() <= math.sqrt(6 / sum(parameter.shape))
            assert parameter.std() > 0


@pytest.mark.parametrize(("latents", "skip"), MODELS)
def test_terms_come_per_image_and_layer(latents, skip):
    terms = make(latents, skip)(images())
    assert terms.R.shape == terms.A.shape == terms.elbo.shape == (5,)
    assert terms.C.shape == (5, len(latents) - 1)
    assert (terms.A >= 0).all()
    assert (terms.C >= 0).all()
    assert (terms.R <= 0).all()


@pytest.mark.parametrize(("latents", "skip"), MODELS)
def test_terms_are_those_of_torch_distributions(latents, skip):
    model, x = make(latents, skip), images()
    noise = model.noise(x, torch.Generator().manual_seed(7))
    terms = model(x, noise=noise)
    q = split(model.q_v(x))
    z, C = [q.mean + q.stddev * noise[0]], []
    A = kl_divergence(q, Independent(Normal(torch.zeros_like(q.mean), 1.0), 1))
    for l, (q_net, p_net) in enumerate(zip(model.q_u, model.p_u, strict=True)):  # noqa: E741
        q = split(q_net(x, z[-1]))
        C.append(kl_divergence(q, split(p_net(z[-1]))))
        z.append(q.mean + q.stddev * noise[l + 1])
    decoder = Independent(Bernoulli(logits=model.p_x(torch.cat(z, -1) if skip else z[-1])), 1)
    torch.testing.assert_close(terms.R, decoder.log_prob(x), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(terms.A, A, rtol=1e-12, atol=1e-12)
    for l, c in enumerate(C):  # noqa: E741
        torch.testing.assert_close(terms.C[:, l], c, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(terms.elbo, decoder.log_prob(x) - A - sum(C), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("freeze", [False, True])
@pytest.mark.parametrize(("latents", "skip"), MODELS)
def test_the_terms_below_a_draw_of_v_are_those_of_the_model(latents, skip, freeze):
    model, x = make(latents, skip), images()
    noise = model.noise(x, torch.Generator().manual_seed(15))
    terms, v = model(x, noise=noise), model.posterior(x).at(noise[0])
    R, C = model.below(x, v, noise[1:], freeze_model=freeze)
    assert torch.equal(R, terms.R)
    assert torch.equal(C, terms.C)


@pytest.mark.parametrize(("latents", "skip"), MODELS)
def test_a_frozen_model_takes_no_gradient_and_passes_that_of_the_latents_on(latents, skip):
    model, x = make(latents, skip), images()
    v, *noise = model.noise(x, torch.Generator().manual_seed(16))
    v.requires_grad_()
    wanted = [*model.phi(), v]
    grads = []
    for freeze in (False, True):
        R, C = model.below(x, v, noise, freeze_model=freeze)
        grads.append(torch.autograd.grad((R - C.sum(-1)).sum(), [*wanted, *model.omega()], allow_unused=True))
    plain, frozen = grads
    assert all(torch.equal(a, b) for a, b in zip(plain[: len(wanted)], frozen[: len(wanted)], strict=True))
    assert all(g is None for g in frozen[len(wanted) :])
    assert all(g.any() for g in plain)


@pytest.mark.parametrize("skip", [False, True])
def test_the_path_is_for_the_conditional_kl_and_its_own_latents_alone(skip):
    """A path that moves the value shows where it is used: in C below that layer, never in R."""
    model, x = make((2, 3, 4), skip), images()
    v, *noise = model.noise(x, torch.Generator().manual_seed(17))
    R, C = model.below(x, v, noise)
    R_moved, C_moved = model.below(x, v, noise, path=lambda z: z + 1)
    assert torch.equal(R, R_moved)
    q_u = split(model.q_u[0](x, v)).base_dist
    u = q_u.mean + q_u.stddev * noise[0]
    for l, z in enumerate((v, u)):  # noqa: E741
        want = kl_divergence(split(model.q_u[l](x, z + 1)), split(model.p_u[l](z + 1)))
        torch.testing.assert_close(C_moved[:, l], want, rtol=1e-12, atol=1e-12)
    assert not torch.equal(C, C_moved)


def test_both_kls_are_subtracted_from_the_elbo():
    terms = Terms(torch.tensor([10.0]), torch.tensor([1.0]), torch.tensor([[2.0, 3.0]]))
    assert terms.elbo.item() == 4


@pytest.mark.parametrize(("latents", "skip"), MODELS)
def test_theta_phi_and_omega_share_no_parameter_and_leave_none_out(latents, skip):
    model = make(latents, skip)
    groups = [{id(p) for p in group} for group in (model.theta(), model.phi(), model.omega())]
    assert sum(map(len, groups)) == len(set.union(*groups)) == len(list(model.parameters()))
    assert bool(model.phi()) == (len(latents) > 1)


@pytest.mark.parametrize(("latents", "skip"), MODELS)
def test_no_parameter_is_idle(latents, skip):
    model = make(latents, skip)
    model(images()).elbo.mean().backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())


@pytest.mark.parametrize("skip", [False, True])
def test_the_decoder_sees_v_only_with_skip(skip):
    model, x = make(skip=skip), images()
    with torch.no_grad():
        model.q_u[0].parts[1].weight.zero_()  # u no longer depends on v
    noise = model.noise(x, torch.Generator().manual_seed(8))
    moved = [noise[0] + 1, noise[1]]
    assert torch.equal(model(x, noise=noise).R, model(x, noise=moved).R) != skip


def test_the_generator_decides_the_draw():
    model, x = make(), images()
    one, two, other = (model(x, torch.Generator().manual_seed(seed)).R for seed in (9, 9, 10))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


@pytest.mark.parametrize(("latents", "skip"), MODELS)
def test_samples_are_probabilities_of_pixels(latents, skip):
    model = make(latents, skip)
    p = model.sample(6, torch.Generator().manual_seed(11))
    assert p.shape == (6, PIXELS)
    assert ((p > 0) & (p < 1)).all()
    assert not p.requires_grad
    assert torch.equal(p, model.sample(6, torch.Generator().manual_seed(11)))
    with pytest.raises(ValueError, match="n: expected a whole number"):
        model.sample(0)


@pytest.mark.parametrize(("latents", "skip"), MODELS)
def test_images_are_generated_from_the_top_by_the_priors_of_each_layer(latents, skip):
    model = make(latents, skip)
    noise = model.noise(torch.zeros(4, 0, dtype=torch.float64), torch.Generator().manual_seed(12))
    z = [noise[0]]
    for p_net, e in zip(model.p_u, noise[1:], strict=True):
        p = split(p_net(z[-1])).base_dist
        z.append(p.mean + p.stddev * e)
    want = torch.sigmoid(model.p_x(torch.cat(z, -1) if skip else z[-1])).detach()
    torch.testing.assert_close(model.generate(noise), want, rtol=1e-12, atol=0)
    assert torch.equal(model.sample(4, torch.Generator().manual_seed(12)), model.generate(noise))


def test_start_at_mean_makes_the_decoder_start_at_the_mean_image():
    grey = torch.randint(1, 255, (30, PIXELS), generator=torch.Generator().manual_seed(13), dtype=torch.uint8)
    model = make()
    assert model.start_at_mean(grey) is model
    mean = grey.numpy().mean(0) / 255
    np.testing.assert_allclose(model.p_x.out.bias.sigmoid().detach(), mean, rtol=1e-5)
    black = torch.zeros(3, PIXELS, dtype=torch.uint8)
    assert model.start_at_mean(black).p_x.out.bias.isfinite().all()


@pytest.mark.parametrize("grey", [
    torch.full((5, PIXELS), 0.5), torch.zeros(0, PIXELS, dtype=torch.uint8), torch.zeros(5, 1, dtype=torch.uint8),
])  # fmt: skip
def test_a_mean_image_of_what_is_no_grey_level_is_refused(grey):
    model = make()
    before = model.p_x.out.bias.clone()
    with pytest.raises(ValueError, match=r"images: expected grey levels as bytes|x: expected shape \(n, 12\)"):
        model.start_at_mean(grey)
    assert torch.equal(model.p_x.out.bias, before)


def test_latents_that_are_a_number_are_refused():
    with pytest.raises(TypeError, match=r"latents: expected the widths of the layers, got 5\. Pass e\.g\."):
        HierarchicalVAE(latents=5)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.uint8])
def test_bits_that_are_no_floats_are_refused(dtype):
    with pytest.raises(ValueError, match=r"x: expected bits as floats, got torch\..*Pass x\.float\(\)"):
        make()(torch.ones(5, PIXELS, dtype=dtype))


@pytest.mark.parametrize("shapes", [[(5, 2)], [(5, 2), (1, 3)]])
def test_pictures_of_noise_of_another_shape_are_refused(shapes):
    with pytest.raises(ValueError, match="noise: expected shapes"):
        make().generate([torch.zeros(s).double() for s in shapes])


def test_one_hidden_width_stands_for_both():
    one, two = HierarchicalVAE((2, 3), 8, pixels=PIXELS), HierarchicalVAE((2, 3), (8, 8), pixels=PIXELS)
    assert [p.shape for p in one.parameters()] == [p.shape for p in two.parameters()]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"latents": ()}, r"latents: expected at least one width.*Pass e\.g"),
        ({"latents": (2, 0)}, "latents: expected a whole number"),
        ({"hidden": (8, 8, 8)}, r"hidden: expected one number or two widths, got \(8, 8, 8\)\. Pass"),
        ({"hidden": -1}, "hidden: expected a whole number"),
        ({"pixels": 0}, "pixels: expected a whole number"),
    ],
)
def test_sizes_that_make_no_model_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        HierarchicalVAE(**arguments)


@pytest.mark.parametrize("x", [torch.zeros(5, 3, 4), torch.zeros(PIXELS), torch.zeros(5, PIXELS + 1)])
def test_images_of_another_shape_are_refused(x):
    with pytest.raises(ValueError, match=r"x: expected shape \(n, 12\), got .*Flatten"):
        make()(x.double())


@pytest.mark.parametrize("shapes", [[(5, 2)], [(5, 3), (5, 2)], [(4, 2), (4, 3)]])
def test_noise_of_another_shape_is_refused(shapes):
    with pytest.raises(ValueError, match=r"noise: expected shapes .*Make it with model\.noise"):
        make()(images(), noise=[torch.zeros(s).double() for s in shapes])


@pytest.mark.parametrize("grey", [torch.full((5, PIXELS), 255.0), torch.full((5, PIXELS), 0.5), images() * math.nan])
@pytest.mark.parametrize(
    "call",
    [
        lambda model, x: model(x),
        lambda model, x: model(x, noise=model.noise(x)),
        full,
        lambda model, x: modified(model, x, noise=model.noise(x)),
        lambda model, x: model.below(x, torch.zeros(5, 2).double(), [torch.zeros(5, 3).double()]),
        lambda model, x: model.check_images(x),
    ],
)
def test_grey_levels_where_bits_are_expected_are_refused(call, grey):
    """They would have a "likelihood" above 1."""
    with pytest.raises(
        ValueError, match=r"x: expected bits, numbers 0 and 1, got others, from .* Binarise grey levels"
    ):
        call(make(), grey.double())


def test_what_cannot_be_read_or_waited_for_is_not_looked_at(monkeypatch):
    model, grey = make(), torch.full((5, PIXELS), 255.0).double()
    model.to("meta")(grey.to("meta"))
    model = make()
    vmap(lambda x: (model.check_images(x), x)[1])(grey[:, None])
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert model(grey).R.isfinite().all()
