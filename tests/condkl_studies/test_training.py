"""The loop on small made-up images: it is Adam, learns, repeats itself, goes on after a stop, and ends at NaN."""

import copy
import math
import pickle
import shutil
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch.distributions import Bernoulli, Normal, kl_divergence

from condkl.objectives import full, names, objective
from condkl.objectives.lambda_warm_up import LambdaSchedule
from condkl.vae import HierarchicalVAE, Terms
from condkl_studies.data import binarise
from condkl_studies.following import noise_record, summary
from condkl_studies.schedules import TrainingConfig
from condkl_studies.state import State
from condkl_studies.training import NonFiniteLossError, fit, windows

OBJECTIVES = {name: objective(name) for name in [*names(), "lambda=0.5"]}
PIXELS = 16
PLAN = TrainingConfig(13, 20, 1e-2, "cosine", 2.0, every=3, gradient_batches=2)
TERMS = ["elbo", "R", "A", "C"]


def make(latents=(2, 3), seed=0):
    torch.manual_seed(seed)
    return HierarchicalVAE(latents, hidden=8, pixels=PIXELS)


def stripes(n=200):
    """Images of which each is bright in one half: one binary latent explains them."""
    left = torch.rand(n, 1, generator=torch.Generator().manual_seed(1)) < 0.5
    half = (torch.arange(PIXELS) < PIXELS // 2).expand(n, -1)
    return torch.where(half == left, 240, 15).to(torch.uint8)


def train(objective=full, steps=12, seed=3, model=None, progress=False, **options):
    plan = TrainingConfig(steps, **{"batch_size": 20, "every": 5} | options)
    return fit(model or make(), objective, stripes(), plan, seed, progress)


def elbos(model):
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        return model(binarise(stripes(1000), generator), generator).elbo


def same_weights(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def stream(seed, purpose, index):
    entropy = np.random.SeedSequence([seed, purpose, index]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(entropy))


def loss_by_hand(model, x, noise, lam):
    """Minus the ELBO with λ on C's way to theta, and the ELBO's terms, from torch.distributions."""
    q_v, cut = (Normal(m, s.exp()) for m, s in [model.q_v(x).chunk(2, -1)] * 2)
    v, e = q_v.mean + q_v.stddev * noise[0], noise[1]
    v_lam = lam * v + (1 - lam) * v.detach()

    def conditional(net, *inputs):
        mean, log_scale = net(*inputs).chunk(2, -1)
        return Normal(mean, log_scale.exp())

    q_u = conditional(model.q_u[0], x, v)
    R = Bernoulli(logits=model.p_x(q_u.mean + q_u.stddev * e)).log_prob(x).sum(-1).mean()
    A = kl_divergence(cut, Normal(0.0, 1.0)).sum(-1).mean()
    C = kl_divergence(conditional(model.q_u[0], x, v_lam), conditional(model.p_u[0], v_lam)).sum(-1).mean()
    return -(R - A - C), {"elbo": (R - A - C).item(), "R": R.item(), "A": A.item(), "C": C.item()}


def train_by_hand(model, plan, seed):
    """Step by step with torch's own Adam; λ goes from 0 to 1 over the first half, window by window."""
    phi, n, rows = {id(p) for p in model.phi()}, len(stripes()), []
    other = [p for p in model.parameters() if id(p) not in phi]
    adam = torch.optim.Adam([{"params": other, "k": 1.0}, {"params": model.phi(), "k": plan.phi_rate}], lr=1.0)
    per_epoch = n // plan.batch_size
    for start in range(0, plan.steps, plan.every):
        todo = range(start, min(start + plan.every, plan.steps))
        lam, generator, terms = min(1, 2 * start / plan.steps), stream(seed, 1, start), []
        order = [
            torch.randperm(n, generator=stream(seed, 0, step // per_epoch))[
                step % per_epoch * plan.batch_size : (step % per_epoch + 1) * plan.batch_size
            ]
            for step in todo
        ]
        bits, noise = [], []
        for some in (order[i : i + 10] for i in range(0, len(todo), 10)):
            bits += binarise(stripes()[torch.stack(some)], generator, dtype=torch.uint8)
            shapes = [(len(some), plan.batch_size, d) for d in model.latents]
            noise += zip(*(torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes), strict=True)
        for i, step in enumerate(todo):
            share = 1 if plan.schedule == "constant" else (1 + math.cos(math.pi * step / plan.steps)) / 2
            for group in adam.param_groups:
                group["lr"] = plan.learning_rate * group["k"] * share
            loss, row = loss_by_hand(model, bits[i].double(), noise[i], lam)
            adam.zero_grad()
            loss.backward()
            adam.step()
            terms.append(row)
        rows.append({"step": todo.stop} | {k: math.fsum(t[k] for t in terms) / len(terms) for k in TERMS})
    return rows


def distance_to_hand(plan, compiled=False):
    """The largest differences of weights and of rows from those by hand, in float64."""
    model, own = make().double(), make().double()
    state = State.start(model)
    for _ in windows(state, LambdaSchedule(), stripes(), plan, 3, compiled):
        pass
    rows = train_by_hand(own, plan, 3)
    assert [row["step"] for row in state.rows] == [row["step"] for row in rows]
    moved = max((a - b).abs().max().item() for a, b in zip(own.parameters(), make().parameters(), strict=True))
    assert moved > plan.learning_rate  # or the comparison says nothing
    off = max((a - b).abs().max().item() for a, b in zip(model.parameters(), own.parameters(), strict=True))
    return off, max(abs(one[k] - other[k]) for one, other in zip(state.rows, rows, strict=True) for k in TERMS)


@pytest.mark.parametrize("phi_rate", [1.0, 5.0])
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_the_loop_is_adam_as_torch_has_it(schedule, phi_rate):
    plan = TrainingConfig(33, 20, 1e-2, schedule, phi_rate, every=10)  # 3.3 epochs, the last window short
    weights, rows = distance_to_hand(plan)
    assert weights < 1e-13
    assert rows < 1e-12


QUICK = ("lambda_warm_up",)


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in OBJECTIVES])
def test_the_step_is_one_graph_that_a_compiler_can_take(name, monkeypatch):
    """Traced, but run without generated code, and so without a compiler, it is the eager step."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    eager, traced = (State.start(make().double()) for _ in range(2))
    with torch._dynamo.config.patch(trace_autograd_ops=False):
        for state, compiled in ((eager, False), (traced, True)):
            list(windows(state, OBJECTIVES[name], stripes(), replace(PLAN, gradient_batches=0), 3, compiled))
    for one, other in zip(traced.model.parameters(), eager.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-13)
    assert [row["elbo"] for row in traced.rows] == pytest.approx([row["elbo"] for row in eager.rows], rel=1e-13)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_the_compiled_step_is_adam_but_for_rounding():
    import torch._inductor.config as inductor

    with inductor.patch(compile_threads=1), torch._dynamo.config.patch(trace_autograd_ops=False):
        weights, rows = distance_to_hand(TrainingConfig(12, 20, 1e-2, "cosine", 5.0, every=5), compiled=True)
    assert weights < 1e-13
    assert rows < 1e-12


@pytest.mark.parametrize("name", OBJECTIVES)
def test_training_raises_the_elbo(name):
    gain = elbos(train(OBJECTIVES[name], 100, learning_rate=1e-2, every=50).model) - elbos(make())
    assert gain.mean() > 4.5 * gain.std() / math.sqrt(len(gain))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_same_seed_gives_the_same_weights_to_the_last_bit(name):
    one, two = train(OBJECTIVES[name]), train(OBJECTIVES[name])
    assert one.history.equals(two.history)
    assert same_weights(one.model, two.model)


def test_another_seed_gives_another_run_and_the_global_seed_does_not_matter():
    torch.manual_seed(4)
    one = train()
    torch.manual_seed(5)
    assert train().history.equals(one.history)
    assert not train(seed=6).history.equals(one.history)


def test_training_leaves_the_global_randomness_alone():
    model, before = make(), torch.random.get_rng_state()
    train(model=model)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_model_is_trained_in_place():
    model = make()
    assert train(model=model).model is model


def after(windows_done, objective=full, plan=PLAN):
    """The state after so many windows, as a later process finds it: copies of all it holds."""
    state = State.start(make())
    run = windows(state, objective, stripes(), plan, 3)
    for _ in range(windows_done):
        next(run)
    return copy.deepcopy(state)


@pytest.mark.parametrize("stopped", range(6))
def test_going_on_from_a_state_ends_at_the_same_rows_and_weights_to_the_last_bit(stopped):
    want, state = after(5), after(stopped)
    assert state.step == min(3 * stopped, 13)
    steps = [each.step for each in windows(state, full, stripes(), PLAN, 3)]
    assert steps == [3, 6, 9, 12, 13][stopped:]
    assert state.rows == want.rows
    assert same_weights(state.model, want.model)
    for one, other in zip(state.first + state.second, want.first + want.second, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_goes_on_where_its_schedule_was(name):
    want, state = after(5, OBJECTIVES[name]), after(2, OBJECTIVES[name])
    for _ in windows(state, OBJECTIVES[name], stripes(), PLAN, 3):
        pass
    assert state.rows == want.rows
    assert same_weights(state.model, want.model)


def test_each_window_draws_anew():
    """Without training, and with all images alike: rows differ by nothing but their noise and bits."""
    images = torch.full((20, PIXELS), 128, dtype=torch.uint8)
    rows = fit(make(), full, images, TrainingConfig(4, 20, learning_rate=1e-30, every=1), 3, progress=False).history
    assert rows["R"].nunique() == 4


@pytest.mark.parametrize(
    ("steps", "every", "recorded"),
    [(12, 5, [5, 10, 12]), (10, 5, [5, 10]), (1, 5, [1]), (3, 1, [1, 2, 3]), (4, 4, [4])],
)
def test_the_record_has_a_row_for_each_window_at_its_last_step(steps, every, recorded):
    assert train(steps=steps, every=every).history["step"].tolist() == recorded


@pytest.mark.parametrize(("latents", "more"), [((2,), []), ((2, 3), []), ((2, 3, 4), ["C1", "C2"])])
def test_the_record_names_the_terms(latents, more):
    history = train(model=make(latents)).history
    assert list(history) == ["step", *TERMS, *more]
    assert abs(history["elbo"] - (history["R"] - history["A"] - history["C"])).max() < 1e-4
    if more:
        assert abs(history["C"] - history[more].sum(axis=1)).max() < 1e-5
    if len(latents) == 1:
        assert (history["C"] == 0).all()


def test_the_summary_takes_means_over_images_and_sums_over_layers():
    terms = Terms(torch.tensor([4.0, 8.0]), torch.tensor([1.0, 2.0]), torch.tensor([[1.0, 2.0], [3.0, 5.0]]))
    assert summary(terms) == {"elbo": -1.0, "R": 6.0, "A": 1.5, "C": 5.5, "C1": 2.0, "C2": 3.5}


@pytest.mark.parametrize(("part", "term"), [("p_x", "R"), ("p_u", "C1"), ("q_v", "R")])
def test_weights_that_are_nan_stop_training_with_step_and_term(part, term):
    model = make()
    with torch.no_grad():
        for parameter in getattr(model, part).parameters():
            parameter.fill_(math.nan)
    with pytest.raises(NonFiniteLossError, match=rf"step 1: the term {term} became nan.*Lower the learning") as caught:
        train(model=model)
    assert (caught.value.step, caught.value.term) == (1, term)


def test_a_scale_that_overflows_names_the_marginal_kl():
    model = make()
    with torch.no_grad():
        model.q_v.out.bias[2:] = 60.0  # the scale is finite in float32, its square is not
    with pytest.raises(NonFiniteLossError, match="step 1: the term A became inf"):
        train(model=model)


class Breaks:
    """The ELBO whose last conditional KL is infinite at one step."""

    def __init__(self, at):
        self.at, self.seen = at, 0

    def __call__(self, model, x, generator=None, noise=None, weight=None):
        self.seen += 1
        terms = full(model, x, generator, noise)
        spoiled = torch.cat([terms.C[:, :-1], terms.C[:, -1:] * math.inf], 1)
        return Terms(terms.R, terms.A, spoiled) if self.seen == self.at else terms

    def weight(self, progress):
        return 1.0


@pytest.mark.parametrize("at", [1, 3, 5, 6, 8, 12])
def test_the_error_names_the_first_bad_step_and_term_once_the_window_is_over(at):
    state = State.start(make((2, 3, 4)))
    with pytest.raises(NonFiniteLossError, match=f"step {at}: the term C2 became inf.*not to be used") as caught:
        list(windows(state, Breaks(at), stripes(), TrainingConfig(12, 20, every=5), 3))
    assert (caught.value.step, caught.value.term, caught.value.value) == (at, "C2", math.inf)
    assert [row["step"] for row in state.rows] == [5, 10][: (at - 1) // 5]  # no row holds the bad step


def test_a_sum_that_overflows_is_named_though_no_term_does():
    class Huge(Breaks):
        def __call__(self, model, x, generator=None, noise=None, weight=None):
            huge = torch.full((20,), 1.6e37, requires_grad=True)  # twenty of them can be added up, forty cannot
            return Terms(-huge, huge, torch.zeros(20, 1))

    with pytest.raises(NonFiniteLossError, match="step 1: the term elbo became -inf"):
        train(Huge(at=0))


def test_the_error_travels_between_processes():
    error = pickle.loads(pickle.dumps(NonFiniteLossError(7, "C1", -math.inf)))
    assert (type(error), error.step, error.term, error.value) == (NonFiniteLossError, 7, "C1", -math.inf)
    assert str(error) == str(NonFiniteLossError(7, "C1", -math.inf))


def test_fewer_images_than_a_batch_are_refused():
    with pytest.raises(ValueError, match="images: expected at least batch_size=201 images, got 200"):
        train(batch_size=201)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 0}, "steps: expected a whole number"),
        ({"batch_size": 0}, "batch_size: expected a whole number"),
        ({"every": 0}, "every: expected a whole number"),
        ({"schedule": "step"}, "schedule: expected one of constant, cosine, .*got 'step'"),
        ({"learning_rate": 0.0}, "learning_rate: expected a number above 0, got 0.0"),
        ({"learning_rate": math.nan}, "learning_rate: expected a number above 0, got nan"),
        ({"phi_rate": -1.0}, "phi_rate: expected a number above 0, got -1.0"),
        ({"phi_rate": math.inf}, "phi_rate: expected a number above 0, got inf"),
        ({"gradient_batches": -1}, "gradient_batches: expected a whole number of at least 0, got -1"),
        ({"gradient_batches": 6}, "gradient_batches: expected 0 to every=5 batches, got 6"),
        ({"noise_batches": 1}, "noise_batches: expected 0, or 2 to every=5 batches, got 1"),
        ({"noise_batches": 6}, "noise_batches: expected 0, or 2 to every=5 batches, got 6"),
    ],
)
def test_plans_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        TrainingConfig(**{"steps": 10, "every": 5} | arguments)


def test_numbers_of_numpy_are_taken_and_a_seed_below_zero_is_refused():
    one = train(seed=np.int64(3), steps=np.int64(4), batch_size=np.uint8(20), learning_rate=np.float32(0.5))
    assert one.history.equals(train(seed=3, steps=4, learning_rate=0.5).history)
    with pytest.raises(ValueError, match="seed: expected a whole number of at least 0, got -1"):
        train(seed=-1)
    assert make(latents=(np.int64(2), 3)).latents == (2, 3)
    assert HierarchicalVAE((2, 3), np.int64(8), pixels=PIXELS).q_v.middle.weight.shape == (8, 8)


def test_a_progress_bar_says_what_goes_on(capsys):
    train(progress=True)
    shown = capsys.readouterr().err
    assert "training" in shown
    assert "12/12" in shown


def test_recording_gradients_changes_no_step_and_adds_what_pulls_on_theta():
    plain, recorded = train(every=4), train(every=4, gradient_batches=2)
    assert same_weights(plain.model, recorded.model)
    assert recorded.history[list(plain.history)].equals(plain.history)
    added = set(recorded.history) - set(plain.history)
    assert added == {"norm_R", "norm_A", "norm_C", "cos_RA", "cos_RC", "cos_AC", "gain_modified"}
    assert (recorded.history[["norm_R", "norm_A", "norm_C"]] > 0).all(axis=None)
    assert recorded.history[["cos_RA", "cos_RC", "cos_AC"]].abs().le(1 + 1e-6).all(axis=None)


def test_recording_noise_changes_no_step_and_none_of_the_other_columns():
    plain, recorded = (train(every=4, steps=13, gradient_batches=2, noise_batches=k) for k in (0, 3))
    assert same_weights(plain.model, recorded.model)
    assert recorded.history[list(plain.history)].equals(plain.history)
    added = recorded.history.drop(columns=list(plain.history))
    noise = [f"{kind}_{name}" for name in ("full", "modified") for kind in ("signal", "noise")]
    assert set(added) == {"elbo_least", *noise}
    assert (added.elbo_least <= recorded.history.elbo).all()
    assert (added.elbo_least == recorded.history.elbo).tolist() == [False, False, False, True]  # one batch in the last
    assert added[noise].isna().any(axis=1).tolist() == [False, False, False, True]  # which has no spread


def test_signal_and_noise_are_those_of_the_gradient_that_theta_follows():
    """The spread of a batch's gradient over the batches, as numpy has it, and the products of independent ones."""
    model, k = make(), 4
    batches = [binarise(stripes(20), torch.Generator().manual_seed(i)) for i in range(k)]
    found = noise_record(model, batches, torch.Generator().manual_seed(9))
    draws = torch.Generator().manual_seed(9)
    each = {"full": [], "modified": []}
    for x in batches:
        terms = model(x, noise=model.noise(x, draws))
        for name, value in (("full", terms.elbo), ("modified", terms.R - terms.A)):
            grads = torch.autograd.grad(value.mean(), model.theta(), retain_graph=True)
            each[name].append(torch.cat([g.flatten() for g in grads]).double().numpy())
    for name, rows in each.items():
        noise = np.cov(np.stack(rows), rowvar=False).trace()
        pairs = [a @ b for i, a in enumerate(rows) for j, b in enumerate(rows) if i != j]
        assert found[f"noise_{name}"] == pytest.approx(noise, rel=1e-4)
        assert found[f"signal_{name}"] == pytest.approx(np.mean(pairs), rel=1e-3, abs=1e-4 * noise)
