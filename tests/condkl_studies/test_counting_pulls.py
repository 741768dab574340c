"""What pulls on theta: gradients and noise are those of automatic differentiation and of sampling."""

import math

import pytest
import torch
from tiny_counting import bits, make

from condkl_studies.counting.objective import loss
from condkl_studies.counting.pulls import _gram, theta_record

WEIGHTS = {"full": torch.ones(4).double(), "modified": torch.tensor([0.0, 1.0, 1.0, 1.0]).double()}
DRAWS = 3


def theta(model, value):
    return torch.cat([g.flatten() for g in torch.autograd.grad(value, model.theta(), retain_graph=True)])


@pytest.fixture(scope="module")
def found():
    model, x, draws = make(), bits(), torch.Generator().manual_seed(7)
    passes = [model(x, model.noise(len(x), draws)) for _ in range(DRAWS)]
    return model, x, passes, theta_record(model, x, torch.Generator().manual_seed(7), DRAWS)


def test_the_gram_matrix_is_that_of_the_gradients_of_the_logits():
    model, x = make(most=3), bits(4)
    for image, got in zip(x, _gram(model, x), strict=True):
        each = torch.stack([theta(model, logit) for logit in model.q_n(image[None])[0]])
        torch.testing.assert_close(got, each @ each.T)


def test_the_pulls_and_their_cosine_are_those_of_the_losses(found):
    model, x, passes, record = found
    pulls = {}
    for name, weights in WEIGHTS.items():
        each = torch.stack([theta(model, -loss(model, x, one, weights)) for one in passes])
        pulls[name] = each.mean(0)
        assert record[f"pull_{name}"] == pytest.approx(each.mean(0).norm().item(), rel=1e-8)
        assert record[f"noise_u_{name}"] == pytest.approx(math.sqrt(each.var(0).sum().item()), rel=1e-8)
    cosine = torch.cosine_similarity(pulls["full"], pulls["modified"], 0).item()
    assert record["cos_modified"] == pytest.approx(cosine, rel=1e-8)


@pytest.mark.parametrize("name", WEIGHTS)
def test_the_noise_of_one_n_is_that_of_an_enumeration_over_all(name, found):
    model, x, passes, record = found
    variance = {"n": 0.0, "batch": 0.0, "image": 0.0}
    for counted in passes:
        gain = (counted.R - WEIGHTS[name][0] * counted.C).detach()
        q, means = counted.q.detach(), (counted.q * (counted.R - WEIGHTS[name][0] * counted.C)).sum(-1).detach()
        for i in range(len(x)):
            scores = torch.stack([theta(model, log_q) for log_q in counted.log_q[i]]) / len(x)
            for kind, baseline in (("n", 0.0), ("batch", means.mean()), ("image", means[i])):
                each = (gain[i] - baseline)[:, None] * scores
                mean = q[i] @ each
                variance[kind] += (q[i] @ (each - mean).square()).sum().item() / DRAWS
    for kind, value in variance.items():
        assert record[f"noise_{kind}_{name}"] == pytest.approx(math.sqrt(value), rel=1e-8)


def test_a_baseline_at_each_image_leaves_less_noise_than_none(found):
    record = found[-1]
    for name in WEIGHTS:
        assert record[f"noise_image_{name}"] < record[f"noise_n_{name}"]


def test_the_record_leaves_the_model_and_the_global_randomness_alone():
    model, x = make(), bits()
    before, weights = torch.random.get_rng_state(), [p.clone() for p in model.parameters()]
    theta_record(model, x, torch.Generator().manual_seed(1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(a, b) and a.grad is None for a, b in zip(model.parameters(), weights, strict=True))
