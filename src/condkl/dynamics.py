"""What a field does as a dynamical system: its flow, where the flow stops, and its Jacobian.

Descent along a field means theta' = -field.theta and phi' = -field.phi.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.integrate import solve_ivp
from scipy.linalg.lapack import dpstrf
from scipy.optimize import root
from torch import Tensor
from torch.distributions import Categorical, Distribution

from condkl._checks import as_tensor, flat, positive
from condkl._derivatives import derivatives_of_each
from condkl._kl.pair import divergence
from condkl.divergence import kl_chain
from condkl.gradients import Field, KLProblem

#: From (theta, phi) to a field.
FieldFunction = Callable[[Tensor, Tensor], Field]
#: From (theta, phi) to a number.
Energy = Callable[[Tensor, Tensor], Tensor]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class FieldJacobian:
    """The Jacobian of a field in the d coordinates (phi, theta), in this order; the first `dim_phi` are phi.

    Row i of `matrix`, shape (d, d), holds the derivatives of the field's component i.
    """

    matrix: Tensor
    dim_phi: int

    @property
    def symmetric(self) -> Tensor:
        """(J + Jᵀ)/2, shape (d, d)."""
        return (self.matrix + self.matrix.mT) / 2

    @property
    def antisymmetric(self) -> Tensor:
        """(J - Jᵀ)/2, shape (d, d). It is zero everywhere if and only if the field is a Euclidean gradient."""
        return (self.matrix - self.matrix.mT) / 2

    @property
    def spectrum(self) -> Tensor:
        """The eigenvalues by real part, complex, shape (d,). At a stable fixed point the first is the slowest rate."""
        values = torch.linalg.eigvals(self.matrix)
        return values[values.real.argsort()]


@dataclass(frozen=True)
class Path:
    """Points of a flow: `time`, shape (n,), `theta`, shape (n, dim_theta), and `phi`, shape (n, dim_phi)."""

    time: Tensor
    theta: Tensor
    phi: Tensor

    def energy(self, of: Energy) -> Tensor:
        """A function of (theta, phi), such as the KL, at each point: shape (n,)."""
        return torch.stack([of(theta, phi).detach() for theta, phi in zip(self.theta, self.phi, strict=True)])


class Fisher(NamedTuple):
    """The Fisher information of q(v) in theta, and of q(u|v) in phi with v ~ q(v); each of shape (dim, dim)."""

    theta: Tensor
    phi: Tensor


def jacobian(field: FieldFunction, theta: Tensor, phi: Tensor) -> FieldJacobian:
    """The Jacobian of (theta, phi) -> field at a point.

    For eq. (9) it is [[C_phiphi, C_phitheta], [0, A_thetatheta]], and its antisymmetric part has the Frobenius norm
    |C_phitheta|/√2. `theta` and `phi` are flat, shapes (dim_theta,) and (dim_phi,); the field, as
    `lambda theta, phi: modified_gradient(problem, theta, phi)`, must be differentiable again. A ValueError says that a
    parameter is not flat or not finite, or that the field has another shape than the parameters.

    Source:
        Letcher et al. (2019), who split a game's Jacobian in this way.

    Example:
        >>> turning = jacobian(lambda theta, phi: Field(theta=theta - phi, phi=phi), torch.ones(1), torch.ones(1))
        >>> turning.matrix  # phi first; not symmetric, so that the field is not a gradient
        tensor([[ 1.,  0.],
                [-1.,  1.]])
    """
    along = _Flat(field, theta, phi)
    return FieldJacobian(along.jacobian(along.start), len(phi))


def flow(field: FieldFunction, theta: Tensor, phi: Tensor, time: Tensor) -> Path:
    """The descent theta' = -field.theta, phi' = -field.phi from a point, at chosen times.

    An implicit method (Radau) steps over the fast directions, which a large KL makes stiff. Errors as for `jacobian`,
    and a ValueError if `time`, shape (n,), does not increase from 0; a RuntimeError where the flow cannot be followed.

    Example:
        >>> decay = lambda theta, phi: Field(theta=theta, phi=2 * phi)
        >>> path = flow(decay, torch.ones(1), torch.ones(1), torch.tensor([0.0, 1.0]))
        >>> [round(float(end), 4) for end in (path.theta[-1], path.phi[-1])]  # e⁻¹, e⁻²
        [0.3679, 0.1353]
    """
    time = as_tensor("time", time).detach()
    if time.dim() != 1 or len(time) < 2 or float(time[0]) != 0 or not bool((time.diff() > 0).all()):
        raise ValueError(f"time: expected at least two increasing times from 0, got {time.tolist()}.")
    along = _Flat(field, theta, phi)
    return Path(time, *along.split(along.solve(float(time[-1]), t_eval=time.double().numpy()).y.T))


def time_to_level(
    field: FieldFunction, energy: Energy, theta: Tensor, phi: Tensor, level: float, limit: float = 1e9
) -> float:
    """The time until `energy`, such as the KL, first falls below `level` along the descent, both in the same unit.

    0 where the start is not above the level, `inf` where the level is not reached before the time `limit`. Errors as
    for `jacobian`, and a ValueError if `level` or the energy at the start is no number, or `limit` is not above 0.

    Example:
        >>> time = time_to_level(Field, lambda theta, phi: theta.sum(), torch.ones(1), torch.ones(1), level=0.5)
        >>> round(time, 4)  # log 2
        0.6931
    """
    along = _Flat(field, theta, phi)
    level = _number("level", level)
    limit = _number("limit", positive("limit", limit, "The flow is followed up to this time."))
    if _number("energy", energy(*along.split(along.start))) <= level:
        return 0.0

    def above(_: float, values: FloatArray) -> float:
        return float(energy(*along.split(values))) - level

    above.terminal = True  # type: ignore[attr-defined]  # how SciPy is told to stop at the first crossing
    reached = along.solve(limit, events=above).t_events[0]
    return float(reached[0]) if len(reached) else float("inf")


def fixed_point(field: FieldFunction, theta: Tensor, phi: Tensor, tol: float = 1e-10) -> tuple[Tensor, Tensor]:
    """The (theta, phi) near a start where no component of the field exceeds `tol`, by Levenberg and Marquardt's method.

    `tol` is in nats per unit of the parameters. By its own slope a component must also vanish within 1e-6, times the
    start's largest parameter if that is above 1: where a softmax saturates, a field fades without a zero. Arguments and
    errors otherwise as for `jacobian`, and a RuntimeError if no such point is found. Start at the end of a flow.

    Example:
        >>> theta, phi = fixed_point(lambda theta, phi: Field(theta - phi, phi - 2), torch.ones(1), torch.ones(1))
        >>> round(float(theta), 4), round(float(phi), 4)
        (2.0, 2.0)
    """
    along = _Flat(field, theta, phi)
    tol = _number("tol", positive("tol", tol, "It is what may be left of the field."))
    # The method stops by relative changes. It is told to go on as far as it can; what is left of the field decides.
    found = root(along.values, along.start.double().numpy(), jac=along.slopes, method="lm", tol=1e-15)
    worst = float(np.abs(found.fun).max(initial=0.0))
    if not worst <= tol:
        raise RuntimeError(f"field: no zero near the start, {worst:.2g} is left. Start from the end of a flow.")
    # A small component may be one that is small everywhere here: q(v) times what is to vanish, at a rare v. The way to
    # its zero, by its own slope, has the same q(v) in numerator and denominator. Without any slope it cannot be told.
    slope = np.linalg.norm(along.slopes(found.x), axis=1)
    way = np.divide(np.abs(found.fun), slope, out=np.full_like(slope, np.inf), where=slope > 0)
    lost = way > 1e-6 * max(1.0, float(along.start.abs().max()))
    if lost.any():
        raise RuntimeError(
            f"field: fades near the start without a zero: of {along.name(int(lost.argmax()))} {found.fun[lost][0]:.2g} "
            f"is left, and by its slope its zero is {way[lost][0]:.2g} away. A softmax that saturates does that. "
            "Start from the end of a flow."
        )
    return along.split(found.x)


def fisher(problem: KLProblem, theta: Tensor, phi: Tensor) -> Fisher:
    """The Fisher information of both blocks: the second derivatives of KL[q_ψ' || q_ψ] in ψ' at ψ' = ψ.

    Arguments and errors as for `condkl.gradients.full_gradient`.

    Source:
        Martens (2020), section 5.

    Example:
        >>> from torch.distributions import Normal
        >>> problem = KLProblem(lambda theta: Normal(theta[0], 2.0), lambda phi: lambda v: Normal(phi[0] * v, 1.0),
        ...                     Normal(0.0, 1.0), lambda v: Normal(v, 1.0))
        >>> [round(block.item(), 4) for block in fisher(problem, torch.zeros(1), torch.zeros(1))]  # 1/variance, E v²
        [0.25, 4.0]
    """
    return Fisher(theta=_information["theta"](problem, theta, phi), phi=_information["phi"](problem, theta, phi))


def natural_gradient(field: FieldFunction, problem: KLProblem, blocks: Collection[str]) -> FieldFunction:
    """The field with chosen blocks multiplied by the pseudo-inverse of their Fisher information.

    Information and gradient of what acts at one v alone both have the factor q(v), so that its step does not depend on
    it, down to the smallest q(v) > 0. `problem` has the q(v) and q(u|v) that the parameters shape; `blocks` names some
    of "theta" and "phi", another name is a ValueError.

    Example:
        >>> from torch.distributions import Normal
        >>> problem = KLProblem(lambda theta: Normal(theta[0], 2.0), lambda phi: lambda v: Normal(phi[0] * v, 1.0),
        ...                     Normal(0.0, 1.0), lambda v: Normal(v, 1.0))
        >>> natural_gradient(Field, problem, ["theta"])(torch.ones(1), torch.ones(1)).theta  # 1 over 1/4
        tensor([4.])
    """
    blocks = [blocks] if isinstance(blocks, str) or not isinstance(blocks, Collection) else list(blocks)
    if not blocks or not set(blocks) <= _information.keys():
        raise ValueError(f"blocks: expected some of 'theta' and 'phi', got {blocks!r}.")

    def preconditioned(theta: Tensor, phi: Tensor) -> Field:
        step = vars(field(theta, phi)).copy()
        for name in set(blocks):
            step[name] = _least_step(_information[name](problem, theta, phi), step[name])
        return Field(**step)

    return preconditioned


def _information_of_theta(problem: KLProblem, theta: Tensor, phi: Tensor) -> Tensor:
    again = flat("theta", theta).requires_grad or flat("phi", phi).requires_grad
    q_v = problem.q_v_at(theta)
    if q_v.has_enumerate_support:
        return _mean_product_of_scores(problem.q_v, theta, again)
    # q at ψ stays fixed and q at ψ' moves: KL[q_ψ' || q_ψ] has its minimum, 0, at ψ' = ψ, and the second derivatives
    # there are the Fisher information.
    return torch.autograd.functional.hessian(lambda other: divergence(problem.q_v(other), q_v).value, theta, again)


def _information_of_phi(problem: KLProblem, theta: Tensor, phi: Tensor) -> Tensor:
    again = flat("theta", theta).requires_grad or flat("phi", phi).requires_grad
    q_v, q_u = problem.q_v_at(theta), problem.q_u_at(phi)
    if isinstance(q_v, Categorical):
        v = q_v.enumerate_support()
        mass = q_v.log_prob(v).exp()
        v, mass = v[mass > 0], mass[mass > 0]
        if q_u(v).has_enumerate_support:
            return _mean_product_of_scores(lambda other: problem.q_u_given_v(other)(v), phi, again, mass)
    # As for theta. With the same q(v) on both sides, eq. (3) leaves the mean over v.
    return torch.autograd.functional.hessian(
        lambda other: kl_chain((q_v, problem.q_u_given_v(other)), (q_v, q_u)).conditional, phi, again
    )


_information: dict[str, Callable[[KLProblem, Tensor, Tensor], Tensor]] = {
    "theta": _information_of_theta,
    "phi": _information_of_phi,
}


def _mean_product_of_scores(
    q: Callable[[Tensor], Distribution], at: Tensor, again: bool, weight: Tensor | float = 1.0
) -> Tensor:
    """E s sᵀ with the score s = ∇ log q, by enumeration: a sum of few signs, exact to rounding where q is peaked.

    The second derivatives of a KL have p - p² there, which rounding hides as p tends to 1.
    """
    here = q(at)
    values = here.enumerate_support()
    mass = (weight * here.log_prob(values).exp()).flatten()
    drawn = mass > 0
    scores = derivatives_of_each(lambda other: q(other).log_prob(values).flatten()[drawn], at, again)
    return (mass[drawn].unsqueeze(-1) * scores).mT @ scores


def _least_step(information: Tensor, gradient: Tensor) -> Tensor:
    """The shortest `step` with information @ step = gradient: the pseudo-inverse, for rows of very different sizes.

    A threshold on eigenvalues would take what is rare for what is singular. Divided by the roots of its diagonal the
    information has ones there, whatever q(v) a row is multiplied by, and what vanishes then is singular.
    """
    size = information.detach().diagonal().clamp_min(0).sqrt()
    known = (size > 0).nonzero().flatten()  # what carries no information at all has no step
    root = information[known, known].sqrt()
    scaled = information[known][:, known] / root / root.unsqueeze(-1)
    # Cholesky's method with pivots picks coordinates that determine the others.
    tolerance = 100 * len(known) * torch.finfo(information.dtype).eps
    _, pivots, rank, _ = dpstrf(scaled.detach().double().numpy(), tol=tolerance) if len(known) else (0, [], 0, 0)
    order = torch.as_tensor(pivots, dtype=torch.long) - 1
    base, rest = order[:rank], order[rank:]
    solved = torch.linalg.solve(
        scaled[base][:, base], torch.cat([scaled[base][:, rest], (gradient[known] / root)[base].unsqueeze(-1)], dim=-1)
    )
    step = torch.zeros_like(gradient).index_put((known[base],), solved[:, -1] / root[base])
    if not len(rest):
        return step
    # Along each of these directions nothing changes: one of the other coordinates, and what it asks of the base.
    idle = step.new_zeros(len(step), len(rest)).index_put((known[base],), -solved[:, :-1] / root[base].unsqueeze(-1))
    idle = idle.index_put((known[rest], torch.arange(len(rest))), 1 / root[rest])
    directions, _ = torch.linalg.qr(idle / idle.norm(dim=0))
    return step - directions @ (directions.mT @ step)


def _number(name: str, value: float | Tensor) -> float:
    """Return `value`, one finite number."""
    tensor = as_tensor(name, value)
    if tensor.numel() != 1:
        raise ValueError(f"{name}: expected one number, got shape {tuple(tensor.shape)}. Call it once for each.")
    return float(tensor)


class _Flat:
    """A field over one flat tensor (phi, theta), for solvers: SciPy's float64 outside, the field's own dtype inside."""

    def __init__(self, field: FieldFunction, theta: Tensor, phi: Tensor) -> None:
        for name, parameters in (("theta", theta), ("phi", phi)):
            as_tensor(name, flat(name, parameters))
        self.blocks, self.shapes = field, (theta.shape, phi.shape)
        self.start = torch.cat([phi, theta]).detach()

    def field(self, z: Tensor) -> Tensor:
        if not bool(z.isfinite().all()):
            raise RuntimeError("field: the search for its end left the finite numbers. Start nearer to where it ends.")
        value = self.blocks(*self.split(z))
        if not isinstance(value, Field):
            raise TypeError(f"field: expected it to return a Field, got {type(value).__name__}.")
        if (value.theta.shape, value.phi.shape) != self.shapes:
            raise ValueError(
                f"field: expected shapes {tuple(self.shapes[0])} for theta and {tuple(self.shapes[1])} for phi, "
                f"got {tuple(value.theta.shape)} and {tuple(value.phi.shape)}."
            )
        return torch.cat([value.phi, value.theta])

    def name(self, i: int) -> str:
        """What the component i is called outside."""
        n = self.shapes[1].numel()
        return f"phi[{i}]" if i < n else f"theta[{i - n}]"

    def split(self, z: Tensor | FloatArray) -> tuple[Tensor, Tensor]:
        """(theta, phi) from points (phi, theta) along the last dimension."""
        phi, theta = torch.as_tensor(z).to(self.start).tensor_split([self.shapes[1].numel()], dim=-1)
        return theta, phi

    def values(self, z: FloatArray) -> FloatArray:
        found = self.field(torch.as_tensor(z).to(self.start)).detach().double().numpy()
        if not np.isfinite(found).all():
            lost = self.name(int(np.isfinite(found).argmin()))
            raise RuntimeError(
                f"field: expected finite numbers, got NaN or infinity in {lost}, "
                f"{np.abs(z - self.start.double().numpy()).max():.2g} from the start. Start nearer to where it ends."
            )
        return found

    def slopes(self, z: FloatArray) -> FloatArray:
        return self.jacobian(torch.as_tensor(z).to(self.start)).double().numpy()

    def jacobian(self, z: Tensor) -> Tensor:
        if not self.field(z.detach().requires_grad_()).requires_grad:
            raise ValueError("field: expected one that can be differentiated again, got one without a graph.")
        return torch.autograd.functional.jacobian(self.field, z)

    def solve(self, until: float, **options: Any) -> Any:
        start, span = self.start.double().numpy(), (0.0, until)
        try:
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # it is told below
                descent = solve_ivp(lambda _, z: -self.values(z), span, start, "Radau", rtol=1e-8, atol=1e-8, **options)
        except ValueError as error:
            if "infs or NaNs" not in str(error):
                raise
            raise RuntimeError(
                "field: cannot be followed: its slopes leave the range of float64. Rescale it."
            ) from error
        if not descent.success:
            raise RuntimeError(f"field: cannot be followed beyond time {descent.t[-1]:.3g}. {descent.message}")
        return descent
