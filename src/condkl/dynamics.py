"""What a field does as a dynamical system: its Jacobian, split into a gradient's part and the rest."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from condkl.gradients import Field


@dataclass(frozen=True)
class FieldJacobian:
    """The Jacobian of a field in the coordinates (phi, theta), in this order.

    Attributes:
        matrix: row i holds the derivatives of the field's component i, shape (d, d).
        dim_phi: how many of the d coordinates are phi.
    """

    matrix: Tensor
    dim_phi: int

    @property
    def symmetric(self) -> Tensor:
        """(J + Jᵀ)/2, shape (d, d)."""
        return (self.matrix + self.matrix.mT) / 2

    @property
    def antisymmetric(self) -> Tensor:
        """(J - Jᵀ)/2, shape (d, d): zero everywhere if and only if the field is a Euclidean gradient."""
        return (self.matrix - self.matrix.mT) / 2


def jacobian(field: Callable[[Tensor, Tensor], Field], theta: Tensor, phi: Tensor) -> FieldJacobian:
    """The Jacobian of (theta, phi) -> field at a point.

    For eq. (9) it is [[C_phiphi, C_phitheta], [0, A_thetatheta]], and its antisymmetric part has the Frobenius norm
    |C_phitheta|/√2.

    Args:
        field: e.g. `lambda theta, phi: modified_gradient(problem, theta, phi)`. It must be differentiable again.
        theta: shape (dim_theta,).
        phi: shape (dim_phi,).

    Raises:
        ValueError: if a parameter is not flat, or the field has another shape than the parameters.

    Source:
        Letcher et al. (2019), who split a game's Jacobian in this way.
    """
    for name, parameters in (("theta", theta), ("phi", phi)):
        if parameters.dim() != 1:
            raise ValueError(f"{name}: expected a flat tensor, got shape {tuple(parameters.shape)}.")
    n = len(phi)

    def flat(z: Tensor) -> Tensor:
        value = field(z[n:], z[:n])
        if value.theta.shape != theta.shape or value.phi.shape != phi.shape:
            raise ValueError(
                f"field: expected shapes {tuple(theta.shape)} for theta and {tuple(phi.shape)} for phi, "
                f"got {tuple(value.theta.shape)} and {tuple(value.phi.shape)}."
            )
        return torch.cat([value.phi, value.theta])

    return FieldJacobian(torch.autograd.functional.jacobian(flat, torch.cat([phi, theta]).detach()), n)
