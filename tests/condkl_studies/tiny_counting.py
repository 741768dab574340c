"""A counting model of a canvas of 6×6 pixels in float64, and its terms written out by hand."""

import math

import torch
import torch.nn.functional as nnf
from torch.distributions import Bernoulli, Categorical, Normal, kl_divergence

from condkl_studies.counting.model import CountingVAE

SIDE, SIZE, WHAT = 6, 3, 2


def make(most=2, seed=0, **settings):
    """A model whose every weight is off its start, so that nothing vanishes."""
    torch.manual_seed(seed)
    model = CountingVAE(most, WHAT, hidden=(6, 5), side=SIDE, size=SIZE, **settings).double()
    model.log_p = model.log_p.log_softmax(-1)  # the buffers were made in float32
    if model.where == 3:
        model.prior_log_scale[2] = math.log(settings["scale_prior"])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def bits(n=5, seed=1):
    return (torch.rand(n, SIDE**2, generator=torch.Generator().manual_seed(seed)) < 0.4).double()


def noise(model, n=5, seed=2):
    return model.noise(n, torch.Generator().manual_seed(seed))


def placed(glimpse, scale, shift):
    """A glimpse (size, size) on the canvas, by torch's own transformer."""
    (down, right), zero = shift, torch.zeros_like(scale)
    rows = [torch.stack([1 / scale, zero, -right / scale]), torch.stack([zero, 1 / scale, -down / scale])]
    grid = nnf.affine_grid(torch.stack(rows)[None], [1, 1, SIDE, SIDE], align_corners=False)
    return nnf.grid_sample(glimpse[None, None], grid, align_corners=False)[0, 0]


def seen(canvas, scale, shift):
    """What lies there on the canvas (side, side), by torch's own transformer."""
    (down, right), zero = shift, torch.zeros_like(scale)
    rows = [torch.stack([scale, zero, right]), torch.stack([zero, scale, down])]
    grid = nnf.affine_grid(torch.stack(rows)[None], [1, 1, SIZE, SIZE], align_corners=False)
    return nnf.grid_sample(canvas[None, None], grid, align_corners=False)[0, 0]


def normal(output):
    mean, log_scale = output.chunk(2, -1)
    return Normal(mean, log_scale.exp())


def by_hand(model, x, noise, scale_prior=0.0):
    """q(n|x), A, R(n), c(n) and the log weights log p(u|n) / q(u|x,n) of one image, from torch.distributions."""
    canvas, R, C, W = torch.zeros(SIDE, SIDE).double(), [], [torch.zeros(()).double()], [torch.zeros(()).double()]
    spreads = torch.tensor([1.0, 1.0, scale_prior], dtype=torch.float64)[: model.where]
    prior_where = Normal(torch.zeros(model.where).double(), spreads)
    prior_what = Normal(torch.zeros(WHAT).double(), torch.ones(WHAT).double())

    def likelihood():
        if model.pixels == "gaussian":
            normal = Normal(canvas.flatten(), torch.tensor(0.3, dtype=torch.float64))
            return normal.log_prob(x).sum() - normal.log_prob(canvas.flatten()).sum()  # without its constant
        return Bernoulli(0.003 + 0.994 * canvas.flatten()).log_prob(x).sum()

    R.append(likelihood())
    for e in noise:
        left = x.view(SIDE, SIDE) - canvas
        q_where = normal(model.q_where(left.reshape(1, -1), canvas.reshape(1, -1))[0])
        where = q_where.mean + q_where.stddev * e[: model.where]
        scale = SIZE / SIDE * (where[2].clamp(-1, 1).exp() if model.where == 3 else torch.ones(()).double())
        shift = (1 - SIZE / SIDE) * where[:2].tanh()
        looks = [seen(image, scale, shift).reshape(1, -1) for image in (left, canvas)]
        q_what = normal(model.q_what(*looks)[0])
        what = q_what.mean + q_what.stddev * e[model.where :]
        glimpse = model.p_glimpse(what[None]).sigmoid().view(SIZE, SIZE)
        canvas = 1 - (1 - canvas) * (1 - placed(glimpse, scale, shift))
        pairs = ((q_where, prior_where, where), (q_what, prior_what, what))
        C.append(C[-1] + sum(kl_divergence(q, p).sum() for q, p, _ in pairs))
        W.append(W[-1] + sum((p.log_prob(z) - q.log_prob(z)).sum() for q, p, z in pairs))
        R.append(likelihood())
    q_n = Categorical(logits=model.q_n(x[None])[0])
    A = kl_divergence(q_n, Categorical(logits=model.log_p))
    return q_n.probs, A, torch.stack(R), torch.stack(C), torch.stack(W)


def all_by_hand(model, x, noise, scale_prior=0.0):
    """The same of several images, each with a first dimension more."""
    each = [by_hand(model, one, e, scale_prior) for one, e in zip(x, noise, strict=True)]
    return [torch.stack(values) for values in zip(*each, strict=True)]
