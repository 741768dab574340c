"""The loss: what each parameter follows, by the exact sum over n or by the score function at one n."""

import torch
from torch import Tensor

from condkl_studies.counting.model import Counted, CountingVAE

#: How the gradient's sum over n is taken, exactly or at one n, where theta has the score function with no baseline,
#: with the mean of the other images of the batch, or with a network's value at the image.
ESTIMATORS = ("exact", "score", "leave_one_out", "learned")
_BASELINE_SCALE = 100.0  # nats: the size of R


def loss(
    model: CountingVAE,
    x: Tensor,
    counted: Counted,
    weights: Tensor,
    estimator: str = "exact",
    pick: Tensor | None = None,
) -> Tensor:
    """A number whose gradient is that of the negative mean ELBO under these weights; its value means nothing.

    theta, which reaches the terms through q(n|x) alone, follows ∇(R - w₂A - w₀C), phi and omega ∇(R - w₁C): an object's
    posterior sees the canvas so far, and with it the decoder.

    Args:
        x: bits, (n, pixels); `counted` are the model's terms there.
        weights: w₀, w₁, w₂ as in `ways.Weights`; what follows them is left alone.
        estimator: one of `ESTIMATORS`.
        pick: uniform draws from [0, 1), shape (n,), which pick the n of each image; the exact sum needs none.
    """
    c_theta, c_phi, a_theta = weights[:3].unbind()
    gain = (counted.R - c_theta * counted.C).detach()
    A = a_theta * counted.A.mean()
    if estimator == "exact":
        return A - (counted.q * gain).sum(-1).mean() - _lower(counted, counted.q.detach(), c_phi)
    assert pick is not None
    at = picked(counted, pick)
    reward, score = (at * gain).sum(-1), (at * counted.log_q).sum(-1)
    baseline = _baseline(model, x, reward, estimator)
    loss = A - (score * (reward - baseline.detach())).mean() - _lower(counted, at, c_phi)
    if estimator == "learned":
        loss = loss + ((reward - baseline) / _BASELINE_SCALE).square().mean()
    return loss


def picked(counted: Counted, pick: Tensor) -> Tensor:
    """One n for each image, drawn from q(n|x) by uniform numbers of shape (n,): 1 there and 0 elsewhere, (n, N + 1)."""
    below = counted.q.detach().cumsum(-1)[:, :-1]  # its last column is 1 but for rounding
    return torch.nn.functional.one_hot((pick[:, None] >= below).sum(-1), counted.q.shape[-1]).to(pick.dtype)


def _lower(counted: Counted, shares: Tensor, c_phi: Tensor) -> Tensor:
    """What phi and omega follow, with these shares of each n."""
    return (shares * (counted.R - c_phi * counted.C)).sum(-1).mean()


def _baseline(model: CountingVAE, x: Tensor, reward: Tensor, estimator: str) -> Tensor:
    """What does not depend on the image's own n."""
    if estimator == "leave_one_out":
        return (reward.sum() - reward) / (len(reward) - 1)
    if estimator == "learned":
        assert model.baseline is not None
        return _BASELINE_SCALE * model.baseline(x).squeeze(-1)
    return torch.zeros_like(reward)
