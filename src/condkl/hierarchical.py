"""The hierarchical Gaussian of eq. (1): Gaussian layer by layer, far from Gaussian as a whole."""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from condkl._checks import Number, as_tensor, positive

# The density of u is an integral over this many nodes; see `HierarchicalGaussian.log_prob_u`.
_NODES = 1025
_COARSE_NODES, _REFINEMENTS = 257, 3
_ROWS_AT_ONCE = 4096
_NEGLIGIBLE = 45.0  # nats below the largest


class Moments(NamedTuple):
    """Exact moments of a hierarchical Gaussian: `mean` and `covariance` of [v, u], shapes (d,) and (d, d).

    `kurtosis` is E u_i⁴ / (E u_i²)² for each component of u, shape (dim_u,). Not excess: a Gaussian has 3. The batch
    shape of the distribution comes first.
    """

    mean: Tensor
    covariance: Tensor
    kurtosis: Tensor


class HierarchicalGaussian(Distribution):
    r"""The joint of eq. (1), `v ~ N(0, I)` and `u | v ~ N(Fv, F v vᵀ Fᵀ + βI)`, with events `[v, u]`.

    `F` maps v to the mean of u, shape batch + (dim_u, dim_v); a float stands for a 1x1 matrix. `beta`, β, is the
    variance added to every direction of u, above 0; a float or a tensor of the batch shape. The two batch shapes
    broadcast. A TypeError says which is not numeric, a ValueError that `F` is no matrix, or, unless `validate_args` is
    False, that a number is not finite or `beta` not positive.

    Source:
        Kosiorek (2017), eq. (1).

    Example:
        >>> q = HierarchicalGaussian(F=torch.tensor([[1.5]]), beta=0.5)
        >>> q.moments().covariance
        tensor([[1.0000, 1.5000],
                [1.5000, 5.0000]])
        >>> HierarchicalGaussian(F=1.5, beta=torch.tensor([0.1, 0.2, 0.3])).sample().shape
        torch.Size([3, 2])
    """

    # The base class declares them so.
    arg_constraints = {"F": constraints.independent(constraints.real, 2), "beta": constraints.positive}  # noqa: RUF012
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, F: Number, beta: Number, validate_args: bool | None = None) -> None:
        if validate_args is None:
            validate_args = Distribution._validate_args
        F = as_tensor("F", F, finite=validate_args)
        beta = positive("beta", beta) if validate_args else as_tensor("beta", beta, finite=False)
        if F.dim() == 0:
            F = F.reshape(1, 1)
        if F.dim() == 1 or 0 in F.shape[-2:]:
            raise ValueError(f"F: expected shape (…, dim_u, dim_v), got {tuple(F.shape)}. Pass a matrix.")
        try:
            batch_shape = torch.Size(np.broadcast_shapes(F.shape[:-2], beta.shape))
        except ValueError as error:
            raise ValueError(
                f"beta: expected a shape that broadcasts with {tuple(F.shape[:-2])}, the batch of F, "
                f"got {tuple(beta.shape)}. Pass one number, or one for each matrix."
            ) from error
        self.F, self.beta = F.expand(batch_shape + F.shape[-2:]), beta.to(F).expand(batch_shape)
        self.dim_u, self.dim_v = F.shape[-2:]
        # The checks of the base class would say less than those above.
        super().__init__(batch_shape, torch.Size([self.dim_v + self.dim_u]), validate_args=False)
        self._validate_args = validate_args

    def expand(
        self, batch_shape: torch.Size | list[int] | tuple[int, ...], _instance: Distribution | None = None
    ) -> "HierarchicalGaussian":
        """The same distribution with another batch shape, to which its own broadcasts; nothing is copied."""
        new = self._get_checked_instance(HierarchicalGaussian, _instance)
        batch_shape = torch.Size(batch_shape)
        new.F, new.beta = self.F.expand(batch_shape + self.F.shape[-2:]), self.beta.expand(batch_shape)
        new.dim_u, new.dim_v = self.dim_u, self.dim_v
        super(HierarchicalGaussian, new).__init__(batch_shape, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    @property
    def mean(self) -> Tensor:
        """E[v, u] = 0, shape batch + (dim_v + dim_u,)."""
        return self.moments().mean

    @property
    def variance(self) -> Tensor:
        """The variance of each component of [v, u], shape batch + (dim_v + dim_u,)."""
        return self.moments().covariance.diagonal(dim1=-2, dim2=-1)

    def rsample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = torch.Size()) -> Tensor:  # noqa: B008
        """Draw `[v, u]`, shape sample_shape + batch + (dim_v + dim_u,), differentiable in F and beta.

        With w = Fv and independent standard normals e₁ (one number) and e₂ (dim_u numbers),
        u = w + w e₁ + √β e₂ has the covariance w wᵀ + βI that eq. (1) asks for.
        """
        sizes = ((*sample_shape, *self.batch_shape, n) for n in (self.dim_v, 1, self.dim_u))
        v, e1, e2 = (torch.randn(size, dtype=self.F.dtype, device=self.F.device) for size in sizes)
        w = self._mean_of_u(v)
        return torch.cat([v, w + w * e1 + self.beta.sqrt().unsqueeze(-1) * e2], dim=-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """The joint log density log q(v) + log q(u | v) in nats, eq. (1), shape (...).

        `value` is `[v, u]`, shape (..., dim_v + dim_u), and broadcasts with the batch; a ValueError says that it does
        not, or that its last dimension is another.
        """
        value = self._event("value", value, self.dim_v + self.dim_u)
        v, u = value.split([self.dim_v, self.dim_u], dim=-1)
        w = self._mean_of_u(v)
        spread = self.beta + w.square().sum(-1)  # the variance along w; across it the variance is β
        log_det = (self.dim_u - 1) * self.beta.log() + spread.log()
        # dᵀ(wwᵀ + βI)⁻¹d = min over g of g² + |d - gw|²/β: a sum of squares, so nothing cancels at small β.
        d = u - w
        g = (w * d).sum(-1) / spread
        quadratic = g.square() + (d - g.unsqueeze(-1) * w).square().sum(-1) / self.beta
        constant = (self.dim_v + self.dim_u) * math.log(2 * math.pi)
        return -0.5 * (v.square().sum(-1) + log_det + quadratic + constant)

    def log_prob_u(self, u: Tensor) -> Tensor:
        r"""The marginal log density of u in nats, `log ∫ N(v; 0, 1) N(u; Fv, F v² Fᵀ + βI) dv`, for scalar v.

        Across F the density is `N(0, β)`. Along F, with `a = Fᵀu/|F|`, `h² = 1 + |F|²/β` and the substitution
        `v = sinh(t)/h`, it is

            1/(2πh√β) ∫ exp(-v²/2 - (a - |F|v)² / (2(β + |F|²v²))) cosh(t) / √(1 + |F|²v²/β) dt,

        smooth in t at every F and β, |F| = 0 included, so that the trapezoid rule converges exponentially fast.
        (Gauss–Hermite nodes in v miss the peak of width √β/|F| at v = 0.) From `u` of shape (..., dim_u), which
        broadcasts with the batch, to shape (...); else a ValueError. In float64 it is right to 1e-8 nats, and to as
        many digits where it is far below. A NotImplementedError says that v is not scalar.
        """
        if self.dim_v != 1:
            raise NotImplementedError(
                f"log_prob_u: expected scalar v, got dim_v={self.dim_v}. Integrate exp(log_prob) over v instead."
            )
        u = self._event("u", u, self.dim_u)
        f, beta = self.F[..., 0], self.beta
        # Without F any direction will do. A constant one leaves F = 0 its gradient, which is 0 as p(u) is even in F.
        size = f.detach().abs().amax(-1, keepdim=True)
        some = torch.eye(self.dim_u, dtype=f.dtype, device=f.device)[0]
        scaled = torch.where(size > 0, f / torch.where(size > 0, size, 1), some)  # so that no square underflows
        direction = scaled / scaled.norm(dim=-1, keepdim=True)
        length = (f * direction).sum(-1)
        a = (u * direction).sum(-1)
        across = (u - a.unsqueeze(-1) * direction).square().sum(-1)
        log_across = -0.5 * ((self.dim_u - 1) * (2 * math.pi * beta).log() + across / beta)
        rows = (x.broadcast_to(a.shape).reshape(-1).split(_ROWS_AT_ONCE) for x in (a, length, beta))
        log_along = [_log_density_along(*some) for some in zip(*rows, strict=True)]
        return log_across + torch.cat(log_along).reshape(a.shape)

    def moments(self) -> Moments:
        """Exact mean, covariance and kurtosis.

        Cov[v] = I, Cov[u, v] = F, Cov[u] = 2FFᵀ + βI, and for a component E u_i⁴ = 30f⁴ + 12βf² + 3β²
        with f² = Σ_j F_ij², so the kurtosis tends to 7.5 as β → 0.

        Example:
            >>> HierarchicalGaussian(F=1.0, beta=1.0).moments().kurtosis  # 45/9
            tensor([5.], dtype=torch.float64)
        """
        eye_v, eye_u = (torch.eye(n, dtype=self.F.dtype, device=self.F.device) for n in (self.dim_v, self.dim_u))
        beta = self.beta.unsqueeze(-1)
        cov_u = 2 * self.F @ self.F.mT + beta.unsqueeze(-1) * eye_u
        upper = torch.cat([eye_v.expand(*self.batch_shape, -1, -1), self.F.mT], dim=-1)
        covariance = torch.cat([upper, torch.cat([self.F, cov_u], dim=-1)], dim=-2)
        f2 = self.F.square().sum(-1)  # batch + (dim_u,)
        fourth = 30 * f2.square() + 12 * beta * f2 + 3 * beta.square()
        return Moments(torch.zeros_like(covariance[..., 0]), covariance, fourth / (2 * f2 + beta).square())

    def _mean_of_u(self, v: Tensor) -> Tensor:
        return (self.F @ v.unsqueeze(-1)).squeeze(-1)

    def _event(self, name: str, value: Tensor, size: int) -> Tensor:
        value = as_tensor(name, value, finite=bool(self._validate_args))
        if value.dim() == 0 or value.shape[-1] != size:
            raise ValueError(
                f"{name}: expected the last dimension to be {size} (dim_v={self.dim_v}, dim_u={self.dim_u}), "
                f"got shape {tuple(value.shape)}. For scalars add a dimension with unsqueeze(-1)."
            )
        try:
            np.broadcast_shapes(value.shape[:-1], self.batch_shape)
        except ValueError as error:
            raise ValueError(
                f"{name}: expected a shape that broadcasts with {(*self.batch_shape, size)}, got {tuple(value.shape)}. "
                "Put what is shared by the batch first."
            ) from error
        return value.to(self.F)


def _log_density_along(a: Tensor, length: Tensor, beta: Tensor) -> Tensor:
    """The log density of a, u along F, each of shape (n,), by the trapezoid rule in t over where its integrand lies."""
    a, length, beta = (x.unsqueeze(-1) for x in (a, length, beta))
    root = beta.sqrt()
    h = torch.hypot(length / root, torch.ones_like(root))

    def log_integrand(t: Tensor, a: Tensor, length: Tensor, root: Tensor, h: Tensor) -> Tensor:
        v = t.sinh() / h
        w = length * v / root
        spread = 1 + w.square()
        miss = a / root - w
        return -0.5 * (v.square() + miss.square() / spread + spread.log()) + t.cosh().log()

    with torch.no_grad():
        point = [x.detach() for x in (a, length, root, h)]
        # The exponent is at most -v²/2, and at least -(s² + s + 1/2) at |v| = s, so that everything beyond `far` is
        # negligible. Numbers near the largest of the format are far enough, as for F = 0.
        s = (a / length).abs().nan_to_num(0.0).sqrt()
        far = (2 * (s.square() + s + 0.5 + _NEGLIGIBLE)).sqrt()
        high = (far * h).clamp_max(torch.finfo(a.dtype).max ** 0.4).asinh()
        low = -high
        # Far out the integrand is a peak of width 1 in v, which a grid up to `far` may step over. So the ends move
        # to the nodes around all that is not negligible, more than once, as the peak is found better each time.
        for _ in range(_REFINEMENTS):
            t = _between(low, high, _COARSE_NODES)
            exponent = log_integrand(t, *point)
            counts = (exponent > exponent.amax(-1, keepdim=True) - _NEGLIGIBLE).int()
            first = counts.argmax(-1, keepdim=True)
            last = _COARSE_NODES - 1 - counts.flip(-1).argmax(-1, keepdim=True)
            low, high = t.gather(-1, (first - 1).clamp_min(0)), t.gather(-1, (last + 1).clamp_max(_COARSE_NODES - 1))
    total = log_integrand(_between(low, high, _NODES), a, length, root, h).logsumexp(-1)
    return total + ((high - low) / (_NODES - 1) / (2 * math.pi * h * root)).log().squeeze(-1)


def _between(low: Tensor, high: Tensor, nodes: int) -> Tensor:
    return low + (high - low) * torch.linspace(0, 1, nodes, dtype=low.dtype, device=low.device)
