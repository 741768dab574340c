"""The hierarchical Gaussian of eq. (1): Gaussian layer by layer, far from Gaussian as a whole."""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from condkl._checks import Number, as_tensor, positive

# The tail of the density of u is integrated on this many nodes; see `HierarchicalGaussian.log_prob_u`.
_NODES = 4001
_ROWS_AT_ONCE = 4096


class Moments(NamedTuple):
    """Exact moments of a hierarchical Gaussian: `mean` and `covariance` of [v, u], shapes (d,) and (d, d).

    `kurtosis` is E u_i⁴ / (E u_i²)² for each component of u, shape (dim_u,). Not excess: a Gaussian has 3.
    """

    mean: Tensor
    covariance: Tensor
    kurtosis: Tensor


class HierarchicalGaussian(Distribution):
    r"""The joint of eq. (1), `v ~ N(0, I)` and `u | v ~ N(Fv, F v vᵀ Fᵀ + βI)`, with events `[v, u]`.

    `F` maps v to the mean of u, shape (dim_u, dim_v); a float stands for a 1x1 matrix. `beta`, β, is the variance added
    to every direction of u, above 0; a float or a tensor of shape (). A TypeError says which is not numeric, a
    ValueError that `F` is not a finite matrix, or `beta` no positive scalar.

    Source:
        Kosiorek (2017), eq. (1).

    Example:
        >>> q = HierarchicalGaussian(F=torch.tensor([[1.5]]), beta=0.5)
        >>> q.moments().covariance
        tensor([[1.0000, 1.5000],
                [1.5000, 5.0000]])
    """

    # The base class declares them so.
    arg_constraints = {"F": constraints.independent(constraints.real, 2), "beta": constraints.positive}  # noqa: RUF012
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, F: Number, beta: Number, validate_args: bool | None = None) -> None:
        F, beta = as_tensor("F", F), positive("beta", beta)
        if F.dim() == 0:
            F = F.reshape(1, 1)
        if F.dim() != 2 or 0 in F.shape:
            raise ValueError(f"F: expected shape (dim_u, dim_v), got {tuple(F.shape)}. Pass a matrix.")
        if beta.dim() != 0:
            raise ValueError(f"beta: expected one number, got shape {tuple(beta.shape)}. Pass a scalar.")
        self.F, self.beta = F, beta.to(F)
        self.dim_u, self.dim_v = F.shape
        super().__init__(torch.Size(), torch.Size([self.dim_v + self.dim_u]), validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """E[v, u] = 0, shape (dim_v + dim_u,)."""
        return self.moments().mean

    @property
    def variance(self) -> Tensor:
        """The variance of each component of [v, u], shape (dim_v + dim_u,)."""
        return self.moments().covariance.diagonal()

    def rsample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = torch.Size()) -> Tensor:  # noqa: B008
        """Draw `[v, u]`, shape sample_shape + (dim_v + dim_u,), differentiable in F and beta.

        With w = Fv and independent standard normals e₁ (one number) and e₂ (dim_u numbers),
        u = w + w e₁ + √β e₂ has the covariance w wᵀ + βI that eq. (1) asks for.
        """
        sizes = ((*sample_shape, n) for n in (self.dim_v, 1, self.dim_u))
        v, e1, e2 = (torch.randn(size, dtype=self.F.dtype, device=self.F.device) for size in sizes)
        w = v @ self.F.mT
        return torch.cat([v, w + w * e1 + self.beta.sqrt() * e2], dim=-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """The joint log density log q(v) + log q(u | v) in nats, eq. (1), shape (...).

        `value` is `[v, u]`, shape (..., dim_v + dim_u); a ValueError says that its last dimension is another.
        """
        value = self._event("value", value, self.dim_v + self.dim_u)
        v, u = value.split([self.dim_v, self.dim_u], dim=-1)
        w = v @ self.F.mT
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

        Across F the density is `N(0, β)`. Along F, with `a = Fᵀu/|F|`, the substitution `v = (√β/|F|) sinh t`
        turns the variance `β + |F|²v²` into `β cosh² t`, which leaves

            1/(2π|F|) ∫ exp(-v²/2 - (a/√β - sinh t)² / (2 cosh² t)) dt,

        smooth in t at every β, so that the trapezoid rule converges exponentially fast. (Gauss–Hermite nodes
        in v miss the peak of width √β at v = 0.) From `u` of shape (..., dim_u), else a ValueError, to shape (...), in
        float64 right to 1e-8 for `|u|/|F|` up to 2,000. A NotImplementedError says that v is not scalar.
        """
        if self.dim_v != 1:
            raise NotImplementedError(
                f"log_prob_u: expected scalar v, got dim_v={self.dim_v}. Integrate exp(log_prob) over v instead."
            )
        u = self._event("u", u, self.dim_u)
        f = self.F[:, 0]
        length = f.square().sum().sqrt()
        if float(length.detach()) == 0:
            return -0.5 * (self.dim_u * (2 * math.pi * self.beta).log() + u.square().sum(-1) / self.beta)
        a = (u @ f) / length
        across = u - a.unsqueeze(-1) * (f / length)
        log_across = -0.5 * ((self.dim_u - 1) * (2 * math.pi * self.beta).log() + across.square().sum(-1) / self.beta)
        rows = a.reshape(-1).split(_ROWS_AT_ONCE)
        log_along = torch.cat([self._log_prob_along(row, length) for row in rows]).reshape(a.shape)
        return log_across + log_along

    def _log_prob_along(self, a: Tensor, length: Tensor) -> Tensor:
        """The log density of `a = Fᵀu/|F|`, shape (n,), by the trapezoid rule in t."""
        root = self.beta.sqrt()
        # At |v| = s the exponent is at least -(s² + s + 1/2); beyond `far` it is 40 nats lower still.
        s = (a.detach().abs() / length.detach()).sqrt()
        far = (2 * (s.square() + s + 40.5)).sqrt()
        t_max = (far * length.detach() / root.detach()).asinh()
        t = t_max.unsqueeze(-1) * torch.linspace(-1, 1, _NODES, dtype=a.dtype, device=a.device)  # (n, nodes)
        sinh, cosh = t.sinh(), t.cosh()
        v = (root / length) * sinh
        exponent = -0.5 * (v.square() + ((a / root).unsqueeze(-1) - sinh).square() / cosh.square())
        step = 2 * t_max / (_NODES - 1)
        return exponent.logsumexp(-1) + step.log() - (2 * math.pi * length).log()

    def moments(self) -> Moments:
        """Exact mean, covariance and kurtosis.

        Cov[v] = I, Cov[u, v] = F, Cov[u] = 2FFᵀ + βI, and for a component E u_i⁴ = 30f⁴ + 12βf² + 3β²
        with f² = Σ_j F_ij², so the kurtosis tends to 7.5 as β → 0.

        Example:
            >>> HierarchicalGaussian(F=1.0, beta=1.0).moments().kurtosis  # 45/9
            tensor([5.], dtype=torch.float64)
        """
        eye_v, eye_u = (torch.eye(n, dtype=self.F.dtype, device=self.F.device) for n in self.F.shape[::-1])
        cov_u = 2 * self.F @ self.F.mT + self.beta * eye_u
        covariance = torch.cat([torch.cat([eye_v, self.F.mT], dim=1), torch.cat([self.F, cov_u], dim=1)])
        f2 = self.F.square().sum(-1)  # (dim_u,)
        fourth = 30 * f2.square() + 12 * self.beta * f2 + 3 * self.beta.square()
        return Moments(torch.zeros_like(covariance[0]), covariance, fourth / (2 * f2 + self.beta).square())

    def _event(self, name: str, value: Tensor, size: int) -> Tensor:
        if value.dim() == 0 or value.shape[-1] != size:
            raise ValueError(
                f"{name}: expected the last dimension to be {size} (dim_v={self.dim_v}, dim_u={self.dim_u}), "
                f"got shape {tuple(value.shape)}. For scalars add a dimension with unsqueeze(-1)."
            )
        return value.to(self.F)
