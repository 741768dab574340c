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
from scipy.optimize import root
from torch import Tensor
from torch.distributions import kl_divergence

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
    parameter is not flat, or that the field has another shape than the parameters.

    Source:
        Letcher et al. (2019), who split a game's Jacobian in this way.

    Example:
        >>> turning = jacobian(lambda theta, phi: Field(theta=theta - phi, phi=phi), torch.ones(1), torch.ones(1))
        >>> turning.matrix  # phi first; not symmetric, so that the field is not a gradient
        tensor([[ 1.,  0.],
                [-1.,  1.]])
    """
    flat = _Flat(field, theta, phi)
    return FieldJacobian(torch.autograd.functional.jacobian(flat.field, flat.start), len(phi))


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
    if time.dim() != 1 or len(time) < 2 or float(time[0]) != 0 or not bool((time.diff() > 0).all()):
        raise ValueError(f"time: expected at least two increasing times from 0, got {time.tolist()}.")
    flat = _Flat(field, theta, phi)
    return Path(time, *flat.split(flat.solve(float(time[-1]), t_eval=time.double().numpy()).y.T))


def time_to_level(
    field: FieldFunction, energy: Energy, theta: Tensor, phi: Tensor, level: float, limit: float = 1e9
) -> float:
    """The time until `energy`, such as the KL, first falls below `level` along the descent, both in the same unit.

    0 where the start is not above the level, `inf` where the level is not reached before the time `limit`. Errors as
    for `jacobian`.

    Example:
        >>> time = time_to_level(Field, lambda theta, phi: theta.sum(), torch.ones(1), torch.ones(1), level=0.5)
        >>> round(time, 4)  # log 2
        0.6931
    """
    flat = _Flat(field, theta, phi)
    if float(energy(theta, phi)) <= level:
        return 0.0

    def above(_: float, values: FloatArray) -> float:
        return float(energy(*flat.split(values))) - level

    above.terminal = True  # type: ignore[attr-defined]  # how SciPy is told to stop at the first crossing
    reached = flat.solve(limit, events=above).t_events[0]
    return float(reached[0]) if len(reached) else float("inf")


def fixed_point(field: FieldFunction, theta: Tensor, phi: Tensor, tol: float = 1e-10) -> tuple[Tensor, Tensor]:
    """The (theta, phi) near a start where no component of the field exceeds `tol`, by Levenberg and Marquardt's method.

    `tol` is in nats per unit of the parameters. Arguments and errors otherwise as for `jacobian`, and a RuntimeError if
    no such point is found. Start at the end of a flow: where a softmax saturates at infinity a field vanishes too.

    Example:
        >>> theta, phi = fixed_point(lambda theta, phi: Field(theta - phi, phi - 2), torch.ones(1), torch.ones(1))
        >>> round(float(theta), 4), round(float(phi), 4)
        (2.0, 2.0)
    """
    flat = _Flat(field, theta, phi)
    # The method stops by relative changes. It is told to go on as far as it can; what is left of the field decides.
    found = root(flat.values, flat.start.double().numpy(), jac=flat.slopes, method="lm", tol=1e-15)
    worst = float(np.abs(found.fun).max())
    if not worst <= tol:
        raise RuntimeError(f"field: no zero near the start, {worst:.2g} is left. Start from the end of a flow.")
    return flat.split(found.x)


def fisher(problem: KLProblem, theta: Tensor, phi: Tensor) -> Fisher:
    """The Fisher information of both blocks: the second derivatives of KL[q_ψ' || q_ψ] in ψ' at ψ' = ψ.

    Arguments as for `condkl.gradients.full_gradient`.

    Source:
        Martens (2020), section 5.

    Example:
        >>> from torch.distributions import Normal
        >>> problem = KLProblem(lambda theta: Normal(theta[0], 2.0), lambda phi: lambda v: Normal(phi[0] * v, 1.0),
        ...                     Normal(0.0, 1.0), lambda v: Normal(v, 1.0))
        >>> [round(block.item(), 4) for block in fisher(problem, torch.zeros(1), torch.zeros(1))]  # 1/variance, E v²
        [0.25, 4.0]
    """
    # q at ψ stays fixed and q at ψ' moves: KL[q_ψ' || q_ψ] has its minimum, 0, at ψ' = ψ, and the second derivatives
    # there are the Fisher information. With the same q(v) on both sides, eq. (3) leaves the mean over v of phi's.
    q_v, q_u = problem.q_v(theta), problem.q_u_given_v(phi)
    again = theta.requires_grad or phi.requires_grad
    hessian = torch.autograd.functional.hessian
    return Fisher(
        theta=hessian(lambda other: kl_divergence(problem.q_v(other), q_v), theta, again),
        phi=hessian(lambda other: kl_chain((q_v, problem.q_u_given_v(other)), (q_v, q_u)).conditional, phi, again),
    )


def natural_gradient(field: FieldFunction, problem: KLProblem, blocks: Collection[str]) -> FieldFunction:
    """The field with chosen blocks multiplied by the (pseudo-)inverse of their Fisher information.

    `problem` has the q(v) and q(u|v) that the parameters shape; `blocks` names some of "theta" and "phi", another name
    is a ValueError.

    Example:
        >>> from torch.distributions import Normal
        >>> problem = KLProblem(lambda theta: Normal(theta[0], 2.0), lambda phi: lambda v: Normal(phi[0] * v, 1.0),
        ...                     Normal(0.0, 1.0), lambda v: Normal(v, 1.0))
        >>> natural_gradient(Field, problem, ["theta"])(torch.ones(1), torch.ones(1)).theta  # 1 over 1/4
        tensor([4.])
    """
    if not blocks or not set(blocks) <= {"theta", "phi"}:
        raise ValueError(f"blocks: expected some of 'theta' and 'phi', got {blocks!r}.")

    def preconditioned(theta: Tensor, phi: Tensor) -> Field:
        step, information = vars(field(theta, phi)).copy(), fisher(problem, theta, phi)
        for name in blocks:
            # The pseudo-inverse: the information of a softmax is singular along equal shifts of its logits.
            step[name] = torch.linalg.pinv(getattr(information, name), hermitian=True) @ step[name]
        return Field(**step)

    return preconditioned


class _Flat:
    """A field over one flat tensor (phi, theta), for solvers: SciPy's float64 outside, the field's own dtype inside."""

    def __init__(self, field: FieldFunction, theta: Tensor, phi: Tensor) -> None:
        for name, parameters in (("theta", theta), ("phi", phi)):
            if parameters.dim() != 1:
                raise ValueError(f"{name}: expected a flat tensor, got shape {tuple(parameters.shape)}.")
        self.blocks, self.shapes = field, (theta.shape, phi.shape)
        self.start = torch.cat([phi, theta]).detach()

    def field(self, z: Tensor) -> Tensor:
        value = self.blocks(*self.split(z))
        if (value.theta.shape, value.phi.shape) != self.shapes:
            raise ValueError(
                f"field: expected shapes {tuple(self.shapes[0])} for theta and {tuple(self.shapes[1])} for phi, "
                f"got {tuple(value.theta.shape)} and {tuple(value.phi.shape)}."
            )
        return torch.cat([value.phi, value.theta])

    def split(self, z: Tensor | FloatArray) -> tuple[Tensor, Tensor]:
        """(theta, phi) from points (phi, theta) along the last dimension."""
        phi, theta = torch.as_tensor(z).to(self.start).tensor_split([self.shapes[1].numel()], dim=-1)
        return theta, phi

    def values(self, z: FloatArray) -> FloatArray:
        return self.field(torch.as_tensor(z).to(self.start)).detach().double().numpy()

    def slopes(self, z: FloatArray) -> FloatArray:
        return torch.autograd.functional.jacobian(self.field, torch.as_tensor(z).to(self.start)).double().numpy()

    def solve(self, until: float, **options: Any) -> Any:
        start, span = self.start.double().numpy(), (0.0, until)
        descent = solve_ivp(lambda _, z: -self.values(z), span, start, "Radau", rtol=1e-8, atol=1e-8, **options)
        if not descent.success:
            raise RuntimeError(f"field: cannot be followed beyond time {descent.t[-1]:.3g}. {descent.message}")
        return descent
