"""A VAE with two layers in plain PyTorch, trained and measured with condkl."""

import torch
from condkl import active_units, conditional_kl, iwae_log_likelihood
from torch import nn
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence

SIDE, V, U = 8, 2, 4  # images of 8 x 8 bits, two units v and four units u


def crosses(n):
    row, column = torch.randint(SIDE, (2, n, 1, 1))
    at = torch.arange(SIDE)
    bright = (at[:, None] == row) | (at == column)
    return torch.bernoulli(torch.where(bright, 0.95, 0.05)).flatten(1)


def net(inputs, outputs):
    hidden = nn.Linear(inputs, 64)
    return nn.Sequential(hidden, nn.Tanh(), nn.Linear(64, outputs))


def normal(output):
    mean, log_std = output.chunk(2, -1)
    return Independent(Normal(mean, log_std.exp()), 1)


def main(steps=3000, weight=1.0):  # λ: 1 is the full gradient, 0 is eq. (9)
    torch.manual_seed(0)
    sizes = [(SIDE**2, 2 * V), (SIDE**2 + V, 2 * U), (V, 2 * U), (U, SIDE**2)]
    nets = nn.ModuleList(net(*size) for size in sizes)
    adam = torch.optim.Adam(nets.parameters(), lr=3e-3)
    p_v = Independent(Normal(torch.zeros(V), 1.0), 1)
    p = [p_v, lambda v: normal(nets[2](v))]  # the layers from the top

    def q(x):
        return [
            normal(nets[0](x)),
            lambda v: normal(nets[1](torch.cat([x, v], -1))),
        ]

    def p_x(v, u):
        return Independent(Bernoulli(logits=nets[3](u)), 1)

    for _ in range(steps):
        x = crosses(100)
        q_v, q_u = q(x)
        v = q_v.rsample()
        R = p_x(v, q_u(v).rsample()).log_prob(x)
        C = conditional_kl(q_u, p[1], v, weight)
        elbo = (R - kl_divergence(q_v, p_v) - C).mean()
        adam.zero_grad()
        (-elbo).backward()
        adam.step()
    x = crosses(500)
    log_px = iwae_log_likelihood(q(x), p, p_x, samples=100, x=x).mean()
    active = [int(layer.sum()) for layer in active_units(q(x))]
    return elbo.item(), log_px.item(), active


if __name__ == "__main__":
    elbo, log_px, active = main()
    print(f"ELBO {elbo:.1f}, log-likelihood {log_px:.1f} nats")
    print(f"active units of v and u: {active}")
