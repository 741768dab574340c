"""The terms of a small model as `torch.distributions` gives them, and what each of its parameters has to follow."""

from functools import partial

import torch
import torch.nn.functional as nnf
from torch.distributions import Bernoulli, Normal, kl_divergence

from condkl.objectives import Interpolated
from condkl.objectives.free_bits import FreeBits
from condkl.objectives.kl_balancing import KLBalancing
from condkl.objectives.kl_warm_up import KLWarmUp
from condkl.objectives.lambda_warm_up import LambdaSchedule
from condkl.objectives.prior_mixture import PriorMixture
from condkl.vae import HierarchicalVAE

PIXELS = 12


def make(latents=(2, 3), decoder="lowest", kind=HierarchicalVAE):
    """A model in float64, whose decoder sees the lowest layer, or all by "skip" or "residual"; images; noise."""
    torch.manual_seed(0)
    more = {} if decoder == "lowest" else {decoder: True}
    model = kind(latents, hidden=(8, 6), pixels=PIXELS, **more).double()
    x = torch.rand(5, PIXELS).round().double()
    return model, x, model.noise(x)


def tensor(weight):
    return None if weight is None else torch.tensor(weight, dtype=torch.float64)


def split(output):
    half = output.shape[-1] // 2
    return Normal(output[:, :half], output[:, half:].exp())


def matrices(model):
    """Those that make the states, once for each layer that reads a state; none without states."""
    own = [one.weight for one in model.to_state]
    return [[W.detach().clone().requires_grad_() for W in own] for _ in model.latents]


def terms_by_hand(model, x, noise, v=None, W=None, kl=kl_divergence):
    """R, A, and the list of the C_l, per image, on one plain graph; at v, or at the draw from q(v|x).

    Each posterior below v reads the state by matrices W of its own, and so does the model, by the last ones.
    """
    *W_q, W_p = W or [[one.weight for one in model.to_state]] * len(model.latents)

    def read(z, W):
        return sum(nnf.linear(one, w) for one, w in zip(z, W, strict=False)) if model.residual else z[-1]

    q = split(model.q_v(x))
    z, C = [q.mean + q.stddev * noise[0] if v is None else v], []
    A = kl_divergence(q, Normal(0.0, 1.0)).sum(-1)
    for q_net, p_net, own, e in zip(model.q_u, model.p_u, W_q, noise[1:], strict=True):
        q = split(q_net(x, read(z, own)))
        C.append(kl(q, split(p_net(read(z, W_p)))).sum(-1))
        z.append(q.mean + q.stddev * e)
    decoder = Bernoulli(logits=model.p_x(torch.cat(z, -1) if model.skip else read(z, W_p)))
    return decoder.log_prob(x).sum(-1), A, C


def balanced(q, p, alpha):
    """The KL of Hafner et al. (2021), as they write it."""
    q_stopped, p_stopped = (Normal(g.mean.detach(), g.stddev.detach()) for g in (q, p))
    return alpha * kl_divergence(q_stopped, p) + (1 - alpha) * kl_divergence(q, p_stopped)


def gradient(value, parameters):
    """The gradient in one vector."""
    grads = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
    return torch.cat(
        [(torch.zeros_like(p) if g is None else g).reshape(-1) for g, p in zip(grads, parameters, strict=True)]
    )


def error(got, want):
    return ((got - want).norm() / want.norm()).item()


def blocks(model):
    """The parameters of each posterior from the top, theta first, those of the model, and those of the states."""
    networks = [*model.p_u.parameters(), *model.p_x.parameters()]
    return [model.theta(), *(list(net.parameters()) for net in model.q_u), networks, list(model.to_state.parameters())]


def wanted(follow, weight, model, x, noise):
    """The gradient of the batch mean that each of `blocks` has to follow."""
    W = matrices(model)
    theta, *phi, networks, _ = blocks(model)
    roles = [theta, *(block + own for block, own in zip([*phi, networks], W, strict=True))]
    found = [role(roles[i]) for i, role in enumerate(_roles(follow, weight, model, x, noise, W))]
    if not model.residual:
        return found
    sizes = [sum(p.numel() for p in block) for block in (*phi, networks)]
    own = [vector[:size] for vector, size in zip(found[1:], sizes, strict=True)]
    return [found[0], *own, sum(vector[size:] for vector, size in zip(found[1:], sizes, strict=True))]


def _roles(follow, weight, model, x, noise, W):
    """For each posterior from the top, and for the model, a function that gives the gradient on its parameters."""
    kl = partial(balanced, alpha=follow.alpha) if isinstance(follow, KLBalancing) else kl_divergence
    R, A, C = terms_by_hand(model, x, noise, W=W, kl=kl)
    terms = [t.mean() for t in (R, -A, *(-c for c in C))]
    scales, lam = [1.0] * len(terms), 1.0  # of the terms for everyone, and of those below a posterior for it

    def along(block, weights):
        return sum(s * w * gradient(t, block) for s, w, t in zip(scales, weights, terms, strict=True))

    match follow:
        case Interpolated():
            lam = follow.lam
        case LambdaSchedule():
            lam = follow.last if weight is None else weight
        case KLWarmUp():
            lam, scales = follow.lam, [1.0] + [1.0 if weight is None else weight] * (1 + len(C))
        case FreeBits():
            lam, scales = follow.lam, [1.0, *(float(-t > follow.nats) for t in terms[1:])]
            scales = scales if follow.below else scales[:2] + [1.0] * len(C)
        case PriorMixture():
            R, _, C = terms_by_hand(model, x, noise, v=noise[0])
            at_prior = (R - sum(C)).mean()
            one = [1.0] * len(terms)
            below = [lambda block: along(block, one) + gradient(at_prior, block)] * (len(model.latents) - 1)
            return [lambda block: along(block, one), *below, lambda block: along(block, one)]
        case KLBalancing():
            pass
        case _:
            raise AssertionError(f"{follow}: say here what each parameter is to follow")
    # The posterior of layer i, v being 0, meets its own KL (A or C_i) plainly, and those below with λ.
    rows = [[1.0] * (2 + i) + [lam] * (len(C) - i) for i in range(1 + len(C))]
    return [partial(along, weights=row) for row in [*rows, [1.0] * len(terms)]]


def assert_followed(follow, weight, model, x, noise):
    got = follow(model, x, noise=noise, weight=tensor(weight)).elbo.mean()
    for block, want in zip(filter(None, blocks(model)), wanted(follow, weight, model, x, noise), strict=True):
        assert (gradient(got, block) - want).norm() <= 1e-12 * want.norm(), [p.shape for p in block]
