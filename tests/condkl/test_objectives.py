"""One list of properties for every objective: the values of the ELBO, and the gradient each parameter follows.

The wanted gradients come from the terms as `torch.distributions` gives them, differentiated one by one.
"""

import math
from dataclasses import FrozenInstanceError, dataclass

import pytest
import torch
from by_hand import PIXELS, assert_followed, error, gradient, make, split, tensor, terms_by_hand, wanted
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.distributions import Bernoulli, Normal, kl_divergence
from torch.func import functional_call

from condkl.objectives import (
    Interpolated,
    canonical,
    full,
    interpolated,
    modified,
    names,
    objective,
)
from condkl.objectives.free_bits import FreeBits
from condkl.objectives.kl_balancing import KLBalancing
from condkl.objectives.kl_warm_up import KLWarmUp
from condkl.objectives.lambda_warm_up import LambdaSchedule
from condkl.objectives.prior_mixture import PriorMixture
from condkl.vae import HierarchicalVAE, Terms

JOINED = ("modified+kl_warm_up", "lambda=0.9+kl_warm_up", "modified+free_bits", "lambda=0.9+free_bits_top")
OBJECTIVES = {name: objective(name) for name in [*names(), "lambda=0.5", *JOINED]}
ALL = OBJECTIVES | {f"interpolated({lam})": interpolated(lam) for lam in (0.0, 0.1, 0.5, 0.9, 1.0)}
MODELS = [
    *(((2,), "lowest"), ((2, 3), "lowest"), ((2, 3), "skip"), ((2, 3, 4), "lowest"), ((2, 3, 2, 3), "skip")),
    *(((2,), "residual"), ((2, 3), "residual"), ((2, 3, 2, 3), "residual")),
]
every_model = pytest.mark.parametrize(("latents", "decoder"), MODELS)
WEIGHTS = (None, 0.3)
# Every objective with every model, and with every weight: half of the squares, as on a board; the others are slow.
every_case = pytest.mark.parametrize(
    ("name", "latents", "decoder", "weight"),
    [
        pytest.param(name, *model, weight, marks=[pytest.mark.slow] * ((i + j + k) % 2))
        for i, name in enumerate(ALL)
        for j, model in enumerate(MODELS)
        for k, weight in enumerate(WEIGHTS)
    ],
)


@every_case
def test_values_are_those_of_the_full_gradient_to_the_last_bit(name, latents, decoder, weight):
    model, x, noise = make(latents, decoder)
    plain, terms = model(x, noise=noise), ALL[name](model, x, noise=noise, weight=tensor(weight))
    for term in ("R", "A", "C", "elbo"):
        assert torch.equal(getattr(terms, term), getattr(plain, term))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_noise_that_is_not_given_comes_from_the_generator(name):
    model, x, _ = make()
    one, two = (torch.Generator().manual_seed(4) for _ in range(2))
    assert torch.equal(OBJECTIVES[name](model, x, one).elbo, model(x, noise=model.noise(x, two)).elbo)


@every_case
def test_each_parameter_follows_what_the_objective_says(name, latents, decoder, weight):
    """With several layers each ancestor meets a conditional KL with weight λ, and not λ to the number of hops."""
    assert_followed(ALL[name], weight, *make(latents, decoder))


@every_model
def test_free_bits_hold_each_layer_to_its_own_mean_over_the_batch(latents, decoder):
    """The floor lies below, between and above the layers' KLs, and always between those of single images."""
    model, x, noise = make(latents, decoder)
    _, A, C = terms_by_hand(model, x, noise)
    for kl in (A, *C):
        for nats in (kl.mean().item() * (1 - 1e-3), kl.mean().item() * (1 + 1e-3)):
            assert kl.min() < nats < kl.max()
            assert_followed(FreeBits(nats), None, model, x, noise)
    for nats in (0.0, 1e3):
        for below in (True, False):
            assert_followed(FreeBits(nats, below), None, model, x, noise)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
@every_model
def test_each_argument_of_a_balanced_kl_has_its_own_weight(latents, decoder, alpha):
    assert_followed(KLBalancing(alpha), None, *make(latents, decoder))


@pytest.mark.parametrize("decoder", ["lowest", "skip", "residual"])
def test_phi_under_the_prior_mixture_learns_at_draws_that_the_posterior_never_gives(decoder):
    """With q(v|x) cut down to a point, phi still sees all of p(v), and nothing of that reaches theta or omega."""
    model, x, noise = make(decoder=decoder)
    with torch.no_grad():
        model.q_v.out.weight.zero_()
        model.q_v.out.bias.copy_(torch.tensor([3.0, 3.0, -9.0, -9.0]))
    terms, plain = PriorMixture()(model, x, noise=noise), model(x, noise=noise)
    for block in (model.theta(), model.omega()):
        assert error(gradient(terms.elbo.mean(), block), gradient(plain.elbo.mean(), block)) < 1e-13
    R, _, C = terms_by_hand(model, x, noise, v=noise[0])
    extra = gradient(terms.elbo.mean(), model.phi()) - gradient(plain.elbo.mean(), model.phi())
    assert error(extra, gradient((R - C[0]).mean(), model.phi())) < 1e-12


@every_model
def test_theta_under_eq_9_gets_nothing_from_the_conditional_kls(latents, decoder):
    model, x, noise = make(latents, decoder)
    terms = modified(model, x, noise=noise)
    if terms.C.requires_grad:
        assert not gradient(terms.C.sum(), model.theta()).any()
    got = gradient((terms.R - terms.A - terms.C.sum(-1)).sum(), model.theta())
    plain = model(x, noise=noise)
    torch.testing.assert_close(got, gradient((plain.R - plain.A).sum(), model.theta()), rtol=1e-14, atol=1e-15)


def test_weights_do_not_multiply_over_hops():
    lam = 0.5
    model, x, noise = make((2, 3, 4))
    *_, C = terms_by_hand(model, x, noise)
    got = gradient(interpolated(lam)(model, x, noise=noise).C[:, 1].sum(), model.theta())
    once, twice = (weight * gradient(C[1].sum(), model.theta()) for weight in (lam, lam**2))
    assert error(got, once) < 1e-12
    assert error(got, twice) > 0.5


def test_lambda_one_is_the_full_gradient_and_zero_is_eq_9():
    assert (full.lam, modified.lam) == (1.0, 0.0)
    problem = make()
    theta_full, theta_modified = (wanted(follow, None, *problem)[0] for follow in (full, modified))
    assert error(theta_modified, theta_full) > 1e-3
    R, A, C = terms_by_hand(*problem)
    for want, elbo in ((theta_full, R - A - C[0]), (theta_modified, R - A)):
        assert error(want, gradient(elbo.mean(), problem[0].theta())) < 1e-12


@pytest.mark.parametrize("name", OBJECTIVES)
def test_no_weight_stands_for_the_one_at_the_end(name):
    model, x, noise = make()
    weights = list(model.parameters())
    last = OBJECTIVES[name](model, x, noise=noise, weight=tensor(OBJECTIVES[name].weight(1.0)))
    none = OBJECTIVES[name](model, x, noise=noise)
    assert error(gradient(none.elbo.mean(), weights), gradient(last.elbo.mean(), weights)) < 1e-13


SCHEDULED = {
    "lambda_warm_up": (0.0, 1.0, 0.5),
    "lambda_drop": (1.0, 0.0, 0.5),
    **dict.fromkeys(("kl_warm_up", "modified+kl_warm_up", "lambda=0.9+kl_warm_up"), (0.0, 1.0, 0.25)),
}


@pytest.mark.parametrize("name", OBJECTIVES)
@given(progress=st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted))
def test_the_schedule_goes_straight_from_its_first_to_its_last_weight_and_stays_there(name, progress):
    first, last, until = SCHEDULED.get(name, (1.0, 1.0, 0.5))
    weight = OBJECTIVES[name].weight
    assert (weight(0.0), weight(until), weight(1.0)) == (first, last, last)
    assert weight(until / 2) == pytest.approx((first + last) / 2)
    earlier, later = map(weight, progress)
    assert 0 <= min(earlier, later) <= max(earlier, later) <= 1
    assert (later - earlier) * (last - first) >= 0  # it never turns round
    assert weight(min(progress[0], until)) == pytest.approx(first + min(1, progress[0] / until) * (last - first))


def test_a_schedule_starts_ends_and_lasts_as_it_is_told():
    schedule = LambdaSchedule(first=0.2, last=0.8, until=1.0)
    assert [schedule.weight(p) for p in (0.0, 0.25, 0.5, 1.0)] == pytest.approx([0.2, 0.35, 0.5, 0.8])
    assert [KLWarmUp(until=0.5).weight(p) for p in (0.0, 0.25, 0.5, 0.75)] == [0, 0.5, 1, 1]


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
    off = error(got, gradient((R - A).sum(), variant.theta()))
    assert off < 1e-12 if leak == "none" else off > 1e-3


class OnCPU(HierarchicalVAE):
    """Forgets the device in one place."""

    def forward(self, x, generator=None, noise=None, **more):
        return super().forward(x + torch.zeros(PIXELS, dtype=x.dtype), generator, noise, **more)


class Follow(nn.Module):
    """The loss as a module, so that its parameters can be replaced."""

    def __init__(self, model, follow):
        super().__init__()
        self.model, self.follow = model, follow

    def forward(self, x, weight):
        return -self.follow(self.model, x, weight=weight).elbo.mean()


def x_and_weight(device):
    return torch.empty(5, PIXELS, device=device).double(), torch.empty((), device=device).double()


def loss_on_meta(model, follow):
    model = model.to("meta")
    Follow(model, follow)(*x_and_weight("meta")).backward()
    assert {p.grad.device.type for p in model.parameters()} == {"meta"}


def loss_on_pretended_cuda(model, follow):
    module = Follow(model, follow)
    with FakeTensorMode():
        fake = {k: torch.empty(p.shape, dtype=p.dtype, device="cuda") for k, p in module.named_parameters()}
        loss = functional_call(module, fake, x_and_weight("cuda"))
    assert (loss.device.type, loss.shape) == ("cuda", ())


@pytest.mark.parametrize(("latents", "decoder"), MODELS[2:4])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_loss_stays_on_the_device_of_model_and_images(name, latents, decoder):
    loss_on_pretended_cuda(make(latents, decoder)[0], OBJECTIVES[name])
    loss_on_meta(make(latents, decoder)[0], OBJECTIVES[name])


@dataclass(frozen=True)
class WeightOnCPU(KLWarmUp):
    """Makes its own weight, on the wrong device."""

    def __call__(self, model, x, generator=None, noise=None, weight=None):
        return super().__call__(model, x, generator, noise, torch.full((1,), 0.3, dtype=x.dtype))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_tensor_left_on_the_cpu_is_found(name):
    with pytest.raises(RuntimeError, match="device"):
        loss_on_pretended_cuda(make(kind=OnCPU)[0], OBJECTIVES[name])


def test_a_weight_left_on_the_cpu_is_found():
    with pytest.raises(RuntimeError, match="device"):
        loss_on_pretended_cuda(make()[0], WeightOnCPU())


@pytest.mark.parametrize("bad", [-0.1, 1.1, math.nan, "1"])
def test_a_weight_outside_the_unit_interval_is_refused(bad):
    kinds = [("lam", kind) for kind in (Interpolated, KLWarmUp, FreeBits)]
    for name, kind in (*kinds, ("first", LambdaSchedule), ("last", LambdaSchedule), ("alpha", KLBalancing)):
        with pytest.raises(ValueError, match=f"{name}: expected a number from 0 to 1"):
            kind(**{name: bad})


def test_objectives_are_found_by_name_and_unknown_names_are_refused():
    assert {name: objective(name) for name in OBJECTIVES} == OBJECTIVES
    with pytest.raises(ValueError, match=r"objective: expected one of full, modified.*got 'fulll'"):
        objective("fulll")


def test_an_objective_found_by_name_has_the_settings_that_were_studied():
    assert objective("free_bits") == FreeBits(nats=3.0, below=True, lam=1.0)
    assert objective("free_bits_top") == FreeBits(nats=3.0, below=False, lam=1.0)
    assert objective("kl_balancing") == KLBalancing(alpha=0.8)
    assert objective("kl_warm_up") == KLWarmUp(until=0.25, lam=1.0)
    assert objective("lambda_warm_up") == LambdaSchedule(first=0.0, last=1.0, until=0.5)
    assert objective("lambda_drop") == LambdaSchedule(first=1.0, last=0.0, until=0.5)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_that_all_share_cannot_be_changed(name):
    with pytest.raises(FrozenInstanceError):
        OBJECTIVES[name].lam = 0.3


@pytest.mark.parametrize("lam", [0.1, 0.75, 0.9, 1e-5])
def test_a_fixed_weight_is_found_by_its_number(lam):
    assert objective(f"lambda={lam}") == interpolated(lam)


@pytest.mark.parametrize(
    ("spellings", "one"),
    [
        (("lambda=0.7", "lambda=0.70", "lambda=.7", "lambda=7e-1"), "lambda=0.7"),
        (("lambda=0", "lambda=0.0", "modified"), "modified"),
        (("lambda=1", "lambda=1.0", "full"), "full"),
        (("modified+free_bits", "lambda=0.0+free_bits"), "modified+free_bits"),
        (("full+free_bits", "lambda=1+free_bits", "free_bits"), "free_bits"),
    ],
)
def test_every_spelling_of_a_fixed_weight_has_one_name(spellings, one):
    assert {canonical(name) for name in spellings} == {one}
    assert {objective(name) for name in spellings} == {objective(one)}


@pytest.mark.parametrize(
    "name", ["lambda=", "lambda=2", "lambda=-0.1", "lambda=nan", "lambda=inf", "lambda=0.9x", "lambda=2+free_bits"]
)
def test_a_weight_that_is_no_number_from_0_to_1_is_refused(name):
    with pytest.raises(ValueError, match=r"objective: expected lambda=0\.7 or the like.*got 'lambda="):
        objective(name)


@pytest.mark.parametrize(
    "name", ["modified+full", "full+full", "modified+lambda_drop", "modified+", "kl_warm_up+free_bits"]
)
def test_only_a_fixed_weight_and_an_objective_that_takes_one_are_joined(name):
    with pytest.raises(ValueError, match=r"objective: expected one of .*after a λ as modified\+free_bits, got '"):
        objective(name)


@pytest.mark.parametrize("name", ["lambda_", "lambda_0.9", "half", "lambda_-1", "0.9", "", "__init__", "free_bits.x"])
def test_a_name_that_only_resembles_that_of_an_objective_is_refused(name):
    with pytest.raises(ValueError, match=r"objective: expected one of .*or lambda=0\.7 and the like"):
        objective(name)


@pytest.mark.parametrize(
    ("make_bad", "message"),
    [
        (lambda: LambdaSchedule(until=0), "until: expected a share"),
        (lambda: LambdaSchedule(first=2), "first: expected a number from 0 to 1"),
        (lambda: KLWarmUp(until=-1), "until: expected a share"),
        (lambda: FreeBits(nats=math.nan), "nats: expected a finite number of at least 0"),
        (lambda: FreeBits(nats=-1), "nats: expected a finite number of at least 0"),
    ],
)
def test_senseless_settings_of_an_objective_are_refused(make_bad, message):
    with pytest.raises(ValueError, match=message):
        make_bad()
