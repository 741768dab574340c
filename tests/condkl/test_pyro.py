"""The ELBO for Pyro's models: Pyro's own at λ = 1 to the bit, and the plain recipe in torch at every other λ."""

import importlib
import sys

import pytest
import torch
from torch import nn
from torch.distributions import Bernoulli, Categorical, Independent, Normal, StudentT, kl_divergence

pytest.importorskip("pyro", reason="the extra `pyro` is not installed")

import pyro
import pyro.distributions as dist
from pyro.infer import SVI, TraceMeanField_ELBO

from condkl.pyro import TraceConditionalKL_ELBO

PIXELS, V, U, W, N = 6, 2, 3, 2, 5


@pytest.fixture(autouse=True)
def _no_parameters():
    pyro.clear_param_store()


def split(output):
    mean, log_scale = output.chunk(2, -1)
    return mean, log_scale.exp()


def joined(*values):
    """Side by side, where one of them has dimensions of particles or of states more."""
    shape = torch.broadcast_shapes(*(value.shape[:-1] for value in values))
    return torch.cat([value.expand(*shape, -1) for value in values], -1)


class Chain(nn.Module):
    """v -> u -> w -> x with a posterior from the top; p(w|u) is Gaussian, or Student's, whose KL has no closed form."""

    def __init__(self, tails="normal", dropout=0.0):
        super().__init__()
        torch.manual_seed(0)
        sizes = {"q_v": (PIXELS, V), "q_u": (PIXELS + V, U), "q_w": (PIXELS + U, W), "p_u": (V, U), "p_w": (U, W)}
        self.nets = nn.ModuleDict(
            {k: nn.Linear(i, 2 * o) for k, (i, o) in sizes.items()} | {"p_x": nn.Linear(W, PIXELS)}
        )
        self.drop, self.tails = nn.Dropout(dropout), tails
        self.double()
        self.x = torch.rand(N, PIXELS).round().double()

    def of_w(self, u, normal, student):
        mean, scale = split(self.nets["p_w"](u))
        return normal(mean, scale) if self.tails == "normal" else student(4.0, mean, scale)

    def model(self, x):
        pyro.module("chain", self)
        with pyro.plate("images", len(x)):
            v = pyro.sample("v", dist.Normal(x.new_zeros(len(x), V), 1.0).to_event(1))
            u = pyro.sample("u", dist.Normal(*split(self.nets["p_u"](self.drop(v)))).to_event(1))
            w = pyro.sample("w", self.of_w(u, dist.Normal, dist.StudentT).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=self.nets["p_x"](w)).to_event(1), obs=x)

    def guide(self, x):
        pyro.module("chain", self)
        with pyro.plate("images", len(x)):
            v = pyro.sample("v", dist.Normal(*split(self.nets["q_v"](x))).to_event(1))
            u = pyro.sample("u", dist.Normal(*split(self.nets["q_u"](self.drop(joined(x, v))))).to_event(1))
            pyro.sample("w", dist.Normal(*split(self.nets["q_w"](joined(x, u)))).to_event(1))

    def terms(self, x):
        """R, A and the two conditional KLs in plain torch, with the noise that the guide draws."""
        q_v = Independent(Normal(*split(self.nets["q_v"](x))), 1)
        v = q_v.rsample()
        q_u = Independent(Normal(*split(self.nets["q_u"](torch.cat([x, v], -1)))), 1)
        u = q_u.rsample()
        q_w = Independent(Normal(*split(self.nets["q_w"](torch.cat([x, u], -1)))), 1)
        w = q_w.rsample()
        R = Independent(Bernoulli(logits=self.nets["p_x"](w)), 1).log_prob(x)
        A = kl_divergence(q_v, Independent(Normal(torch.zeros(V).double(), 1.0), 1))
        C_u = kl_divergence(q_u, Independent(Normal(*split(self.nets["p_u"](v))), 1))
        p_w = Independent(self.of_w(u, Normal, StudentT), 1)
        C_w = kl_divergence(q_w, p_w) if self.tails == "normal" else q_w.log_prob(w) - p_w.log_prob(w)
        return [term.sum() for term in (R, A, C_u, C_w)]


def gradients(elbo, chain, seed=1):
    """The loss, and the gradient on each network, as SVI has them; the randomness that is left."""
    chain.zero_grad()
    pyro.set_rng_seed(seed)
    loss = elbo.loss_and_grads(chain.model, chain.guide, chain.x)
    return loss, {name: [p.grad.clone() for p in net.parameters()] for name, net in chain.nets.items()}


def same(one, other):
    return one[0] == other[0] and all(
        torch.equal(a, b) for name in one[1] for a, b in zip(one[1][name], other[1][name], strict=True)
    )


SETTINGS = [{}, {"num_particles": 2}, {"num_particles": 3, "vectorize_particles": True, "max_plate_nesting": 1}]


@pytest.mark.parametrize("weight", [1, {"u": 1.0, "w": 1.0}, {}])
@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("tails", ["normal", "student"])
def test_at_lambda_one_it_is_pyros_own_to_the_bit(tails, settings, weight):
    chain = Chain(tails)
    found, ours = gradients(TraceConditionalKL_ELBO(weight, **settings), chain), torch.random.get_rng_state()
    want, theirs = gradients(TraceMeanField_ELBO(**settings), chain), torch.random.get_rng_state()
    assert same(found, want)
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("weight", [0.0, 0.3, {"u": 0.3}, {"w": 0.0}, {"u": 0.3, "w": 0.7}])
@pytest.mark.parametrize("tails", ["normal", "student"])
def test_every_ancestor_meets_each_kl_with_the_weight_of_its_site(tails, weight):
    chain = Chain(tails)
    loss, found = gradients(TraceConditionalKL_ELBO(weight), chain)
    assert loss == gradients(TraceMeanField_ELBO(), chain)[0]  # no value changes, to the bit
    pyro.set_rng_seed(1)
    R, A, C_u, C_w = chain.terms(chain.x)
    lam_u, lam_w = (weight, weight) if isinstance(weight, float) else (weight.get("u", 1.0), weight.get("w", 1.0))
    assert loss == pytest.approx(-(R - A - C_u - C_w).item(), rel=1e-12)
    followed = {
        "q_v": R - A - lam_u * C_u - lam_w * C_w,
        "q_u": R - C_u - lam_w * C_w,
        **dict.fromkeys(("q_w", "p_u", "p_w", "p_x"), R - C_u - C_w),
    }
    for name, elbo in followed.items():
        want = torch.autograd.grad(-elbo, list(chain.nets[name].parameters()), retain_graph=True)
        for got, one in zip(found[name], want, strict=True):
            torch.testing.assert_close(got, one, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("settings", SETTINGS[1:])
def test_particles_have_the_mean_of_their_gradients(settings):
    """Linear in λ: what half of it gives is the mean of what 0 and 1 give."""
    chain = Chain("student")
    (_, none), (_, half), (_, full) = (
        gradients(TraceConditionalKL_ELBO(lam, **settings), chain) for lam in (0, 0.5, 1)
    )
    assert not torch.allclose(none["q_v"][0], full["q_v"][0], rtol=1e-3)
    for name in chain.nets:
        for a, b, c in zip(none[name], half[name], full[name], strict=True):
            torch.testing.assert_close(b, (a + c) / 2, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("tails", ["normal", "student"])
def test_dropout_has_the_same_masks_when_the_model_runs_again(tails):
    chain = Chain(tails, dropout=0.5)
    losses = [gradients(TraceConditionalKL_ELBO(lam), chain) for lam in (1.0, 0.3)]
    assert losses[0][0] == losses[1][0] == gradients(TraceMeanField_ELBO(), chain)[0]
    assert not same(*losses)


def test_a_subsample_is_the_same_when_the_model_runs_again():
    chain, scales = Chain(), torch.linspace(0.5, 1.5, 9).double()[:, None]

    def model(x):
        net = pyro.module("p_u", chain.nets["p_u"])
        with pyro.plate("all", 9, subsample_size=N) as which:
            v = pyro.sample("v", dist.Normal(torch.zeros(N, V).double(), scales[which]).to_event(1))
            pyro.sample("u", dist.Normal(*split(net(v))).to_event(1))

    def guide(x):
        net = pyro.module("q_v", chain.nets["q_v"])
        with pyro.plate("all", 9, subsample_size=N) as which:
            v = pyro.sample("v", dist.Normal(*split(net(scales[which] * x))).to_event(1))
            pyro.sample("u", dist.Normal(v.sum(-1, keepdim=True).expand(N, U), 1.0).to_event(1))

    losses = []
    for elbo in (TraceMeanField_ELBO(), TraceConditionalKL_ELBO(0.0)):
        pyro.set_rng_seed(2)
        losses.append(elbo.loss_and_grads(model, guide, chain.x))
    assert losses[0] == losses[1]


def test_without_a_gradient_the_model_runs_once():
    chain, runs = Chain(), []

    def model(x):
        runs.append("model")
        chain.model(x)

    svi = SVI(model, chain.guide, pyro.optim.Adam({"lr": 1e-3}), TraceConditionalKL_ELBO(0.0))
    svi.evaluate_loss(chain.x)
    assert runs == ["model"]
    svi.step(chain.x)
    assert runs == ["model"] * 3


# --- Discrete sites, which are summed over ---------------------------------------------------------------------------


class Counting(nn.Module):
    """v1 in 3 states, v2 in 2 given v1, then u and w, both Gaussian, and x; each posterior sees x and those above."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        sizes = {"q_1": (PIXELS, 3), "q_2": (PIXELS + 3, 2), "q_u": (PIXELS + 2, 2 * U), "q_w": (PIXELS + U, 2 * W)}
        sizes |= {"p_2": (3, 2), "p_u": (2, 2 * U), "p_w": (U, 2 * W), "p_x": (W, PIXELS)}
        self.nets = nn.ModuleDict({name: nn.Linear(*size) for name, size in sizes.items()}).double()
        self.x = torch.rand(N, PIXELS).round().double()

    def given(self, name, *values):
        return self.nets[name](joined(*values))

    def model(self, x):
        pyro.module("counting", self)
        with pyro.plate("images", len(x)):
            v1 = pyro.sample("v1", dist.Categorical(logits=x.new_zeros(3)))
            v2 = pyro.sample("v2", dist.Categorical(logits=self.given("p_2", one_hot(v1, 3))))
            u = pyro.sample("u", dist.Normal(*split(self.given("p_u", one_hot(v2, 2)))).to_event(1))
            w = pyro.sample("w", dist.Normal(*split(self.given("p_w", u))).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=self.given("p_x", w)).to_event(1), obs=x)

    def guide(self, x):
        pyro.module("counting", self)
        summed = {"enumerate": "parallel"}
        with pyro.plate("images", len(x)):
            v1 = pyro.sample("v1", dist.Categorical(logits=self.given("q_1", x)), infer=dict(summed))
            v2 = pyro.sample("v2", dist.Categorical(logits=self.given("q_2", x, one_hot(v1, 3))), infer=dict(summed))
            u = pyro.sample("u", dist.Normal(*split(self.given("q_u", x, one_hot(v2, 2)))).to_event(1))
            pyro.sample("w", dist.Normal(*split(self.given("q_w", x, u))).to_event(1))

    def terms(self, x):
        """A, the KL of v1; and at each pair of states its probability, R, and the KLs of v2, u and w.

        The noise is what the guide draws: a u, and then a w, for each state of v2 and image.
        """
        q_1 = Categorical(logits=self.nets["q_1"](x))
        A = kl_divergence(q_1, Categorical(logits=torch.zeros(3).double())).sum()
        noise = [torch.randn(2, N, width, dtype=torch.float64) for width in (U, W)]  # for each state of v2
        found = []
        for i in range(3):
            v1 = one_hot(torch.tensor(i), 3).expand(N, 3)
            q_2 = Categorical(logits=self.nets["q_2"](torch.cat([x, v1], -1)))
            C_2 = kl_divergence(q_2, Categorical(logits=self.nets["p_2"](v1)))
            for j in range(2):
                v2 = one_hot(torch.tensor(j), 2).expand(N, 2)
                q_u = Independent(Normal(*split(self.nets["q_u"](torch.cat([x, v2], -1)))), 1)
                u = q_u.mean + q_u.stddev * noise[0][j]
                q_w = Independent(Normal(*split(self.nets["q_w"](torch.cat([x, u], -1)))), 1)
                w = q_w.mean + q_w.stddev * noise[1][j]
                R = Independent(Bernoulli(logits=self.nets["p_x"](w)), 1).log_prob(x)
                C_u = kl_divergence(q_u, Independent(Normal(*split(self.nets["p_u"](v2))), 1))
                C_w = kl_divergence(q_w, Independent(Normal(*split(self.nets["p_w"](u))), 1))
                p_1, p_2 = q_1.probs[:, i], q_2.probs[:, j]
                found.append({"mass": p_1 * p_2, "R": R, "C_u": C_u, "C_w": C_w, "C_2": C_2 * p_2.detach(), "p_1": p_1})
        return A, found


def one_hot(v, n):
    return nn.functional.one_hot(v, n).double()


def expected(found, term, mass="mass"):
    return sum((one[mass] * one[term]).sum() for one in found)


@pytest.mark.parametrize("weight", [1.0, 0.0, 0.3, {"v2": 0.2}, {"u": 0.0, "w": 0.3}])
def test_discrete_parents_are_summed_over_and_the_weight_is_on_their_probabilities(weight):
    counting = Counting()
    elbo = TraceConditionalKL_ELBO(weight, max_plate_nesting=1)
    loss, got = gradients(elbo, counting)
    lam = {name: weight if isinstance(weight, float) else weight.get(name, 1.0) for name in ("v2", "u", "w")}
    pyro.set_rng_seed(1)
    A, found = counting.terms(counting.x)
    R, C_u, C_w = (expected(found, term) for term in ("R", "C_u", "C_w"))
    C_2 = sum((one["p_1"] * one["C_2"]).sum() for one in found)
    assert loss == pytest.approx((A + C_2 + C_u + C_w - R).item(), rel=1e-10)
    # What the gradient of each posterior meets with λ are the KLs of the sites below it.
    ends = {
        "q_1": R - A - lam["v2"] * C_2 - lam["u"] * C_u - lam["w"] * C_w,
        "q_2": R - lam["u"] * C_u - lam["w"] * C_w - own_kl(counting),
        "q_u": R - C_u - lam["w"] * C_w,
        **dict.fromkeys(("q_w", "p_u", "p_w", "p_x"), R - C_u - C_w),
    }
    for name, value in ends.items():
        want = torch.autograd.grad(-value, list(counting.nets[name].parameters()), retain_graph=True)
        for one, other in zip(got[name], want, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


def own_kl(counting):
    """E over v1 of the KL of v2, of which q_2 follows its own part alone."""
    q_1 = Categorical(logits=counting.nets["q_1"](counting.x)).probs.detach()
    kls = []
    for i in range(3):
        v1 = one_hot(torch.tensor(i), 3).expand(N, 3)
        q_2 = Categorical(logits=counting.nets["q_2"](torch.cat([counting.x, v1], -1)))
        kls.append(kl_divergence(q_2, Categorical(logits=counting.nets["p_2"](v1))))
    return (q_1 * torch.stack(kls, -1)).sum()


def test_pyros_own_class_does_not_enumerate():
    """If it does one day, ours should leave it to it."""
    counting = Counting()
    with pytest.warns(UserWarning, match="enumeration"), pytest.raises(NotImplementedError, match="reparameterized"):
        TraceMeanField_ELBO(max_plate_nesting=1).loss(counting.model, counting.guide, counting.x)


# --- Refusals --------------------------------------------------------------------------------------------------------


def test_a_discrete_site_that_is_not_summed_over_is_refused():
    def both(x=None):
        pyro.sample("v", dist.Bernoulli(0.5))

    with pytest.raises(
        NotImplementedError, match=r"v: expected a site that can be reparametrised, got Bernoulli.*max_pl"
    ):
        TraceConditionalKL_ELBO().loss(both, both)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (1.5, r"weight: expected a number from 0 to 1, got 1\.5"),
        ({"u": -1}, r"weight\['u'\]: expected a number from 0 to 1, got -1"),
        ({"x": 0.5}, "weight: expected names of latent sites, v, u, w, got x"),
        ({"y": 0.5}, "weight: expected names of latent sites, v, u, w, got y"),
    ],
)
def test_a_weight_that_makes_no_sense_is_refused(weight, message):
    with pytest.raises(ValueError, match=message):
        gradients(TraceConditionalKL_ELBO(weight), Chain())


def test_a_guide_that_cannot_run_again_is_refused():
    chain = Chain()

    class Messenger(pyro.poutine.messenger.Messenger):
        def __call__(self, x):
            self.traces = None

        def get_traces(self):
            trace = pyro.poutine.trace(chain.guide).get_trace(chain.x)
            return pyro.poutine.trace(pyro.poutine.replay(chain.model, trace=trace)).get_trace(chain.x), trace

    with pytest.raises(NotImplementedError, match="guide: expected a function, got a GuideMessenger"):
        TraceConditionalKL_ELBO(0.0).differentiable_loss(chain.model, Messenger(), chain.x)


def test_without_pyro_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyro", None)
    monkeypatch.delitem(sys.modules, "condkl.pyro")
    with pytest.raises(
        ImportError, match=r"condkl\.pyro: expected Pyro, got none\. Install it with `pip install condkl\[py"
    ):
        importlib.import_module("condkl.pyro")
