"""The switch in Pyro: a loss in place of `TraceMeanField_ELBO`."""

import pyro
import torch
from condkl.pyro import TraceConditionalKL_ELBO
from pyro.distributions import Bernoulli, Normal
from pyro.infer import SVI
from torch import nn

PIXELS, V, U = 20, 3, 4
nets = nn.ModuleDict(
    {
        "q_v": nn.Linear(PIXELS, 2 * V),
        "q_u": nn.Linear(PIXELS + V, 2 * U),
        "p_u": nn.Linear(V, 2 * U),
        "p_x": nn.Linear(U, PIXELS),
    }
)


def normal(output):
    mean, log_std = output.chunk(2, -1)
    return Normal(mean, log_std.exp()).to_event(1)


def model(x):
    pyro.module("nets", nets)
    with pyro.plate("images", len(x)):
        v = pyro.sample("v", Normal(x.new_zeros(len(x), V), 1.0).to_event(1))
        u = pyro.sample("u", normal(nets["p_u"](v)))
        pyro.sample("x", Bernoulli(logits=nets["p_x"](u)).to_event(1), obs=x)


def guide(x):
    pyro.module("nets", nets)
    with pyro.plate("images", len(x)):
        v = pyro.sample("v", normal(nets["q_v"](x)))
        pyro.sample("u", normal(nets["q_u"](torch.cat([x, v], -1))))


def training(lam=1.0):  # λ: 1 is Pyro's own gradient, 0 is eq. (9)
    return SVI(
        model,
        guide,
        pyro.optim.Adam({"lr": 1e-3}),
        TraceConditionalKL_ELBO(weight={"u": lam}),
    )
