"""What eq. (9) does to a linear VAE whose decoder is learned: the layer is lost, and nothing else is.

v ~ N(0, I), u|v ~ N(Fv, βI), x|u ~ N(Wu, σ²I), with x of mean 0 and covariance S, and with F, W and β learned. phi and
theta are where they stop: q(u|v,x) = p(u|v,x), and q_λ(v|x) ∝ p(v) exp(-½ (x - Gv)ᵀ Λ⁻¹ M Λ⁻¹ (x - Gv)) with G = WF,
Λ = σ²I + βWWᵀ, the covariance of x given v, and M = σ²I + λβWWᵀ. The model follows the ELBO at that q.

Where its field is zero, GᵀΛ⁻¹ M Λ⁻¹ (Λ - M) Λ⁻¹ G = 0, and Λ - M = (1-λ) βWWᵀ: for every λ < 1 then G = 0, the layer is
lost. For λ = 1 all models with one σ²I + W(βI + FFᵀ)Wᵀ are as good, with the layer or without.
"""

from typing import NamedTuple

import torch
from scipy.integrate import quad
from torch import Tensor

from condkl._checks import as_tensor, fractions, positive


class ModelField(NamedTuple):
    """What F, W and the logarithm of β follow, in nats for each unit of theirs, of the shapes of the three."""

    F: Tensor
    W: Tensor
    log_beta: Tensor


def model_field(F: Tensor, W: Tensor, beta: float, sigma2: float, S: Tensor, lam: float) -> ModelField:
    r"""E_x E_{q_λ(v|x)} ∇ log p(x|v), what the model follows in expectation over data of covariance S.

    With x|v ~ N(Gv, Λ) and q_λ(v|x) = N(Kx, V), K = V GᵀΛ⁻¹MΛ⁻¹ and V = (I + GᵀΛ⁻¹MΛ⁻¹G)⁻¹. The posterior of u is
    optimal, so that its part of the gradient of the ELBO is that of log p(x|v).

    Args:
        F: shape (dim_u, dim_v).
        W: shape (dim_x, dim_u).
        beta, sigma2: β and σ², above 0.
        S: the covariance of x, shape (dim_x, dim_x).
        lam: λ, the weight of the conditional KL in theta's gradient.

    A ValueError says which shapes do not fit.

    Example:
        >>> one = torch.ones(1, 1)
        >>> [round(float(part.sum()), 4) for part in model_field(one, one, 0.5, 0.5, 2 * one, lam=1.0)]  # S = D + g²
        [0.0, 0.0, 0.0]
    """
    F, W, S, log_beta = _model(F, W, beta, sigma2, S)
    with torch.enable_grad():
        leaves = tuple(part.detach().requires_grad_() for part in (F, W, log_beta))
        G, D = _given_v(leaves[0], leaves[1], leaves[2], sigma2)
        with torch.no_grad():
            K, V = _posterior(G, D, sigma2, lam)
            cross, second = S @ K.mT, K @ S @ K.mT + V  # E[x vᵀ] and E[v vᵀ]
        residual = S - G @ cross.mT - cross @ G.mT + G @ second @ G.mT
        value = -(torch.logdet(D) + torch.trace(torch.linalg.solve(D, residual))) / 2
        return ModelField(*torch.autograd.grad(value, leaves))


def upper_kl(F: Tensor, W: Tensor, beta: float, sigma2: float, S: Tensor, lam: float) -> Tensor:
    """A = E_x KL[q_λ(v|x) || p(v)] in nats, shape (); arguments and errors as for `model_field`.

    Example:
        >>> one = torch.ones(1, 1)
        >>> round(upper_kl(one, one, 0.5, 0.5, 2 * one, lam=1.0).item(), 4)  # ½ log(1 + g²/D)
        0.3466
    """
    F, W, S, log_beta = _model(F, W, beta, sigma2, S)
    K, V = _posterior(*_given_v(F, W, log_beta, sigma2), sigma2, lam)
    return (torch.trace(K @ S @ K.mT + V) - len(V) - torch.logdet(V)) / 2


def log_evidence(F: Tensor, W: Tensor, beta: float, sigma2: float, S: Tensor) -> Tensor:
    """E_x log p(x) = -½ log det 2πT - ½ tr(T⁻¹S) in nats, T = σ²I + W(βI + FFᵀ)Wᵀ; else as for `model_field`.

    Example:
        >>> one = torch.ones(1, 1)
        >>> round(log_evidence(one, one, 0.5, 0.5, 2 * one).item(), 4)
        -1.7655
    """
    F, W, S, log_beta = _model(F, W, beta, sigma2, S)
    G, D = _given_v(F, W, log_beta, sigma2)
    T = D + G @ G.mT
    return -(torch.logdet(2 * torch.pi * T) + torch.trace(torch.linalg.solve(T, S))) / 2


def valley_time(lam: float, S: float, beta: float, sigma2: float, start: float, end: float) -> float:
    r"""How long a layer of one unit lasts near λ = 1: the time until w² has risen from `start` to `end`, x a number.

    At λ = 1 all points with w²(f² + β) = s = S - σ² are as good. Below it the field moves along them, to first order in
    1 - λ by its part along the valley,

        (1 + s² / (w⁴(s - βw²))) dw²/dt = 2 (1-λ) β² w⁴ / (σ² + βw²)²,

    towards f = 0 at w² = s/β. The time goes as 1/(1-λ). β is not learned here.

    A ValueError says that λ is not below 1, or that `start` < `end` do not lie on the way.

    Example:
        >>> round(valley_time(0.99, S=2.0, beta=0.5, sigma2=0.2, start=1.0, end=3.0), 1)
        340.9
    """
    positive("beta", beta), positive("sigma2", sigma2)
    if not 0 <= lam < 1:
        raise ValueError(f"lam: expected a number from 0 to below 1, got {lam!r}. At 1 the layer stays.")
    explained = S - sigma2
    if not 0 < start < end < explained / beta:
        last = f"(S - sigma2)/beta = {explained / beta:g}"
        raise ValueError(f"start, end: expected 0 < start < end < {last}, got {start!r}, {end!r}.")

    def slowness(y: float) -> float:
        return (1 + explained**2 / (y**2 * (explained - beta * y))) * ((sigma2 + beta * y) / (beta * y)) ** 2

    return float(quad(slowness, start, end)[0] / (2 * (1 - lam)))


def _model(F: Tensor, W: Tensor, beta: float, sigma2: float, S: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    F, W, S = as_tensor("F", F), as_tensor("W", W), as_tensor("S", S)
    positive("sigma2", sigma2)
    if F.dim() != 2 or W.dim() != 2 or W.shape[1] != F.shape[0] or S.shape != (W.shape[0], W.shape[0]):
        shapes = ", ".join(str(tuple(one.shape)) for one in (F, W, S))
        raise ValueError(f"F, W, S: expected shapes (u, v), (x, u) and (x, x), got {shapes}. Pass matrices that fit.")
    F, W, S = (one.to(torch.promote_types(torch.promote_types(F.dtype, W.dtype), S.dtype)) for one in (F, W, S))
    rounding = 1e3 * torch.finfo(S.dtype).eps * S.abs().max()
    if bool((S - S.mT).abs().max() > rounding) or bool(torch.linalg.eigvalsh(S).min() < -rounding):
        raise ValueError("S: expected a covariance, symmetric and without negative eigenvalues. Pass x.mT.cov() or so.")
    return F, W, S, positive("beta", beta).to(F).log()


def _given_v(F: Tensor, W: Tensor, log_beta: Tensor, sigma2: float) -> tuple[Tensor, Tensor]:
    """G and Λ, mean and covariance of x given v."""
    return W @ F, sigma2 * torch.eye(len(W), dtype=W.dtype, device=W.device) + log_beta.exp() * W @ W.mT


def _posterior(G: Tensor, D: Tensor, sigma2: float, lam: float) -> tuple[Tensor, Tensor]:
    """K and V of q_λ(v|x) = N(Kx, V); M is λΛ + (1-λ)σ²I."""
    lam = float(fractions("lam", lam))
    M = lam * D + (1 - lam) * sigma2 * torch.eye(len(D), dtype=D.dtype, device=D.device)
    inward = torch.linalg.solve(D, G).mT @ M  # GᵀΛ⁻¹M
    V = torch.linalg.inv(torch.eye(G.shape[1], dtype=G.dtype, device=G.device) + inward @ torch.linalg.solve(D, G))
    return V @ torch.linalg.solve(D, inward.mT).mT, V
