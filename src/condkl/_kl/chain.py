"""The terms of a chain of blocks, from the top down: the KL of each, and the mean over what is drawn above it."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent

from condkl._kl.densities import log_prob
from condkl._kl.draws import BY_SCORE, Draws, FromNormal, by_score, from_normal, too_heavy
from condkl._kl.pair import OnlySamplesError, UnresolvedError, check_events, common_batch, divergence
from condkl._kl.parameters import cast, known, tensor_of
from condkl._kl.rules import gauss_hermite, lattice, refined
from condkl._kl.supports import ends, positive, values

_ROWS = 2**18  # so many draws at most are enumerated, or are nodes of a rule
_CHECKS, _CHECKS_OF_ONE = 2**13, 1001  # so many nodes look for what a rule missed, over a batch and for one mean


class Chain:
    """One call of `kl_chain`. Draws of a block have the shape (samples or 1, n, *batch, *event)."""

    def __init__(
        self, q: Sequence[Any], p: Sequence[Any], method: str, samples: int, nodes: int, tolerance: float
    ) -> None:
        self.q, self.p, self.use, self.samples, self.nodes, self.tolerance = q, p, method, samples, nodes, tolerance
        self.batch = common_batch(("q[0]", "p[0]"), q[0], p[0])
        self.dtype = torch.float32
        self.found, self.mean = [""] * len(q), [""] * len(q)
        self.warnings: list[str] = []

    def words(self) -> tuple[str, ...]:
        """What was done for each block."""
        return tuple(
            found + (mean and f"; mean over {mean}") for found, mean in zip(self.found, self.mean, strict=True)
        )

    def terms(self) -> Tensor:
        """All terms, shape (groups, *batch, blocks): 1 group if nothing is sampled, else independent estimates."""
        return self._below(0, (), None).squeeze(1)

    def _below(self, k: int, above: tuple[Tensor, ...], draws: Draws | None) -> Tensor:
        """The terms of block k and of those below it, given draws above: (samples or groups, n, *batch, blocks)."""
        q, p = self._blocks(k, above)
        self.dtype = torch.promote_types(self.dtype, tensor_of(q, p).dtype)
        try:
            found = divergence(q, p)
        except OnlySamplesError as error:
            if self.use in ("exact", "quadrature"):
                raise ValueError(f"method: {self.use!r} is out of reach: {error} Use 'monte_carlo'.") from error
            if isinstance(error, UnresolvedError):
                self.warnings.append(f"{error} Samples may miss what it depends on, and their standard error too.")
            self.found[k] = "log ratio of samples"
            return self._sampled(k, q, p, above, draws)
        self.found[k] = found.how
        term = found.value.reshape(*_rows(above), *self.batch, 1)
        if k == len(self.q) - 1:
            return term
        rest = self._mean(k, q, above, draws)
        return torch.cat([term.expand(*rest.shape[:-1], 1), rest], -1)

    def _blocks(self, k: int, above: tuple[Tensor, ...]) -> tuple[Distribution, Distribution]:
        if k:
            flat = tuple(x.flatten(0, 1) for x in above)
            return blocks_at((f"q[{k}]", f"p[{k}]"), (self.q[k], self.p[k]), flat, (len(flat[0]), *self.batch))
        q, p = (d if d.batch_shape == self.batch else d.expand(self.batch) for d in (self.q[0], self.p[0]))
        check_events(("q[0]", "p[0]"), q, p)
        return q, p

    def _mean(self, k: int, q: Distribution, above: tuple[Tensor, ...], draws: Draws | None) -> Tensor:
        """The mean over block k of the terms below it."""
        rows = math.prod(_rows(above)) * self.batch.numel()
        if self.use in ("auto", "exact"):
            taken = values(q)
            if taken is not None and len(taken) * rows <= _ROWS:
                return self._enumerated(k, q, taken, above, draws)
            if self.use == "exact":
                raise ValueError(
                    f"method: 'exact' needs a q[{k}] of few values, such as Categorical, got {type(q).__name__}."
                )
        if self.use in ("auto", "quadrature"):
            noise = from_normal(cast(q))
            if noise is not None and noise.smooth and noise.dims <= 3:
                if self.use == "quadrature" or self._along(noise) ** noise.dims * rows <= _ROWS:
                    return self._quadrature(k, q, noise, above, draws)
            elif self.use == "quadrature":
                raise ValueError(
                    f"method: 'quadrature' needs a Gaussian q[{k}] of at most three dimensions, "
                    f"got {type(q).__name__} with event shape {tuple(q.event_shape)}."
                )
        return self._sampled(k, q, None, above, draws)

    def _at(self, k: int, points: Tensor, above: tuple[Tensor, ...], draws: Draws | None) -> Tensor:
        """The terms below block k at `points` (m, *batch of q, *event), (samples or groups, m, n, *batch, blocks)."""
        (s, n), m = _rows(above), len(points)
        event = points.shape[1 + (k > 0) + len(self.batch) :]
        points = points.reshape(m, s, n, *self.batch, *event).transpose(0, 1)
        old = (x.unsqueeze(1).expand(s, m, *x.shape[1:]) for x in above)
        return self._below(k + 1, tuple(x.flatten(1, 2) for x in (*old, points)), draws).unflatten(1, (m, n))

    def _weighted(
        self, k: int, points: Tensor, weights: Tensor, above: tuple[Tensor, ...], draws: Draws | None
    ) -> Tensor:
        """The sum over `points` of `weights`, (m, *batch of q), times the terms below: (…, n, *batch, blocks)."""
        each = self._at(k, points, above, draws)
        weights = weights.reshape(len(points), *_rows(above), *self.batch, 1).transpose(0, 1)
        return torch.where(weights > 0, weights * each, 0).sum(1)

    def _enumerated(
        self, k: int, q: Distribution, taken: Tensor, above: tuple[Tensor, ...], draws: Draws | None
    ) -> Tensor:
        self.mean[k] = f"{len(taken)} values"
        mass = log_prob(cast(q), taken).exp()
        # A value of zero mass says nothing, whatever the conditionals are there: the most likely one stands in for it.
        event = (1,) * len(q.event_shape)
        likely = mass.argmax(0, keepdim=True).reshape(1, *mass.shape[1:], *event)
        taken = torch.where(
            (mass > 0).reshape(*mass.shape, *event), taken, taken.gather(0, likely.expand(1, *taken.shape[1:]))
        )
        return self._weighted(k, taken, mass, above, draws)

    def _along(self, noise: FromNormal) -> int:
        """Nodes along each dimension."""
        return max(1, self.nodes * (5 - noise.dims) // 4)

    def _quadrature(
        self, k: int, q: Distribution, noise: FromNormal, above: tuple[Tensor, ...], draws: Draws | None
    ) -> Tensor:
        like, batch, count = tensor_of(q), q.batch_shape, self._along(noise)

        def on(z: Tensor, weights: Tensor) -> Tensor:
            """The mean by nodes z, shape (m, *batch or ones, dims), and weights with that of z but for the last."""
            return self._weighted(k, noise.push(z).to(like.dtype), weights.expand(-1, *batch), above, draws)

        def product(nodes: int) -> tuple[Tensor, Tensor]:
            z, weights = (x.to(like.device) for x in gauss_hermite(nodes, noise.dims))
            ones = (1,) * len(batch)
            return z.reshape(-1, *ones, noise.dims), weights.reshape(-1, *ones)

        def at(z: Tensor) -> Tensor:
            """The terms below at z, shape (m, *batch), in front."""
            each = self._at(k, noise.push(z.unsqueeze(-1)).to(like.dtype), above, draws)
            return each.movedim(-1, 0).transpose(1, 2).reshape(-1, len(z), *batch)

        tolerance = max(self.tolerance, 32 * torch.finfo(like.dtype).eps)
        self.mean[k] = f"{count}{f'^{noise.dims}' if noise.dims > 1 else ''} Gauss-Hermite nodes"
        found, done = on(*product(count)), (*self.found, *self.mean)
        with torch.no_grad():  # a rule that looks elsewhere says whether the nodes resolve these functions
            if noise.dims == 1:
                checks = min(_CHECKS_OF_ONE, max(2 * count + 1, _CHECKS // max(1, batch.numel())))
                z, weights = lattice(checks, batch, like.device)
                other = on(z.unsqueeze(-1), weights)
            else:
                other = on(*product(count + count // 4 + 1))
        self.found, self.mean = list(done[: len(self.q)]), list(done[len(self.q) :])
        change = _change(found.detach(), other, _rows(above)[0])
        if not known(change > tolerance):
            return found
        if noise.dims == 1 and len(found) == _rows(above)[0]:
            rule = refined(at, batch, like.device, tolerance / 4)
            if not known(rule.error > tolerance):
                self.mean[k] = f"{len(rule.nodes)} nodes on panels"
                return on(rule.nodes.unsqueeze(-1), rule.weights)
        if self.use == "auto":
            return self._sampled(k, q, None, above, draws)
        self.warnings.append(
            f"{self.mean[k]} do not resolve the terms below block {k} as functions of it: another rule differs by "
            f"{float(change.nan_to_num(0).max()):.1g} nats. Pass more nodes, or method='sobol'."
        )
        return found

    def _sampled(
        self, k: int, q: Distribution, p: Distribution | None, above: tuple[Tensor, ...], draws: Draws | None
    ) -> Tensor:
        """The terms below block k, after its own if `p` is given, as means over samples: (groups, n, *batch, blocks).

        Where the block above is sampled already there is one draw for each of its samples, and nothing to average:
        (samples, n, *batch, blocks).
        """
        copy, start, (s, n) = cast(q), draws is None, _rows(above)
        if draws is None:
            sobol = self.use != "monte_carlo" and from_normal(copy) is not None
            if self.use == "sobol" and not sobol:
                raise ValueError(
                    f"method: 'sobol' needs a q[{k}] that is drawn from normals or by its quantiles, "
                    f"got {type(q).__name__}. Use 'monte_carlo'."
                )
            draws = Draws(max(2, self.samples // n), sobol)
            s = draws.samples
        points, gradient = draws.of(copy, start)
        of_each = (s, n, *self.batch)
        parts = []
        if p is not None:
            self._warn_of_zeros(k, q, points)
            ratio = log_prob(copy, points) - log_prob(cast(p), points)
            parts.append(ratio.reshape(*of_each, 1))
        if k < len(self.q) - 1:
            here = points.to(tensor_of(q).dtype) if points.is_floating_point() else points
            self._warn_of_zeros(k, q, here)
            here = here.reshape(*of_each, *q.event_shape)
            old = (x.expand(s, *x.shape[1:]) for x in above)
            parts.append(self._below(k + 1, (*old, here), draws))
        each = torch.cat(parts, -1)
        if gradient == BY_SCORE:
            each = by_score(each, log_prob(copy, points).reshape(*of_each, 1))
            if _moves(copy):
                self.warnings.append(
                    f"the support of q[{k}] ({type(q).__name__}) moves with its parameters, and no draw of it does. "
                    "The gradient leaves that out."
                )
        self.mean[k] = f"{draws.words()}, gradient {gradient}"
        if not start:
            return each
        if (index := too_heavy(each.detach().sum(-1).flatten(0, 1))) is not None:
            self.warnings.append(
                f"samples have a heavy tail (Pareto index {index:.2f}: above 0.5 their variance is infinite, above 1 "
                "their mean), and neither their mean nor its standard error can be trusted."
            )
        return each.unflatten(0, (draws.replicates, -1)).mean(1)

    def _warn_of_zeros(self, k: int, q: Distribution, draws: Tensor) -> None:
        if positive(q) and draws.is_floating_point() and known(draws < 1e6 * torch.finfo(draws.dtype).tiny):
            self.warnings.append(
                f"draws of q[{k}] ({type(q).__name__}) are 0 in {str(draws.dtype).removeprefix('torch.')}, and what "
                "depends on their logarithm is lost. Use float64, or a distribution of the logarithm."
            )


def _rows(above: tuple[Tensor, ...]) -> tuple[int, int]:
    """How many samples, and how many draws of each."""
    return (above[0].shape[0], above[0].shape[1]) if above else (1, 1)


def _change(found: Tensor, other: Tensor, samples: int) -> Tensor:
    """How far two rules differ, in nats, and relative above one nat; beyond the noise of what is sampled below them."""
    noise = torch.zeros((), dtype=found.dtype, device=found.device)
    if max(len(found), len(other)) > samples:
        noise = sum((x.var(0) / len(x) for x in (found, other) if len(x) > 1), noise)
        found, other = found.mean(0), other.mean(0)
    return ((found - other).abs() - 5 * noise.sqrt()) / found.abs().clamp_min(1)


def _moves(d: Distribution) -> bool:
    """Whether the ends of the support carry a gradient."""
    while isinstance(d, Independent):
        d = d.base_dist
    found = ends(d)
    return found is not None and any(end.requires_grad for end in found)


def blocks_at(
    names: tuple[str, str], functions: tuple[Any, Any], above: tuple[Tensor, ...], batch: Sequence[int]
) -> tuple[Distribution, Distribution]:
    """What the functions of q and p return for the draws above, which must have that batch shape."""
    found = []
    for name, f in zip(names, functions, strict=True):
        d = f(*above)
        if not isinstance(d, Distribution):
            raise TypeError(f"{name}: expected it to return a torch distribution, got {type(d).__name__}.")
        if d.batch_shape != tuple(batch):
            shapes = " and ".join(str(tuple(x.shape)) for x in above)
            raise ValueError(
                f"{name}: for draws of shape {shapes} expected a distribution with batch shape {tuple(batch)}, "
                f"got batch {tuple(d.batch_shape)} and event {tuple(d.event_shape)}. Put the dimensions of u into the "
                "event with Independent, and give a conditional that ignores the draws their batch by expand."
            )
        found.append(d)
    check_events(names, found[0], found[1])
    return found[0], found[1]
