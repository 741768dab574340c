"""One list of properties for every objective: the values of the ELBO, and the gradient each parameter follows.

The wanted gradients come from the terms as `torch.distributions` gives them, differentiated one by one.
"""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.distributions import Bernoulli, Normal, kl_divergence
from torch.func import functional_call

from condkl.objective import OBJECTIVES, Interpolated, full, interpolated, modified, objective, scale_path
from condkl.vae import HierarchicalVAE, Terms

PIXELS = 12
ALL = OBJECTIVES | {f"interpolated({lam})": interpolated(lam) for lam in (0.0, 0.1, 0.5, 0.9, 1.0)}
MODELS = [((2,), False), ((2, 3), False), ((2, 3), True), ((2, 3, 4), False), ((2, 3, 2, 3), True)]
every_objective = pytest.mark.parametrize("name", ALL)
every_model = pytest.mark.parametrize(("latents", "skip"), MODELS)


def make(latents=(2, 3), skip=False, kind=HierarchicalVAE):
    torch.manual_seed(0)
    model = kind(latents, hidden=(8, 6), skip=skip, pixels=PIXELS).double()
    x = torch.rand(5, PIXELS).round().double()
    return model, x, model.noise(x)


def split(output):
    half = output.shape[-1] // 2
    return Normal(output[:, :half], output[:, half:].exp())


def terms_by_hand(model, x, noise):
    """R, A, and the list of the C_l, summed over images, on one plain graph."""
    q = split(model.q_v(x))
    z, C = [q.mean + q.stddev * noise[0]], []
    A = kl_divergence(q, Normal(0.0, 1.0)).sum()
    for q_net, p_net, e in zip(model.q_u, model.p_u, noise[1:], strict=True):
        q = split(q_net(x, z[-1]))
        C.append(kl_divergence(q, split(p_net(z[-1]))).sum())
        z.append(q.mean + q.stddev * e)
    decoder = Bernoulli(logits=model.p_x(torch.cat(z, -1) if model.skip else z[-1]))
    return decoder.log_prob(x).sum(), A, C


def gradient(value, parameters):
    """The gradient in one vector."""
    grads = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
    return torch.cat(
        [(torch.zeros_like(p) if g is None else g).reshape(-1) for g, p in zip(grads, parameters, strict=True)]
    )


def error(got, want):
    return ((got - want).norm() / want.norm()).item()


def theta_error(follow, lam, latents=(2, 3), skip=False):
    """How far theta's gradient is from ∇R - ∇A - λ Σ_l ∇C_l, as a share of its size."""
    model, x, noise = make(latents, skip)
    got = gradient(follow(model, x, noise=noise).elbo.sum(), model.theta())
    R, A, C = terms_by_hand(model, x, noise)
    want = gradient(R, model.theta()) - gradient(A, model.theta())
    return error(got, want - lam * sum(gradient(c, model.theta()) for c in C))


@every_model
@every_objective
def test_values_are_those_of_the_full_gradient_to_the_last_bit(name, latents, skip):
    model, x, noise = make(latents, skip)
    plain, terms = model(x, noise=noise), ALL[name](model, x, noise=noise)
    for term in ("R", "A", "C", "elbo"):
        assert torch.equal(getattr(terms, term), getattr(plain, term))


@every_model
@every_objective
def test_theta_gets_the_conditional_kls_with_weight_lambda(name, latents, skip):
    """Once for each conditional KL, and not λ to the number of hops."""
    assert theta_error(ALL[name], ALL[name].lam, latents, skip) < 1e-12


@every_model
def test_theta_under_eq_9_gets_nothing_from_the_conditional_kls(latents, skip):
    model, x, noise = make(latents, skip)
    terms = modified(model, x, noise=noise)
    if terms.C.requires_grad:
        assert not gradient(terms.C.sum(), model.theta()).any()
    got = gradient((terms.R - terms.A - terms.C.sum(-1)).sum(), model.theta())
    plain = model(x, noise=noise)
    torch.testing.assert_close(got, gradient((plain.R - plain.A).sum(), model.theta()), rtol=1e-14, atol=1e-15)


@every_model
@every_objective
def test_omega_and_the_lowest_posterior_follow_the_elbo(name, latents, skip):
    model, x, noise = make(latents, skip)
    R, A, C = terms_by_hand(model, x, noise)
    elbo, got = R - A - sum(C), ALL[name](model, x, noise=noise).elbo.sum()
    assert error(gradient(got, model.omega()), gradient(elbo, model.omega())) < 1e-13
    if len(latents) > 1:
        phi = list(model.q_u[-1].parameters())
        assert error(gradient(got, phi), gradient(elbo, phi)) < 1e-13


@pytest.mark.parametrize("skip", [False, True])
@every_objective
def test_phi_follows_the_elbo_with_two_layers(name, skip):
    model, x, noise = make(skip=skip)
    got = gradient(ALL[name](model, x, noise=noise).elbo.sum(), model.phi())
    assert error(got, gradient(full(model, x, noise=noise).elbo.sum(), model.phi())) < 1e-13


@every_objective
def test_a_middle_posterior_gets_the_kls_below_it_with_weight_lambda(name):
    model, x, noise = make((2, 3, 4))
    R, _, C = terms_by_hand(model, x, noise)
    phi = list(model.q_u[0].parameters())
    want = gradient(R, phi) - gradient(C[0], phi) - ALL[name].lam * gradient(C[1], phi)
    assert error(gradient(ALL[name](model, x, noise=noise).elbo.sum(), phi), want) < 1e-12


def test_weights_do_not_multiply_over_hops():
    lam = 0.5
    model, x, noise = make((2, 3, 4))
    *_, C = terms_by_hand(model, x, noise)
    got = gradient(interpolated(lam)(model, x, noise=noise).C[:, 1].sum(), model.theta())
    once, twice = (weight * gradient(C[1], model.theta()) for weight in (lam, lam**2))
    assert error(got, once) < 1e-12
    assert error(got, twice) > 0.5


def test_lambda_one_is_the_full_gradient_and_zero_is_eq_9():
    assert (full.lam, modified.lam) == (1.0, 0.0)
    assert theta_error(interpolated(1.0), 1.0) < 1e-12
    assert theta_error(interpolated(0.0), 0.0) < 1e-12
    assert theta_error(interpolated(0.0), 1.0) > 1e-3


@given(st.floats(0, 1), st.floats(-1e6, 1e6))
def test_a_scaled_path_keeps_the_value_and_scales_the_gradient(lam, value):
    v = torch.tensor(value, dtype=torch.float64, requires_grad=True)
    scaled = scale_path(v, lam)
    assert torch.equal(scaled, v)
    assert scaled.requires_grad == (lam > 0)
    if lam:
        assert torch.autograd.grad(scaled, v)[0] == lam


class Leaking(HierarchicalVAE):
    """Puts the plain v into one of the two conditionals of C, through which theta still gets its whole gradient."""

    leak = "q"

    def forward(self, x, generator=None, noise=None, path=lambda z: z):
        q = split(self.q_v(x))
        v = q.mean + q.stddev * noise[0]
        q_plain = split(self.q_u[0](x, v))
        q_above = q_plain if self.leak == "q" else split(self.q_u[0](x, path(v)))
        p = split(self.p_u[0](v if self.leak == "p" else path(v)))
        u = q_plain.mean + q_plain.stddev * noise[1]
        R = Bernoulli(logits=self.p_x(u)).log_prob(x).sum(-1)
        return Terms(R, kl_divergence(q, Normal(0.0, 1.0)).sum(-1), kl_divergence(q_above, p).sum(-1, keepdim=True))


@pytest.mark.parametrize("leak", ["q", "p", "none"])
def test_reusing_the_unscaled_latents_in_the_conditional_kl_is_found(leak):
    kind = type("Leaking", (Leaking,), {"leak": leak})
    model, x, noise = make()
    variant = make(kind=kind)[0]
    torch.testing.assert_close(variant(x, noise=noise).elbo, model(x, noise=noise).elbo)  # the values tell nothing

    def leaking(_, x, noise):
        return modified(variant, x, noise=noise)

    got = gradient(leaking(model, x, noise).elbo.sum(), variant.theta())
    R, A, _ = terms_by_hand(variant, x, noise)
    off = error(got, gradient(R - A, variant.theta()))
    assert off < 1e-12 if leak == "none" else off > 1e-3


class OnCPU(HierarchicalVAE):
    """Forgets the device in one place."""

    def forward(self, x, generator=None, noise=None, path=lambda z: z):
        return super().forward(x + torch.zeros(PIXELS, dtype=x.dtype), generator, noise, path)


class Follow(nn.Module):
    """The loss as a module, so that its parameters can be replaced."""

    def __init__(self, model, follow):
        super().__init__()
        self.model, self.follow = model, follow

    def forward(self, x):
        return -self.follow(self.model, x).elbo.mean()


def loss_on_meta(model, follow):
    model = model.to("meta")
    follow(model, torch.empty(5, PIXELS, device="meta", dtype=torch.float64)).elbo.mean().backward()
    assert {p.grad.device.type for p in model.parameters()} == {"meta"}


def loss_on_pretended_cuda(model, follow):
    module = Follow(model, follow)
    with FakeTensorMode():
        fake = {k: torch.empty(p.shape, dtype=p.dtype, device="cuda") for k, p in module.named_parameters()}
        loss = functional_call(module, fake, (torch.empty(5, PIXELS, device="cuda", dtype=torch.float64),))
    assert (loss.device.type, loss.shape) == ("cuda", ())


@every_model
@every_objective
def test_the_loss_stays_on_the_device_of_model_and_images(name, latents, skip):
    loss_on_pretended_cuda(make(latents, skip)[0], ALL[name])
    loss_on_meta(make(latents, skip)[0], ALL[name])


@every_objective
def test_a_tensor_left_on_the_cpu_is_found(name):
    with pytest.raises(RuntimeError, match="device"):
        loss_on_pretended_cuda(make(kind=OnCPU)[0], ALL[name])


@pytest.mark.parametrize("bad", [-0.1, 1.1, math.nan, "1"])
def test_a_weight_outside_the_unit_interval_is_refused(bad):
    with pytest.raises(ValueError, match="lam: expected a number from 0 to 1"):
        Interpolated(bad)


def test_objectives_are_found_by_name_and_unknown_names_are_refused():
    assert {name: objective(name) for name in OBJECTIVES} == OBJECTIVES
    with pytest.raises(ValueError, match=r"objective: expected one of full, modified.*got 'fulll'"):
        objective("fulll")
