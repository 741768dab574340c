"""A VAE with two layers in plain PyTorch, trained and measured with condkl: `python examples/two_layer_vae.py`."""

import torch
from torch import nn
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence

from condkl import active_units, conditional_kl, iwae_log_likelihood

SIDE, V, U = 8, 2, 4  # images of 8 x 8 bits, two units v and four units u


def crosses(n):
    row, column = torch.randint(SIDE, (2, n, 1, 1))
    at = torch.arange(SIDE)
    return torch.bernoulli(torch.where((at[:, None] == row) | (at == column), 0.95, 0.05)).flatten(1)


def net(inputs, outputs):
    return nn.Sequential(nn.Linear(inputs, 64), nn.Tanh(), nn.Linear(64, outputs))


def normal(output):
    mean, log_std = output.chunk(2, -1)
    return Independent(Normal(mean, log_std.exp()), 1)


def main(steps=3000, weight=1.0):  # λ: 1 is the full gradient, 0 is eq. (9)
    torch.manual_seed(0)
    to_v, to_u, from_v, from_u = net(SIDE**2, 2 * V), net(SIDE**2 + V, 2 * U), net(V, 2 * U), net(U, SIDE**2)
    p_v = Independent(Normal(torch.zeros(V), 1.0), 1)

    def model(x):  # the layers of q and p from the top, and the likelihood
        q = [normal(to_v(x)), lambda v: normal(to_u(torch.cat([x, v], -1)))]
        return q, [p_v, lambda v: normal(from_v(v))], lambda v, u: Independent(Bernoulli(logits=from_u(u)), 1)

    adam = torch.optim.Adam([p for part in (to_v, to_u, from_v, from_u) for p in part.parameters()], lr=3e-3)
    for _ in range(steps):
        q, p, p_x = model(x := crosses(100))
        u = q[1](v := q[0].rsample()).rsample()
        elbo = p_x(v, u).log_prob(x) - kl_divergence(q[0], p[0]) - conditional_kl(q[1], p[1], v, weight)
        adam.zero_grad()
        (-elbo.mean()).backward()
        adam.step()
    q, p, p_x = model(x := crosses(500))
    units = [int(layer.sum()) for layer in active_units(q)]
    return elbo.mean().item(), iwae_log_likelihood(q, p, p_x, samples=100, x=x).mean().item(), units


if __name__ == "__main__":
    print("ELBO {:.1f}, log-likelihood {:.1f} nats; active units of v and u: {}".format(*main()))
