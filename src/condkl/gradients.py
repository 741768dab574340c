"""The gradient of the KL divergence, eqs. (5)-(8), the modified field (9), and estimators of what (9) drops."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from scipy import stats
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Distribution, Independent, Normal, OneHotCategorical

from condkl._checks import as_tensor, at_least_one, flat, seeded, unit_interval
from condkl._derivatives import NotDifferentiableError, derivatives_of_each, differentiable_draw
from condkl._support import is_discrete, moved_edge
from condkl.divergence import Conditional, conditional_kl_at, kl_chain, randomness_from

if TYPE_CHECKING:  # the mathematics loads no model
    from condkl.vae import HierarchicalVAE

#: What lowers the variance of `score_function`.
Baseline = Literal["leave_one_out"] | None


@dataclass(frozen=True)
class KLProblem:
    """KL[q_phi(u|v) q_theta(v) || p(u|v) p(v)] as a function of two disjoint groups of parameters.

    `q_v` maps theta, shape (dim_theta,), to q(v) with batch shape (); `q_u_given_v` maps phi, shape (dim_phi,), to a
    function from v, shape (n,) + event shape, to q(u|v) with batch shape (n,). `p_v` is the prior p(v), and
    `p_u_given_v` a function from v to p(u|v).
    """

    q_v: Callable[[Tensor], Distribution]
    q_u_given_v: Callable[[Tensor], Conditional]
    p_v: Distribution
    p_u_given_v: Conditional

    def __post_init__(self) -> None:
        for name in ("q_v", "q_u_given_v", "p_u_given_v"):
            if isinstance(got := getattr(self, name), Distribution) or not callable(got):
                raise TypeError(f"problem.{name}: expected a function, got {type(got).__name__}. See KLProblem.")
        if not isinstance(self.p_v, Distribution):
            raise TypeError(f"problem.p_v: expected a torch distribution, got {type(self.p_v).__name__}.")

    def q_v_at(self, theta: Tensor) -> Distribution:
        """q(v) at theta, checked: one distribution, and no parameter at infinity but a logit of a finite v."""
        q_v = self.q_v(theta)
        if not isinstance(q_v, Distribution):
            raise TypeError(f"problem.q_v: expected it to return a torch distribution, got {type(q_v).__name__}.")
        if q_v.batch_shape != ():
            raise ValueError(
                f"problem.q_v: expected a distribution with batch shape (), got {tuple(q_v.batch_shape)}. "
                "Put the dimensions of v into the event with Independent(…, 1)."
            )
        if not is_discrete(q_v):
            as_tensor("theta", theta)
        return q_v

    def q_u_at(self, phi: Tensor) -> Conditional:
        """The function from v to q(u|v) at phi, checked: no parameter at infinity but a logit of a discrete u."""
        q_u = self.q_u_given_v(phi)
        if isinstance(q_u, Distribution) or not callable(q_u):
            raise TypeError(f"problem.q_u_given_v: expected it to return a function of v, got {type(q_u).__name__}.")

        def checked(v: Tensor) -> Distribution:
            given_v = q_u(v)
            if isinstance(given_v, Distribution) and not is_discrete(given_v):
                as_tensor("phi", phi)
            return given_v

        return q_u if bool(phi.isfinite().all()) else checked


@dataclass(frozen=True)
class Field:
    """A vector for each group of parameters: `theta`, shape (dim_theta,), and `phi`, shape (dim_phi,)."""

    theta: Tensor
    phi: Tensor


@dataclass(frozen=True)
class Estimate:
    """Single-sample estimates of ∇_theta C, eq. (8): `each`, shape (n, dim_theta).

    With a leave-one-out baseline they are dependent at order 1/n.
    """

    each: Tensor

    def __post_init__(self) -> None:
        if not isinstance(self.each, Tensor) or self.each.dim() != 2 or not self.each.is_floating_point():
            raise ValueError("each: expected a tensor of floats, shape (n, dim_theta), a row for each sample.")

    @property
    def mean(self) -> Tensor:
        """The estimate from all samples, shape (dim_theta,)."""
        return self.each.mean(0)

    @property
    def standard_error(self) -> Tensor:
        """Of `mean`, shape (dim_theta,)."""
        return self.each.std(0) / math.sqrt(len(self.each))


@dataclass(frozen=True)
class BiasTest:
    """A t-test of the hypothesis that an estimator has no bias.

    `t` is (mean - exact) / standard error for each coordinate, shape (dim_theta,), 0 where both vanish; `p_value` is
    two-sided, of the worst coordinate, times the number of coordinates (Bonferroni).
    """

    t: Tensor
    p_value: float


def full_gradient(problem: KLProblem, theta: Tensor, phi: Tensor) -> Field:
    """(∇_theta A + ∇_theta C, ∇_phi C), the gradient of the KL, eqs. (5)-(8), in nats per unit of the parameters.

    Exact by enumeration for Categorical v, by Gauss-Hermite quadrature for scalar Normal v. The parameters are flat:
    `theta` has shape (dim_theta,), `phi` has (dim_phi,). A ValueError says that q(v) or a parameter is of another kind.

    Example:
        >>> problem = KLProblem(lambda theta: Normal(theta[0], 1.0), lambda phi: lambda v: Normal(phi[0] * v, 1.0),
        ...                     Normal(0.0, 1.0), lambda v: Normal(v, 1.0))
        >>> [f(problem, torch.ones(1), torch.zeros(1)).theta for f in (full_gradient, modified_gradient)]  # 2m and m
        [tensor([2.]), tensor([1.])]
    """
    return interpolated_gradient(problem, theta, phi, 1.0)


def modified_gradient(problem: KLProblem, theta: Tensor, phi: Tensor) -> Field:
    """(∇_theta A, ∇_phi C), the field of eq. (9). Arguments, errors and an example as for `full_gradient`."""
    return interpolated_gradient(problem, theta, phi, 0.0)


def interpolated_gradient(problem: KLProblem, theta: Tensor, phi: Tensor, lam: float) -> Field:
    """(∇_theta A + λ∇_theta C, ∇_phi C): λ = 1 is the gradient, λ = 0 is eq. (9).

    The result can be differentiated again in whichever of theta and phi requires a gradient.
    Arguments and errors as for `full_gradient`, and `lam` must lie in [0, 1].

    Example:
        >>> problem = KLProblem(lambda theta: Normal(theta[0], 1.0), lambda phi: lambda v: Normal(phi[0] * v, 1.0),
        ...                     Normal(0.0, 1.0), lambda v: Normal(v, 1.0))
        >>> interpolated_gradient(problem, torch.ones(1), torch.zeros(1), 0.5).theta  # between 1 and 2
        tensor([1.5000])
    """
    unit_interval("lam", lam)
    again = flat("theta", theta).requires_grad or flat("phi", phi).requires_grad
    with torch.enable_grad():  # also for callers that follow the field without a gradient of their own
        theta, phi = _leaf(theta), _leaf(phi)
        q_v = problem.q_v_at(theta)
        if not isinstance(q_v, Categorical | Normal):
            raise ValueError(
                f"problem.q_v: expected a Categorical or a scalar Normal, got {type(q_v).__name__}. "
                "Estimate the gradient with score_function or pathwise instead."
            )
        # Not "auto", which may fall back on samples: their gradient has noise.
        method: Literal["exact", "quadrature"] = "exact" if isinstance(q_v, Categorical) else "quadrature"
        q_u = problem.q_u_at(phi)
        kl = kl_chain(
            (q_v, lambda v: _low_logits(q_u(v))),
            (problem.p_v, lambda v: _low_logits(problem.p_u_given_v(v))),
            method,
            nodes=64,
        )
        # A does not depend on phi. C does on both, and theta's part of it is the one that λ weighs.
        (grad_A,) = _grad(kl.marginal, [theta], again)
        theta_C, phi_C = _grad(kl.conditional, [theta, phi], again)
    return Field(theta=grad_A + lam * theta_C, phi=phi_C)


def score_function(
    problem: KLProblem, theta: Tensor, phi: Tensor, samples: int, generator: torch.Generator, baseline: Baseline = None
) -> Estimate:
    """Estimates c(v) ∇_theta log q_theta(v) of eq. (8), with v ~ q_theta(v).

    With the leave-one-out baseline, c(v_i) is lowered by the mean of the *other* c(v_j). That mean is independent of
    v_i, and the score has mean zero, so no bias arises. Arguments are as for `full_gradient`, but q(v) may be any
    distribution whose support does not depend on theta; `samples` is n, how many v are drawn. A ValueError says that
    theta moves an edge of the support at which the density does not vanish, as in Uniform(0, theta): eq. (8) does not
    hold there. Or it says that the baseline is unknown, or asked for with a single sample.

    Source:
        Mohamed, Rosca, Figurnov & Mnih (2020), section 4; the baseline is that of Kool, van Hoof & Welling (2019).

    Example:
        >>> problem = KLProblem(lambda theta: Normal(theta[0], 1.0), lambda phi: lambda v: Normal(phi[0] * v, 1.0),
        ...                     Normal(0.0, 1.0), lambda v: Normal(v, 1.0))
        >>> g = score_function(problem, torch.ones(1), torch.zeros(1), 10_000, torch.Generator().manual_seed(0))
        >>> bool((g.mean - 1).abs() < 4.5 * g.standard_error)  # ∇C = m = 1
        True
    """
    if baseline not in (None, "leave_one_out"):
        raise ValueError(f"baseline: expected None or 'leave_one_out', got {baseline!r}.")
    if at_least_one("samples", samples) == 1 and baseline:
        raise ValueError("samples: expected at least 2 with a leave-one-out baseline, got 1.")
    theta, phi = flat("theta", theta).detach(), flat("phi", phi).detach()
    # Eq. (8) takes no derivative of v or of c(v): c only weighs the score.
    with torch.no_grad(), randomness_from(seeded("generator", generator)):
        q_v = problem.q_v_at(theta)
        v = q_v.sample(torch.Size([samples]))
        edge = moved_edge(problem.q_v, theta)
        if edge is not None:
            way_out = "Use pathwise." if q_v.has_rsample else "Choose parameters that leave the support as it is."
            raise ValueError(
                f"problem.q_v: expected a support that theta does not move, got {type(q_v).__name__} with an edge at "
                f"{edge:g} that moves: the score of eq. (8) misses what flows over it. {way_out}"
            )
        c = conditional_kl_at(problem.q_u_at(phi), problem.p_u_given_v, v)
    if baseline:  # (sum - c_i)/(n - 1) is the mean of the others
        c = c - (c.sum() - c) / (samples - 1)
    score = derivatives_of_each(lambda parameters: problem.q_v(parameters).log_prob(v), theta)
    return Estimate(c.unsqueeze(-1) * score)


def pathwise(problem: KLProblem, theta: Tensor, phi: Tensor, samples: int, generator: torch.Generator) -> Estimate:
    """Estimates ∇_theta c(v(theta, e)) of eq. (8): v is a differentiable function of theta and of noise e.

    Arguments as for `score_function`. A ValueError says that q(v) has no such function, as when v is discrete.

    Source:
        Kingma & Welling (2014); Rezende, Mohamed & Wierstra (2014).

    Example:
        >>> problem = KLProblem(lambda theta: Normal(theta[0], 1.0), lambda phi: lambda v: Normal(phi[0] * v, 1.0),
        ...                     Normal(0.0, 1.0), lambda v: Normal(v, 1.0))
        >>> g = pathwise(problem, torch.ones(1), torch.zeros(1), 10_000, torch.Generator().manual_seed(0))
        >>> bool((g.mean - 1).abs() < 4.5 * g.standard_error)  # ∇C = m = 1
        True
    """
    at_least_one("samples", samples)
    theta, phi = flat("theta", theta).detach(), flat("phi", phi).detach()
    q_v = problem.q_v_at(theta)
    if not q_v.has_rsample:
        raise ValueError(
            f"problem.q_v: expected a distribution with rsample, got {type(q_v).__name__}. "
            "Without it v does not move continuously with theta: use score_function."
        )

    def c(parameters: Tensor) -> Tensor:
        v = differentiable_draw(problem.q_v(parameters), torch.Size([samples]))
        return conditional_kl_at(problem.q_u_at(phi), problem.p_u_given_v, v)

    try:
        with randomness_from(seeded("generator", generator)):
            return Estimate(derivatives_of_each(c, theta))
    except NotDifferentiableError as error:
        raise ValueError(
            f"problem.q_v: expected draws that torch can differentiate one by one, got {type(q_v).__name__} "
            f"({error}). Use score_function."
        ) from error


def bias_t_test(estimate: Estimate, exact: Tensor) -> BiasTest:
    """Test whether the mean of an estimator is `exact`, shape (dim_theta,).

    A ValueError says that the shapes differ, or that there are too few estimates for a standard error.

    Example:
        >>> bias_t_test(Estimate(torch.tensor([[1.0], [2.0], [3.0]])), exact=torch.tensor([2.0])).p_value
        1.0
    """
    exact = as_tensor("exact", exact).to(_noisy(estimate).each.dtype)
    if exact.shape != estimate.mean.shape:
        raise ValueError(f"exact: expected shape {tuple(estimate.mean.shape)}, got {tuple(exact.shape)}.")
    difference = estimate.mean - exact
    # An estimator without noise is right to rounding or it is biased.
    rounding = (16 * torch.finfo(exact.dtype).eps * exact.abs()).clamp_min(1e-12)
    noise = torch.maximum(estimate.standard_error, rounding)
    t = difference / noise
    p = 2 * float(stats.t.sf(float(t.abs().max()), df=len(estimate.each) - 1)) * len(t)
    return BiasTest(t, min(p, 1.0))  # in this order a NaN stays one


def signal_to_noise(estimate: Estimate) -> float:
    """|E g| / √(tr Cov g) for a single-sample estimate g: below 1 the noise of one sample exceeds the signal.

    0 where both vanish. A ValueError says that there are too few estimates for a covariance.

    Example:
        >>> round(signal_to_noise(Estimate(torch.tensor([[1.0], [3.0]]))), 4)  # 2/√2
        1.4142
    """
    signal, noise = float(_noisy(estimate).mean.norm()), float(estimate.each.var(0).sum().sqrt())
    return signal / noise if noise else math.inf if signal else 0.0


def _noisy(estimate: Estimate) -> Estimate:
    if not isinstance(estimate, Estimate):
        raise TypeError(f"estimate: expected an Estimate, got {type(estimate).__name__}. Pass Estimate(each).")
    if len(estimate.each) < 2:
        raise ValueError(f"estimate: expected at least 2 samples, got {len(estimate.each)}. One has no standard error.")
    return estimate


@dataclass(frozen=True)
class TermGradients:
    """Gradients of the batch means of R, A and C with respect to theta, each flat, shape (dim_theta,)."""

    R: Tensor
    A: Tensor
    C: Tensor

    def norms(self) -> dict[str, float]:
        """The Euclidean norm of each."""
        return {name: float(getattr(self, name).norm()) for name in ("R", "A", "C")}

    def cosines(self) -> dict[str, float]:
        """The cosine of the angle between each two, 0 where one vanishes."""
        pairs = {"RA": (self.R, self.A), "RC": (self.R, self.C), "AC": (self.A, self.C)}
        return {
            name: float(torch.nn.functional.cosine_similarity(_raised(a), _raised(b), dim=0))
            for name, (a, b) in pairs.items()
        }

    def first_order_gain(self, lam: float) -> float:
        """How fast the ELBO rises along theta's direction ∇(R - A - λC): its inner product with ∇(R - A - C)."""
        return float((self.R - self.A - lam * self.C) @ (self.R - self.A - self.C))


def term_gradients(
    model: "HierarchicalVAE", x: Tensor, generator: torch.Generator | None = None, noise: list[Tensor] | None = None
) -> TermGradients:
    """The gradients of R, A and C (summed over layers) on theta, from one forward pass.

    `x` holds binary images as floats, shape (n, pixels); `generator` and `noise` are as for `HierarchicalVAE.forward`.

    Example:
        >>> from condkl.vae import HierarchicalVAE
        >>> model = HierarchicalVAE(latents=(2,), hidden=8, pixels=3)
        >>> term_gradients(model, torch.zeros(5, 3)).first_order_gain(lam=1.0) > 0  # the square of the gradient's norm
        True
    """
    if not len(x):
        raise ValueError("x: expected at least one image, got none. A mean over none has no gradient.")
    terms = model(x, generator, noise)
    theta = model.theta()
    values = [terms.R.mean(), terms.A.mean(), terms.C.sum(-1).mean()]
    return TermGradients(*(torch.cat([g.flatten() for g in _grad(value, theta, again=False)]) for value in values))


def _raised(gradient: Tensor) -> Tensor:
    """One of a like direction that torch does not take for zero, as it does where a norm is below 1e-8."""
    largest = gradient.abs().max()
    return gradient / largest if 0 < largest < 1e-6 else gradient


def _low_logits(d: Distribution) -> Distribution:
    """The same tables with very low logits where they are -inf.

    Where p has no mass and q has some, the KL is infinite and its derivative NaN. With these the field stays finite
    there, and points away.
    """
    match d:
        case Independent():
            return Independent(_low_logits(d.base_dist), d.reinterpreted_batch_ndims)
        case Bernoulli() | Categorical() | OneHotCategorical() if bool(d.logits.isinf().any()):
            return type(d)(logits=d.logits.clamp(-1e4, 1e4))
        case _:
            return d


def _grad(value: Tensor, inputs: list[Tensor] | list[torch.nn.Parameter], again: bool) -> list[Tensor]:
    """Gradients of a number, zero where it does not depend on an input; the graph stays for the next number."""
    if not value.requires_grad:
        return [torch.zeros_like(x) for x in inputs]
    return list(torch.autograd.grad(value, inputs, retain_graph=True, create_graph=again, materialize_grads=True))


def _leaf(parameters: Tensor) -> Tensor:
    return parameters if parameters.requires_grad else parameters.detach().clone().requires_grad_()
