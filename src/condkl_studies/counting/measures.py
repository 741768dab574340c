"""What a counting model is worth on images that it was not trained on, and how well it counts."""

from dataclasses import dataclass

import torch
from torch import Tensor

from condkl._checks import at_least_one, bits
from condkl.evaluation import log_mean_weight
from condkl_studies.counting.model import CountingVAE

_BINS = 10  # of the probability of the likeliest n


@dataclass(frozen=True)
class Measured:
    """The terms at every n, means over some draws of the objects: `q` of q(n|x), `R` and `C`, each (n, N + 1).

    `A` and `elbo`, the exact sum over n, have shape (n,); `log_p` is log p(n), shape (N + 1,), and `counts` are the
    true numbers, shape (n,). All terms are in nats.
    """

    q: Tensor
    A: Tensor
    R: Tensor
    C: Tensor
    log_p: Tensor
    counts: Tensor

    @property
    def elbo(self) -> Tensor:
        """Σ_n q(n|x) (R(n) - C(n)) - A, shape (n,)."""
        return (self.q * (self.R - self.C)).sum(-1) - self.A

    @property
    def best_elbo(self) -> Tensor:
        """The ELBO with the best q(n|x), log Σ_n p(n) exp(R(n) - C(n)), shape (n,)."""
        return (self.log_p + self.R - self.C).logsumexp(-1)

    def tilted(self, lam: float) -> Tensor:
        """The best q(n|x) where theta sees λC: p(n) exp(R(n) - λC(n)) / Z, shape (n, N + 1)."""
        return (self.log_p + self.R - lam * self.C).softmax(-1)

    def scalars(self) -> dict[str, float]:
        """Means over the images.

        Of the terms in nats `elbo`, `R`, `A`, `C` and `best_elbo`; of numbers of objects `n` (under q), `n_true`,
        `n_R` and `n_RC`, those under `tilted` at λ = 0 and 1; `right`, how often the likeliest n is the true one,
        `sure`, the probability of the true one, `miscalibrated`, by how much the probability of the likeliest n is off
        (the expected calibration error in ten bins), and `blank`, q(0|x) on images that have objects. For each n
        `q_n`, `R_n` and, above 0, `C_n`.
        """
        n, each = torch.arange(self.q.shape[-1], dtype=self.q.dtype, device=self.q.device), self.q.shape[-1]
        right = self.q.argmax(-1) == self.counts
        share, sure, hit = self.calibration().unbind(-1)
        means = {
            "elbo": self.elbo,
            "R": (self.q * self.R).sum(-1),
            "A": self.A,
            "C": (self.q * self.C).sum(-1),
            "best_elbo": self.best_elbo,
            "n": self.q @ n,
            "n_true": self.counts,
            "n_R": self.tilted(0.0) @ n,
            "n_RC": self.tilted(1.0) @ n,
            "right": right,
            "sure": self.q.gather(-1, self.counts[:, None]),
            "blank": self.q[self.counts > 0, 0],
            **{f"q_{k}": self.q[:, k] for k in range(each)},
            **{f"R_{k}": self.R[:, k] for k in range(each)},
            **{f"C_{k}": self.C[:, k] for k in range(1, each)},
        }
        off = {"miscalibrated": float((share * (sure - hit).abs()).sum())}
        return {name: float(values.double().mean()) for name, values in means.items()} | off

    def calibration(self) -> Tensor:
        """Of each of ten bins of the probability of the likeliest n: share of the images, mean of it, share right."""
        likeliest, at = self.q.double().max(-1)
        bins = (likeliest * _BINS).long().clamp(max=_BINS - 1)
        columns = torch.stack([torch.ones_like(likeliest), likeliest, (at == self.counts).double()], -1)
        sums = columns.new_zeros(_BINS, 3).index_add(0, bins, columns)
        return torch.cat([sums[:, :1] / len(bins), sums[:, 1:] / sums[:, :1].clamp(min=1)], -1)

    def by_count(self) -> dict[str, Tensor]:
        """Means of `q`, `R` and `C` over the images of each true number (rows) at each n, shape (N + 1, N + 1)."""
        numbers = range(self.q.shape[-1])
        tables = {"q": self.q, "R": self.R, "C": self.C}
        return {name: torch.stack([t[self.counts == k].mean(0) for k in numbers]) for name, t in tables.items()}


@torch.no_grad()
def measured(
    model: CountingVAE, x: Tensor, counts: Tensor, generator: torch.Generator, draws: int = 4, chunk: int = 500
) -> Measured:
    """The terms of the bits x, (n, pixels), with their true `counts`, by means over `draws` draws of the objects."""
    at_least_one("draws", draws)
    bits("x", x)
    parts = []
    for part in x.split(at_least_one("chunk", chunk)):
        passes = [model(part, model.noise(len(part), generator)) for _ in range(draws)]
        R, C = (torch.stack([getattr(one, name) for one in passes]).mean(0) for name in ("R", "C"))
        parts.append((passes[0].q, passes[0].A, R, C))
    q, A, R, C = (torch.cat(values) for values in zip(*parts, strict=True))
    return Measured(q, A, R, C, model.log_p, counts.to(q.device))


@torch.no_grad()
def log_likelihood(
    model: CountingVAE, x: Tensor, samples: int, generator: torch.Generator | None = None, chunk: int = 1000
) -> Tensor:
    """Log Σ_n p(n) 1/K Σ_k p(x|u_k,n) p(u_k|n) / q(u_k|x,n): a lower bound of log p(x) on average, tight as K grows.

    The sum over n is exact and q(n|x) plays no part. `x` are bits, (n, pixels), K is `samples`, `chunk` of them at
    once. The weights are added up in float64; the result is in nats, shape (n,), for Gaussian pixels as
    `CountingVAE.log_likelihood` has it. Source: Burda, Grosse & Salakhutdinov (2015).
    """
    bits("x", x)

    def estimate(image: Tensor) -> Tensor:
        at_each_n = log_mean_weight(lambda k: _log_weights(model, image.expand(k, -1), generator), samples, chunk)
        return (model.log_p + at_each_n).logsumexp(-1)

    return torch.stack([estimate(image) for image in x])


def _log_weights(model: CountingVAE, x: Tensor, generator: torch.Generator | None) -> Tensor:
    """Log p(x|u,n) p(u|n) / q(u|x,n) at one draw for each x and n, shape (n, N + 1)."""
    counted = model(x, model.noise(len(x), generator))
    ratios = [model.p_u.log_prob(one.z) - one.q.log_prob(one.z) for one in counted.drawn]
    zero = torch.zeros_like(counted.A)
    return counted.R + torch.stack([zero, *ratios], -1).cumsum(-1)
