"""What pulls on theta, under the full gradient and under eq. (9), and how noisy one sample of n makes it."""

import math

import torch
from torch import Tensor

from condkl_studies.counting.model import CountingVAE

_LAMBDA = {"full": 1.0, "modified": 0.0}


@torch.no_grad()
def theta_record(model: CountingVAE, x: Tensor, generator: torch.Generator, draws: int = 16) -> dict[str, float]:
    """The gradient of the mean ELBO of these bits, x of shape (n, pixels), on theta, and its noise.

    For `full` and `modified` (eq. 9): `pull_…`, the norm of the gradient; `noise_u_…`, the root of the summed variances
    that the draw of the objects leaves in it with the exact sum over n; and what one n for each image, by the score
    function, adds: `noise_n_…` without a baseline, `noise_batch_…` with the mean over the batch as baseline, and
    `noise_image_…` with the mean over n at each image, the best that a network can learn. `cos_modified` is the cosine
    between the two gradients. All are means over `draws` draws of the objects.
    """
    gram, log_ratio = _gram(model, x), None
    gradients: dict[str, list[Tensor]] = {name: [] for name in _LAMBDA}
    noise = {(kind, name): 0.0 for name in _LAMBDA for kind in ("n", "batch", "image")}
    for _ in range(draws):
        counted = model(x, model.noise(len(x), generator))
        q, log_ratio = counted.q, counted.log_q - model.log_p
        for name, lam in _LAMBDA.items():
            gain = counted.R - lam * counted.C
            mean = (q * gain).sum(-1, keepdim=True)
            gradients[name].append(_on_theta(model, x, q * (gain - mean - log_ratio + counted.A[:, None])))
            for kind, baseline in (("n", torch.zeros_like(mean)), ("batch", mean.mean()), ("image", mean)):
                noise[kind, name] += _variance(q, gain - baseline, gram) / draws
    pulls = {name: torch.stack(each).double() for name, each in gradients.items()}
    full, modified = (each.mean(0) for each in pulls.values())
    record = {f"pull_{name}": float(each.mean(0).norm()) for name, each in pulls.items()}
    record |= {f"noise_u_{name}": math.sqrt(float(each.var(0).sum())) for name, each in pulls.items()}
    record |= {f"noise_{kind}_{name}": math.sqrt(max(0.0, value)) for (kind, name), value in noise.items()}
    return record | {"cos_modified": float(torch.cosine_similarity(full, modified, 0))}


def _on_theta(model: CountingVAE, x: Tensor, on_logits: Tensor) -> Tensor:
    """The gradient on theta of a mean over images with this gradient on each one's logits, flat."""
    with torch.enable_grad():
        found = torch.autograd.grad(model.q_n(x), model.theta(), on_logits / len(x))
    return torch.cat([g.flatten() for g in found])


def _variance(q: Tensor, reward: Tensor, gram: Tensor) -> float:
    """The summed variances on theta of the mean over images of reward(n) ∇ log q(n|x), with n ~ q(n|x)."""
    scores = torch.eye(q.shape[-1], dtype=q.dtype, device=q.device) - q[:, None]  # on the logits; a row for each n
    squares = torch.einsum("ina,iab,inb->in", scores, gram, scores)
    mean = torch.einsum("in,in,ina->ia", q, reward, scores)
    each = (q * reward.square() * squares).sum(-1) - torch.einsum("ia,iab,ib->i", mean, gram, mean)
    return float(each.sum()) / len(q) ** 2


def _gram(model: CountingVAE, x: Tensor) -> Tensor:
    """The products of the gradients on theta of each two logits of an image, shape (n, N + 1, N + 1).

    The gradient on a matrix is the outer product of what comes back and what went in, so that a product of two such
    gradients is that of what comes back times that of what went in, and no gradient is ever made.
    """
    net = model.q_n
    one = net.part(0, x).tanh()
    two = net.middle(one).tanh()
    back_two = net.out.weight * (1 - two.square())[:, None]  # of each logit, on the second layer
    back_one = back_two @ net.middle.weight * (1 - one.square())[:, None]
    gram = torch.eye(net.out.out_features, dtype=x.dtype, device=x.device) * _with_bias(two)
    return gram + back_two @ back_two.mT * _with_bias(one) + back_one @ back_one.mT * _with_bias(x)


def _with_bias(inputs: Tensor) -> Tensor:
    """The square of the length of a layer's inputs and of the 1 that its bias sees, shape (n, 1, 1)."""
    return (inputs.square().sum(-1) + 1)[:, None, None]
