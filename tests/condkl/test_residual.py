"""States that add up from the top: values by hand, and each ancestor's weight in a conditional KL by differences."""

import pytest
import torch
from by_hand import error, gradient, make, matrices, split, terms_by_hand

from condkl.objectives import interpolated
from condkl.switch import scale_gradient
from condkl.vae import HierarchicalVAE

WIDTHS = [(2,), (2, 3), (2, 3, 2, 3)]
every_depth = pytest.mark.parametrize("latents", WIDTHS)


@every_depth
def test_terms_are_those_of_torch_distributions_that_read_the_sum_of_all_layers_above(latents):
    model, x, noise = make(latents, "residual")
    terms, (R, A, C) = model(x, noise=noise), terms_by_hand(model, x, noise)
    for got, want in ((terms.R, R), (terms.A, A), *zip(terms.C.T, C, strict=True)):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


@every_depth
def test_images_are_generated_from_the_top_by_the_priors_of_each_state(latents):
    model, _, noise = make(latents, "residual")
    z, state = noise[0], 0.0
    for i, e in enumerate(noise[1:]):
        state = state + z @ model.to_state[i].weight.T
        p = split(model.p_u[i](state))
        z = p.mean + p.stddev * e
    want = model.p_x(state + z @ model.to_state[-1].weight.T).sigmoid().detach()
    torch.testing.assert_close(model.generate(noise), want, rtol=1e-12, atol=0)


@every_depth
def test_each_parameter_is_in_one_group_and_none_is_idle(latents):
    model, x, noise = make(latents, "residual")
    model(x, noise=noise).elbo.mean().backward()
    groups = [{id(p) for p in group} for group in (model.theta(), model.phi(), model.omega())]
    assert sum(map(len, groups)) == len(set.union(*groups)) == len(list(model.parameters()))
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())


def test_both_conditionals_and_the_decoder_read_every_layer_above_them():
    model, x, noise = make((2, 3, 2, 3), "residual")
    z = [model.posterior(x).at(noise[0]).detach().requires_grad_()]
    for layer in model.layers(z[0], noise[1:], model.from_x(x)):
        layer._z = layer.drawn_from.at(layer.noise).detach().requires_grad_()  # z's own leaf
        for g in (layer.q, layer.p):
            assert all(one.any() for one in torch.autograd.grad(g.mean.sum(), z, retain_graph=True))
        z.append(layer.draw())
    assert all(one.any() for one in torch.autograd.grad(model.p_x(model.decoder_input(z)).sum(), z))


@torch.no_grad()
def conditional_kls(model, x, noise, block, direction, step):
    """The mean C_l with the parameters of a block moved so far."""
    for p, d in zip(block, direction, strict=True):
        p.add_(d, alpha=step)
    found = model(x, noise=noise).C.mean(0)
    for p, d in zip(block, direction, strict=True):
        p.add_(d, alpha=-step)
    return found


@pytest.mark.parametrize("lam", [0.0, 0.3, 0.9, 1.0])
def test_every_ancestor_meets_a_conditional_kl_with_the_weight_itself(lam):
    """By differences of C along a direction of each posterior's parameters: λ, whatever the states and hops between."""
    model, x, noise = make((2, 3, 2, 3), "residual")
    for i, block in enumerate([model.theta(), *(list(net.parameters()) for net in model.q_u)]):
        direction = [torch.randn(p.shape, generator=torch.Generator().manual_seed(i)).double() for p in block]
        plus, minus = (conditional_kls(model, x, noise, block, direction, step) for step in (1e-5, -1e-5))
        slopes, flat = (plus - minus) / 2e-5, torch.cat([d.flatten() for d in direction])
        C = interpolated(lam)(model, x, noise=noise).C.mean(0)
        for l, slope in enumerate(slopes.tolist(), 1):  # noqa: E741
            got = float(gradient(C[l - 1], block) @ flat)
            assert got == pytest.approx((1.0 if l == i else lam) * slope, rel=1e-6, abs=1e-8), (i, l)
            assert (abs(slope) > 1e-3) == (l >= i), "there is a slope to tell the weights by"


def test_a_path_for_the_state_would_take_a_part_of_what_the_model_follows():
    """What makes the states is of the model, which has to follow C in full: the path is for the latents."""
    model, x, noise = make((2, 3), "residual")
    _, _, C = terms_by_hand(model, x, noise, W=(W := matrices(model)))
    want = gradient(C[0].sum(), [W[0][0]]) + gradient(C[0].sum(), [W[1][0]])
    got = gradient(model(x, noise=noise, path=lambda z: scale_gradient(z, 0.3)).C.sum(), [model.to_state[0].weight])
    assert error(got, want) < 1e-12


def test_skip_and_residual_exclude_each_other():
    with pytest.raises(ValueError, match="residual: expected False with skip, got True"):
        HierarchicalVAE(skip=True, residual=True)
