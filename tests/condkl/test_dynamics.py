"""Jacobians against numpy's second derivatives of the KL and closed forms, flows against matrix exponentials."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import BETA, F, gaussian_problem, tensor
from scipy.linalg import expm
from scipy.special import polygamma
from torch.distributions import Categorical, Normal, StudentT, Wishart

from condkl.dynamics import FieldJacobian, fisher, fixed_point, flow, jacobian, natural_gradient, time_to_level
from condkl.gradients import Field, KLProblem, full_gradient, interpolated_gradient, modified_gradient

THETA, PHI = (0.7, -0.5), (0.4, 0.3, -0.7)  # q(v) = N(m, t²), q(u|v) = N(bv + d, s²): (m, log t) and (b, d, log s)


def at(field, problem, theta, phi, *rest):
    return jacobian(lambda theta, phi: field(problem, theta, phi, *rest), tensor(theta), tensor(phi))


def tables(k, m, seed):
    """Logits of q(v) and q(u|v), the tables p(v) and p(u|v), and the problem."""
    rng = np.random.default_rng(seed)
    p_v, p_u = rng.dirichlet(np.full(k, 2.0)), rng.dirichlet(np.full(m, 2.0), size=k)
    problem = KLProblem(
        q_v=lambda theta: Categorical(logits=theta),
        q_u_given_v=lambda phi: lambda v: Categorical(logits=phi.reshape(k, m)[v]),
        p_v=Categorical(tensor(p_v)),
        p_u_given_v=lambda v: Categorical(tensor(p_u)[v]),
    )
    return rng.normal(size=k), rng.normal(size=k * m), p_v, p_u, problem


def softmax(logits):
    weights = [np.exp(x) for x in logits]
    return [w / sum(weights) for w in weights]


def terms_by_loops(z, p_v, p_u):
    """A and C at z = (phi, theta), which may be complex."""
    k, m = p_u.shape
    A = C = 0.0
    for i, q in enumerate(softmax(z[k * m :])):
        A += q * np.log(q / p_v[i])
        for j, r in enumerate(softmax(z[i * m : (i + 1) * m])):
            C += q * r * np.log(r / p_u[i][j])
    return np.array([A, C])


def hessians(theta, phi, p_v, p_u):
    """Those of A and C in (phi, theta): central differences of derivatives by complex steps."""
    z, h = np.concatenate([phi, theta]), 1e-5
    eye = np.eye(len(z))

    def slopes(z):
        return np.array([np.imag(terms_by_loops(z + 1e-30j * e, p_v, p_u)) / 1e-30 for e in eye])

    return np.array([(slopes(z + h * e) - slopes(z - h * e)) / (2 * h) for e in eye]).transpose(2, 0, 1)


def gaussian_blocks(m, log_t, b, d, log_s):
    """C_phiphi, C_phitheta, C_thetatheta and A_thetatheta."""
    t2, s2, delta = math.exp(2 * log_t), math.exp(2 * log_s), b - F
    return (
        np.array([[t2 + m * m, m, 0], [m, 1, 0], [0, 0, 2 * s2]]) / BETA,
        np.array([[2 * delta * m + d, 2 * delta * t2], [delta, 0], [0, 0]]) / BETA,
        np.array([[delta**2, 0], [0, 2 * delta**2 * t2]]) / BETA,
        np.array([[1, 0], [0, 2 * t2]]),
    )


@settings(max_examples=15)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 10**6))
def test_the_jacobian_of_the_full_gradient_is_the_hessian_of_the_kl(k, m, seed):
    theta, phi, p_v, p_u, problem = tables(k, m, seed)
    got = at(full_gradient, problem, theta, phi)
    A, C = hessians(theta, phi, p_v, p_u)
    assert got.dim_phi == k * m
    np.testing.assert_allclose(got.matrix, A + C, atol=1e-8)
    np.testing.assert_allclose(got.antisymmetric, 0, atol=1e-14)


def test_the_hessian_by_loops_is_that_of_autograd_on_a_kl_without_kl_chain():
    theta, phi, p_v, p_u, _ = tables(3, 2, 0)

    def kl(z):
        joint = z[6:].softmax(0).unsqueeze(1) * z[:6].reshape(3, 2).softmax(1)
        return (joint * (joint / (tensor(p_v).unsqueeze(1) * tensor(p_u))).log()).sum()

    want = torch.autograd.functional.hessian(kl, tensor(np.concatenate([phi, theta])))
    np.testing.assert_allclose(sum(hessians(theta, phi, p_v, p_u)), want, atol=1e-8)


@settings(max_examples=15)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 10**6))
def test_the_jacobian_of_eq_9_has_a_zero_block_where_theta_would_feel_phi(k, m, seed):
    theta, phi, p_v, p_u, problem = tables(k, m, seed)
    got = at(modified_gradient, problem, theta, phi).matrix
    (A, C), n = hessians(theta, phi, p_v, p_u), k * m
    np.testing.assert_allclose(got[:n], C[:n], atol=1e-8)  # C_phiphi, C_phitheta
    np.testing.assert_allclose(got[n:, n:], A[n:, n:], atol=1e-8)
    assert not got[n:, :n].any()


@settings(max_examples=15)
@given(st.integers(2, 4), st.integers(2, 3), st.integers(0, 10**6))
def test_the_antisymmetric_part_of_eq_9_has_the_norm_of_the_cross_block_over_root_2(k, m, seed):
    theta, phi, p_v, p_u, problem = tables(k, m, seed)
    got = at(modified_gradient, problem, theta, phi)
    cross = hessians(theta, phi, p_v, p_u)[1][: k * m, k * m :]
    assert got.antisymmetric.norm().item() == pytest.approx(np.linalg.norm(cross) / math.sqrt(2), abs=1e-7)


def test_the_jacobian_of_eq_9_has_a_real_spectrum_that_of_its_diagonal_blocks():
    for theta, phi, problem, blocks in (
        (THETA, PHI, gaussian_problem(), [gaussian_blocks(*THETA, *PHI)[i] for i in (0, 3)]),
        *((theta, phi, problem, blocks) for theta, phi, problem, blocks in map(_table_blocks, range(4))),
    ):
        got = np.linalg.eigvals(at(modified_gradient, problem, theta, phi).matrix.numpy())
        want = np.concatenate([np.linalg.eigvalsh(block) for block in blocks])
        # The logits' shifts make repeated zeros, which rounding splits by its root.
        assert np.abs(got.imag).max() < 1e-6
        np.testing.assert_allclose(np.sort(got.real), np.sort(want), atol=1e-6)


def _table_blocks(seed):
    theta, phi, p_v, p_u, problem = tables(3, 2, seed)
    A, C = hessians(theta, phi, p_v, p_u)
    return theta, phi, problem, [C[:6, :6], A[6:, 6:]]


@given(*[st.floats(-2, 2) for _ in range(3)], *[st.floats(-1.5, 0.7) for _ in range(2)], st.floats(0, 1))
def test_jacobians_of_linear_gaussians_have_their_closed_form_at_every_lambda(m, b, d, log_t, log_s, lam):
    point = m, log_t, b, d, log_s
    pp, pt, tt, A = gaussian_blocks(*point)
    got = at(interpolated_gradient, gaussian_problem(), point[:2], point[2:], lam)
    np.testing.assert_allclose(got.matrix, np.block([[pp, pt], [lam * pt.T, A + lam * tt]]), rtol=1e-9, atol=1e-9)
    norm = (1 - lam) * np.linalg.norm(pt) / math.sqrt(2)
    assert got.antisymmetric.norm().item() == pytest.approx(norm, abs=1e-9)


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 10**6))
def test_rows_are_components_and_columns_are_coordinates_phi_first(dim_theta, dim_phi, seed):
    rng = np.random.default_rng(seed)
    on_theta, on_phi = (
        rng.normal(size=(dim_theta, dim_theta + dim_phi)),
        rng.normal(size=(dim_phi, dim_theta + dim_phi)),
    )

    def linear(theta, phi):
        z = torch.cat([phi, theta])
        return Field(theta=tensor(on_theta) @ z, phi=tensor(on_phi) @ z)

    got = jacobian(linear, torch.zeros(dim_theta).double(), torch.zeros(dim_phi).double())
    np.testing.assert_allclose(got.matrix, np.concatenate([on_phi, on_theta]), rtol=1e-14)
    assert got.dim_phi == dim_phi
    assert not got.matrix.requires_grad


def test_a_matrix_is_the_sum_of_its_symmetric_and_its_antisymmetric_part():
    matrix = np.array([[1.0, 5.0, -2.0], [3.0, 4.0, 0.5], [0.0, 2.5, -1.0]])
    got = FieldJacobian(tensor(matrix), dim_phi=1)
    assert got.symmetric.tolist() == [[1.0, 4.0, -1.0], [4.0, 4.0, 1.5], [-1.0, 1.5, -1.0]]
    assert got.antisymmetric.tolist() == [[0.0, 1.0, -1.0], [-1.0, 0.0, -1.0], [1.0, 1.0, 0.0]]


def test_a_rotation_is_all_antisymmetric_and_a_scaling_all_symmetric():
    one = tensor([1.0])
    rotation = jacobian(lambda theta, phi: Field(theta=phi, phi=-theta), one, one)
    scaling = jacobian(lambda theta, phi: Field(theta=2 * theta, phi=3 * phi), one, one)
    assert (rotation.symmetric.norm(), scaling.antisymmetric.norm()) == (0, 0)
    assert rotation.antisymmetric.tolist() == [[0.0, -1.0], [1.0, 0.0]]
    assert scaling.symmetric.tolist() == [[3.0, 0.0], [0.0, 2.0]]


def test_parameters_that_require_a_gradient_are_taken_as_points():
    theta, phi = tensor(THETA).requires_grad_(), tensor(PHI).requires_grad_()
    got = jacobian(lambda theta, phi: full_gradient(gaussian_problem(), theta, phi), theta, phi)
    np.testing.assert_allclose(got.matrix, at(full_gradient, gaussian_problem(), THETA, PHI).matrix, rtol=1e-14)
    assert theta.grad is None
    assert phi.grad is None


@pytest.mark.parametrize("which", ["theta", "phi"])
@pytest.mark.parametrize("bad", [0.5, [[0.7], [-0.5]]])
def test_parameters_that_are_not_flat_are_refused_by_name(which, bad):
    point = {"theta": tensor(THETA), "phi": tensor(PHI)} | {which: tensor(bad)}
    with pytest.raises(ValueError, match=rf"^{which}: expected a flat tensor of floats, got shape"):
        jacobian(lambda theta, phi: full_gradient(gaussian_problem(), theta, phi), **point)


def test_a_field_with_its_blocks_exchanged_is_refused():
    with pytest.raises(
        ValueError, match=r"^field: expected shapes \(2,\) for theta and \(3,\) for phi, got \(3,\) and"
    ):
        jacobian(lambda theta, phi: Field(theta=phi, phi=theta), tensor(THETA), tensor(PHI))


def linear_field(matrix, zero, dim_phi):
    """(phi, theta) -> matrix ((phi, theta) - zero)."""

    def field(theta, phi):
        value = tensor(matrix) @ (torch.cat([phi, theta]) - tensor(zero))
        return Field(theta=value[dim_phi:], phi=value[:dim_phi])

    return field


def linear_case(dim_theta, dim_phi, seed):
    """A matrix whose eigenvalues have positive real parts, the zero of its field, a start."""
    rng = np.random.default_rng(seed)
    d = dim_theta + dim_phi
    turn, rates = rng.normal(size=(d, d)), rng.uniform(0.3, 3.0, size=d)
    return turn @ np.diag(rates) @ np.linalg.inv(turn), rates, rng.normal(size=d), rng.normal(size=d)


@settings(max_examples=6)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(0, 10**6))
def test_the_flow_of_a_linear_field_is_its_matrix_exponential(dim_theta, dim_phi, seed):
    matrix, _, zero, start = linear_case(dim_theta, dim_phi, seed)
    time = [0.0, 0.3, 1.0, 2.5]
    got = flow(linear_field(matrix, zero, dim_phi), tensor(start[dim_phi:]), tensor(start[:dim_phi]), tensor(time))
    want = np.array([zero + expm(-matrix * t) @ (start - zero) for t in time])
    size = np.linalg.cond(matrix) * (1 + np.abs(want).max())
    np.testing.assert_allclose(np.hstack([got.phi, got.theta]), want, atol=1e-7 * size)
    assert got.time.tolist() == time


@settings(max_examples=15)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(0, 10**6))
def test_the_fixed_point_of_a_linear_field_is_its_zero_and_the_spectrum_its_rates(dim_theta, dim_phi, seed):
    matrix, rates, zero, start = linear_case(dim_theta, dim_phi, seed)
    field = linear_field(matrix, zero, dim_phi)
    theta, phi = fixed_point(field, tensor(start[dim_phi:]), tensor(start[:dim_phi]))
    np.testing.assert_allclose(np.hstack([phi, theta]), zero, atol=1e-9 * np.linalg.cond(matrix))
    np.testing.assert_allclose(jacobian(field, theta, phi).spectrum, np.sort(rates), atol=1e-7 * np.linalg.cond(matrix))


def test_a_spiral_has_a_complex_spectrum():
    got = FieldJacobian(tensor([[0.5, 2.0], [-2.0, 0.5]]), dim_phi=1).spectrum
    assert sorted(got.imag.tolist()) == pytest.approx([-2.0, 2.0])
    assert got.real.tolist() == pytest.approx([0.5, 0.5])


def test_a_field_without_a_zero_has_no_fixed_point():
    with pytest.raises(RuntimeError, match=r"^field: no zero near the start, .* is left\. Start from"):
        fixed_point(lambda theta, phi: Field(theta=1 + theta**2, phi=phi), tensor([0.3]), tensor([0.1]))


def decay(theta, phi):
    return Field(theta=3 * theta, phi=phi)


@pytest.mark.parametrize(("level", "want"), [(2.0, 0.0), (1.0, 0.0), (0.1, math.log(10)), (1e-4, math.log(1e4))])
def test_the_time_to_a_level_is_that_of_exponential_decay(level, want):
    got = time_to_level(decay, lambda theta, phi: phi.sum(), tensor([1.0]), tensor([1.0]), level)
    assert got == pytest.approx(want, abs=1e-7 / level)  # the solver's error is 1e-8 of the start


def test_a_level_that_is_never_reached_takes_for_ever():
    energy = lambda theta, phi: 1 + phi.sum()  # noqa: E731
    assert time_to_level(decay, energy, tensor([1.0]), tensor([1.0]), level=0.999) == math.inf
    assert time_to_level(decay, energy, tensor([1.0]), tensor([1.0]), level=1.5, limit=0.6) == math.inf


def test_the_energy_along_a_path_is_that_of_its_points():
    path = flow(decay, tensor([1.0, 2.0]), tensor([3.0]), tensor([0.0, 1.0]))
    got = path.energy(lambda theta, phi: theta.sum() * phi.sum())
    assert got.tolist() == pytest.approx([9.0, 9.0 * math.exp(-4)], rel=1e-6)


@pytest.mark.parametrize("time", [[0.0], [0.0, 0.0], [0.1, 1.0], [0.0, 2.0, 1.0], [[0.0, 1.0]]])
def test_times_that_do_not_increase_from_0_are_refused(time):
    with pytest.raises(ValueError, match=r"^time: expected at least two increasing times from 0"):
        flow(decay, tensor([1.0]), tensor([1.0]), tensor(time))


@given(*[st.floats(-2, 2) for _ in range(3)], *[st.floats(-1.5, 0.7) for _ in range(2)])
def test_the_fisher_information_of_linear_gaussians_has_its_closed_form(m, b, d, log_t, log_s):
    got = fisher(gaussian_problem(), tensor([m, log_t]), tensor([b, d, log_s]))
    t2, s2 = math.exp(2 * log_t), math.exp(2 * log_s)
    np.testing.assert_allclose(got.theta, np.diag([1 / t2, 2]), rtol=1e-9, atol=1e-9)
    want = np.array([[(t2 + m * m) / s2, m / s2, 0], [m / s2, 1 / s2, 0], [0, 0, 2]])
    np.testing.assert_allclose(got.phi, want, rtol=1e-9, atol=1e-9)


@settings(max_examples=15)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 10**6))
def test_the_fisher_information_of_tables_is_the_covariance_of_their_scores(k, m, seed):
    theta, phi, _, _, problem = tables(k, m, seed)
    got = fisher(problem, tensor(theta), tensor(phi))
    q = np.array(softmax(theta))
    np.testing.assert_allclose(got.theta, np.diag(q) - np.outer(q, q), atol=1e-12)
    want = np.zeros((k * m, k * m))
    for i in range(k):
        rows = slice(i * m, (i + 1) * m)
        given_v = np.array(softmax(phi[rows]))
        want[rows, rows] = q[i] * (np.diag(given_v) - np.outer(given_v, given_v))
    np.testing.assert_allclose(got.phi, want, atol=1e-12)


@pytest.mark.parametrize(
    ("q_v", "theta", "want"),
    [  # ψ'(n/2) over 4 for each of the chi-squares of a Wishart; (n + 1)/(n + 3) and 2n/(n + 3) over s² of Student's t
        (lambda x: Wishart(x[0], torch.eye(2).double()), [4.0], [(polygamma(1, 2) + polygamma(1, 1.5)) / 4]),
        (lambda x: StudentT(5.0, x[0], x[1]), [0.3, 1.2], [6 / 8 / 1.44, 10 / 8 / 1.44]),
    ],
)
def test_the_fisher_information_does_not_depend_on_a_closed_form_of_torch(q_v, theta, want):
    """Torch's KL of two Wisharts is wrong, and of two Student's t it has none."""
    u = lambda v: Normal(torch.zeros(len(v)).double(), 1.0)  # noqa: E731
    problem = KLProblem(q_v, lambda phi: u, Normal(0.0, 1.0), u)
    following = natural_gradient(lambda theta, phi: Field(torch.ones_like(theta), phi), problem, "theta")
    np.testing.assert_allclose(following(tensor(theta), tensor([1.0])).theta, 1 / np.array(want), rtol=1e-7)


@pytest.mark.parametrize("blocks", [["theta"], ["phi"], ["theta", "phi"]])
def test_a_natural_step_divides_the_chosen_blocks_by_their_fisher_information(blocks):
    m, log_t, log_s = *THETA, PHI[2]
    full = full_gradient(gaussian_problem(), tensor(THETA), tensor(PHI))
    got = natural_gradient(lambda theta, phi: full, gaussian_problem(), blocks)(tensor(THETA), tensor(PHI))
    t2, s2 = math.exp(2 * log_t), math.exp(2 * log_s)
    by = {
        "theta": np.diag([1 / t2, 2]),
        "phi": np.array([[(t2 + m * m) / s2, m / s2, 0], [m / s2, 1 / s2, 0], [0, 0, 2]]),
    }
    for name in ("theta", "phi"):
        plain = getattr(full, name).numpy()
        want = np.linalg.solve(by[name], plain) if name in blocks else plain
        np.testing.assert_allclose(getattr(got, name), want, rtol=1e-9)


def test_the_natural_gradient_of_a_table_descends_its_log_ratio():
    theta, phi, p_v, p_u, problem = tables(3, 2, 4)
    following = natural_gradient(lambda *at: modified_gradient(problem, *at), problem, ["theta", "phi"])
    step = following(tensor(theta), tensor(phi))
    log_ratio = np.log(np.array(softmax(theta)) / p_v)
    np.testing.assert_allclose(step.theta, log_ratio - log_ratio.mean(), atol=1e-9)
    rows = np.array([np.log(np.array(softmax(phi[2 * i : 2 * i + 2])) / p_u[i]) for i in range(3)])
    np.testing.assert_allclose(step.phi.reshape(3, 2), rows - rows.mean(1, keepdims=True), atol=1e-9)


def test_the_jacobian_of_a_natural_field_knows_that_the_fisher_information_moves():
    field = natural_gradient(lambda *at: full_gradient(gaussian_problem(), *at), gaussian_problem(), ["theta", "phi"])
    z, h = np.array([*PHI, *THETA]), 1e-5

    def flat(z):
        value = field(tensor(z[3:]), tensor(z[:3]))
        return np.hstack([value.phi, value.theta])

    want = np.array([(flat(z + h * e) - flat(z - h * e)) / (2 * h) for e in np.eye(5)]).T
    np.testing.assert_allclose(jacobian(field, tensor(THETA), tensor(PHI)).matrix, want, atol=1e-7)


@pytest.mark.parametrize("blocks", [[], ["v"], ["theta", "omega"]])
def test_blocks_of_another_name_are_refused(blocks):
    with pytest.raises(ValueError, match=r"^blocks: expected some of 'theta' and 'phi', got"):
        natural_gradient(decay, gaussian_problem(), blocks)


@pytest.mark.parametrize("logits", [(0, -40, -20), (-20, -40, 0), (0, -600, -3), (0, 0, 0)])
def test_the_natural_step_at_a_v_does_not_depend_on_how_rare_it_is(logits):
    """By hand: phi's is log(q(u|v)/p(u|v)) less its mean over u, theta's log(q(v)/p(v)) + c(v) less its mean over v."""
    _, phi, p_v, p_u, problem = tables(3, 4, 7)
    following = natural_gradient(lambda *at: full_gradient(problem, *at), problem, ["theta", "phi"])
    step = following(tensor(logits), tensor(phi))
    r = np.array([softmax(row) for row in phi.reshape(3, 4)])
    ratio = np.log(r / p_u)
    np.testing.assert_allclose(step.phi.reshape(3, 4), ratio - ratio.mean(1, keepdims=True), rtol=1e-10, atol=1e-12)
    f = np.array(logits) - math.log(sum(math.exp(x) for x in logits)) - np.log(p_v) + (r * ratio).sum(1)
    np.testing.assert_allclose(step.theta, f - f.mean(), rtol=1e-10, atol=1e-10)


def test_a_v_without_any_mass_has_no_step_and_leaves_the_others_theirs():
    _, phi, _, p_u, problem = tables(3, 4, 7)
    step = natural_gradient(lambda *at: full_gradient(problem, *at), problem, "phi")(tensor([0, -800, 1]), tensor(phi))
    ratio = np.log([softmax(row) for row in phi.reshape(3, 4)] / p_u)
    want = ratio - ratio.mean(1, keepdims=True)
    want[1] = 0
    np.testing.assert_allclose(step.phi.reshape(3, 4), want, rtol=1e-10, atol=1e-12)


def test_coordinates_that_do_the_same_share_a_step_whatever_their_size():
    """u|v ~ N(a + b, 1) at v = 0 and N(1e6 c, 1) at v = 1: the shortest step halves the way between a and b."""
    problem = KLProblem(
        q_v=lambda theta: Categorical(logits=theta),
        q_u_given_v=lambda phi: lambda v: Normal(torch.stack([phi[0] + phi[1], 1e6 * phi[2]])[v], 1.0),
        p_v=Categorical(tensor([0.5, 0.5])),
        p_u_given_v=lambda v: Normal(tensor([0.0, 0.0])[v], 1.0),
    )
    for theta in ([0.0, 0.0], [-50.0, 0.0], [0.0, -70.0]):
        step = natural_gradient(lambda *at: full_gradient(problem, *at), problem, ["phi"])
        got = step(tensor(theta), tensor([1.0, 3.0, 2.0])).phi
        np.testing.assert_allclose(got, [2.0, 2.0, 2.0], rtol=1e-10)


def test_the_fisher_information_of_a_peaked_table_keeps_its_digits():
    """p(1 - p) = e^-30 to rounding, where p - p² has none."""
    _, _, _, _, problem = tables(2, 2, 0)
    got = fisher(problem, tensor([0, -30]), tensor([0, -30, 0, 0]))
    want = math.exp(-30) / (1 + math.exp(-30)) ** 2 * np.array([[1, -1], [-1, 1]])
    np.testing.assert_allclose(got.theta, want, rtol=1e-12)
    np.testing.assert_allclose(got.phi[:2, :2], want / (1 + math.exp(-30)), rtol=1e-12)
    assert want[0, 0] == pytest.approx(9.4e-14, rel=0.01)


@pytest.mark.parametrize("logits", [(0, 60, 0), (0, 800, 0), (60, 0, 0)])
def test_a_saturated_softmax_is_no_fixed_point(logits):
    _, _, _, p_u, problem = tables(3, 2, 3)
    with pytest.raises(RuntimeError, match=r"^field: fades near the start without a zero.*saturates.*Start from"):
        fixed_point(lambda *at: full_gradient(problem, *at), tensor(logits), tensor(np.log(p_u)).flatten())


def test_a_search_that_runs_to_infinity_finds_no_fixed_point(monkeypatch):
    """At a shift of 1e9, which changes no table, what is 1 away from its zero is near beside the shift."""
    end = np.array([0.0, 1e9 + 40, 1e9])
    fade = lambda theta, phi: Field((theta[1] - theta[0]).exp() * tensor([1.0, -1.0]), phi)  # noqa: E731
    monkeypatch.setattr("condkl.dynamics.root", lambda f, *_, **__: SimpleNamespace(x=end, fun=f(end)))
    with pytest.raises(RuntimeError, match=r"^field: fades near the start without a zero"):
        fixed_point(fade, tensor([1.0, 0.0]), tensor([0.0]))


def test_a_field_that_fades_is_told_from_one_that_vanishes():
    gone = tensor([0.0])
    with pytest.raises(RuntimeError, match=r"of theta\[0\] .* is left, and by its slope its zero is 1 away"):
        fixed_point(lambda theta, phi: Field((-theta).exp(), phi), tensor([40.0]), gone)
    theta, _ = fixed_point(lambda theta, phi: Field(1e-12 * (theta - 3), phi), tensor([40.0]), gone)
    assert theta.item() == pytest.approx(3, abs=1e-9)
    with pytest.raises(RuntimeError, match=r"of phi\[0\] 0 is left, and by its slope its zero is inf away"):
        fixed_point(lambda theta, phi: Field(theta, 0 * phi), gone, gone)


def test_a_field_that_leaves_the_finite_numbers_is_named():
    gone = tensor([1.0])
    with pytest.raises(RuntimeError, match=r"^field: expected finite numbers, got NaN or infinity in theta\[0\]"):
        fixed_point(lambda theta, phi: Field(theta / 0, phi), gone, gone)
    with pytest.raises(RuntimeError, match=r"^field: cannot be followed: its slopes leave the range"):
        flow(lambda theta, phi: Field(1e300 * theta, 1e300 * phi), gone, gone, tensor([0.0, 1e6]))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda one: jacobian(lambda theta, phi: (theta, phi), one, one),
            TypeError,
            "field: expected it to return a F",
        ),
        (lambda one: jacobian(lambda t, f: Field(t.detach(), f.detach()), one, one), ValueError, "field: .*a graph"),
        (lambda one: jacobian(decay, one * math.nan, one), ValueError, "theta: expected numbers, got NaN"),
        (lambda one: jacobian(decay, one, one * math.inf), ValueError, "phi: expected finite numbers"),
        (lambda one: jacobian(decay, [1.0], one), TypeError, "theta: expected a flat tensor of floats, got list"),
        (lambda one: flow(decay, one, one, [0.0, math.inf]), ValueError, "time: expected finite numbers"),
        (lambda one: flow(decay, one, one, None), TypeError, "time: expected a float or a tensor"),
        (lambda one: time_to_level(decay, lambda t, f: t, one, one, math.nan), ValueError, "level: expected finite"),
        (lambda one: time_to_level(decay, lambda t, f: t, one, one, [1, 2]), ValueError, "level: expected one number"),
        (lambda one: time_to_level(decay, lambda t, f: t / 0, one, one, 0.1), ValueError, "energy: expected finite"),
        (lambda one: time_to_level(decay, lambda t, f: t, one, one, 0.1, 0), ValueError, "limit: .*followed up to"),
        (lambda one: fixed_point(decay, one, one, tol=-1), ValueError, "tol: expected numbers above 0.*left of the fi"),
        (lambda one: natural_gradient(decay, gaussian_problem(), None), ValueError, "blocks: expected some of"),
    ],
)
def test_arguments_of_a_wrong_kind_are_refused_by_name(call, error, message):
    with pytest.raises(error, match=f"^{message}"):
        call(tensor([1.0]))


def test_times_may_be_plain_numbers():
    one = tensor([1.0])
    assert flow(decay, one, one, [0, 1]).phi[-1].item() == pytest.approx(math.exp(-1), abs=1e-7)
    assert natural_gradient(decay, gaussian_problem(), "theta")(tensor(THETA), tensor(PHI)).phi.tolist() == list(PHI)
