"""Several models in one program: each run's numbers are those it has alone, and memory is bounded."""

import copy
import gc
import math
import pickle
import weakref
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from condkl.objectives import full, interpolated, modified, names, objective
from condkl.objectives.lambda_warm_up import LambdaSchedule
from condkl.vae import HierarchicalVAE, Terms
from condkl_studies import batched, training
from condkl_studies.batched import Program, Run, footprint
from condkl_studies.schedules import TrainingConfig
from condkl_studies.state import State
from condkl_studies.training import NonFiniteLossError

ALL = [*names(), "lambda=0.5", "modified+free_bits"]
PIXELS = 16
# More steps in a window than are drawn for at once, and a last one that is short.
PLAN = TrainingConfig(15, 20, 1e-2, "cosine", 2.0, every=12, gradient_batches=3, noise_batches=4)
PLAIN = replace(PLAN, gradient_batches=0, noise_batches=0)


def images(n=200):
    """Each is bright in one half."""
    left = torch.rand(n, 1, generator=torch.Generator().manual_seed(1)) < 0.5
    return torch.where((torch.arange(PIXELS) < PIXELS // 2) == left, 240, 15).to(torch.uint8)


def make(seed, latents=(2, 3), dtype=torch.float64, **decoder):
    torch.manual_seed(seed)
    return State.start(HierarchicalVAE(latents, 8, pixels=PIXELS, **decoder).to(dtype))


def runs(objectives, seeds=(3, 4), **sizes):
    """A run for each objective and seed."""
    return [Run(make(seed, **sizes), followed, seed) for seed in seeds for followed in objectives]


def alone(run, plan=PLAN, data=None):
    """What the run comes to by itself."""
    state = copy.deepcopy(run.state)
    list(training.windows(state, run.objective, images() if data is None else data, plan, run.seed))
    return state


def train(given, plan=PLAN, **options):
    return list(batched.windows(given, images(), plan, **options))


def assert_same(found, want, tolerance=1e-12):
    assert found.step == want.step
    for row, other in zip(found.rows, want.rows, strict=True):
        assert list(row) == list(other)
        assert row == pytest.approx(other, rel=tolerance, abs=tolerance)
    for one, other in zip(
        [*found.model.parameters(), *found.first, *found.second],
        [*want.model.parameters(), *want.first, *want.second],
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


MIXTURES = {
    "all": [objective(name) for name in ALL],
    "fixed λ": [full, modified, interpolated(0.5)],
    "one": [full],
    "cut": [modified],
    "scheduled": [LambdaSchedule(until=0.3)],
}


DECODERS = {"lowest": {}, "all": {"skip": True}, "sum": {"residual": True}}
CASES = [(m, latents, d) for m in MIXTURES for latents in ((2, 3), (2, 3, 4), (2,)) for d in DECODERS]
QUICK = [("all", (2, 3, 4), "sum"), ("fixed λ", (2, 3), "lowest"), ("fixed λ", (2, 3), "all"), ("one", (2,), "lowest")]
QUICK += [("cut", (2, 3, 4), "all"), ("scheduled", (2, 3), "sum")]


@pytest.mark.parametrize(
    ("mixture", "latents", "decoder"),
    [case if case in QUICK else pytest.param(*case, marks=pytest.mark.slow) for case in CASES],
)
def test_each_run_has_the_numbers_that_it_has_alone(mixture, latents, decoder):
    sizes = {"latents": latents, **DECODERS[decoder]}
    given = runs(MIXTURES[mixture], seeds=(3,), **sizes) + runs(MIXTURES[mixture][:3], seeds=(4,), **sizes)
    want = [alone(run) for run in given]
    moved = [[run.state.step for run in some] for some in batched.windows(given, images(), PLAN)]
    assert moved == [[step] * len(given) for step in (12, 15)]
    for run, own in zip(given, want, strict=True):
        assert_same(run.state, own)
    assert len({run.state.rows[-1]["elbo"] for run in given}) == len(given) or latents == (2,)  # not all one run


def test_in_float32_the_numbers_agree_to_its_rounding():
    given = runs([full, modified], dtype=torch.float32)
    want = [alone(run) for run in given]
    train(given)
    for run, own in zip(given, want, strict=True):
        assert_same(run.state, own, tolerance=1e-3)


def test_frozen_parameters_stay_and_the_others_are_trained():
    given = runs([full, modified])
    for run in given:
        run.state.model.p_u.requires_grad_(False)
    want = [alone(run, PLAIN) for run in given]
    train(given, PLAIN)
    for run, own in zip(given, want, strict=True):
        assert_same(run.state, own)


def test_runs_that_differ_in_lambda_alone_are_one_stack_and_those_of_one_objective_follow_it_itself():
    scheduled = LambdaSchedule()
    free = objective("free_bits")
    assert batched._by_rule([full, free, modified, scheduled]) == {scheduled: [0, 2, 3], free: [1]}
    assert batched._by_rule([full, full, free]) == {full: [0, 1], free: [2]}


def test_going_on_from_a_state_is_the_same_training():
    given, want = runs([full, modified]), [alone(run) for run in runs([full, modified])]
    next(batched.windows(given, images(), PLAN))
    stopped = [Run(copy.deepcopy(state), followed, seed) for state, followed, seed in given]
    train(stopped)
    for run, own in zip(stopped, want, strict=True):
        assert_same(run.state, own)


def test_the_models_are_trained_in_place():
    given = runs([full])
    model = given[0].state.model
    parameters = list(model.parameters())
    before = [p.detach().clone() for p in parameters]
    train(given)
    assert given[0].state.model is model
    for p, now, old in zip(parameters, model.parameters(), before, strict=True):
        assert p is now
        assert not torch.equal(p, old)


# --- The program --------------------------------------------------------------------------------------------------


def compare_compiled(mixture):
    eager, compiled = runs(mixture), runs(mixture)
    with torch._dynamo.config.patch(trace_autograd_ops=False):
        train(compiled, PLAIN, compiled=True)
    train(eager, PLAIN)
    for run, own in zip(compiled, eager, strict=True):
        assert_same(run.state, own.state)


@pytest.mark.slow
def test_the_step_is_one_graph_that_a_compiler_can_take(monkeypatch):
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    compare_compiled([full, modified, objective("free_bits")])


@pytest.mark.slow
@pytest.mark.parametrize("mixture", MIXTURES)
def test_the_compiled_step_is_the_same_but_for_rounding(mixture):
    compare_compiled(MIXTURES[mixture])


class NoWaiting(TorchDispatchMode):
    """Refuses what makes the host wait for a device, or takes another one than its tensors'."""

    WAITS = ("_local_scalar_dense", "nonzero", "_to_copy", "unique")

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = function.overloadpacket.__name__
        cast = name == "_to_copy" and kwargs.get("device") in (None, args[0].device)
        assert cast or not name.startswith(self.WAITS), f"{name} waits for the device"
        return function(*args, **kwargs)


def test_no_step_makes_the_host_wait():
    given = runs(MIXTURES["all"], seeds=(3,))
    program = Program(given, PLAN)
    with NoWaiting():
        program._take()
    with pytest.raises(AssertionError, match="_local_scalar_dense waits"), NoWaiting():
        float(program.buffers.log.sum())


def test_recording_a_step_as_a_graph_leaves_models_and_moments_as_they_are(monkeypatch):
    """With CUDA's calls taken away, the warm-up and the recording are steps on the CPU, and a replay is one more."""
    given = runs([full, modified])
    want = [alone(run, PLAIN) for run in given]
    taken = []

    class Graph:
        def replay(self):
            take(*taken[-1])

    class Stream:
        def wait_stream(self, other):
            pass

    class Within:
        def __init__(self, _):
            pass

        def __enter__(self):
            pass

        def __exit__(self, *_):
            pass

    take = batched.Buffers.take
    for name, fake in {"CUDAGraph": Graph, "Stream": Stream, "current_stream": Stream}.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    for name in ("graph", "stream"):
        monkeypatch.setattr(torch.cuda, name, Within)
    monkeypatch.setattr(batched.Buffers, "take", lambda *own: (taken.append(own), take(*own)))
    program = Program(given, PLAIN)
    changed = [t for state, *_ in given for t in (*state.model.parameters(), *state.first, *state.second)]
    before = copy.deepcopy(changed)
    program._take = batched._recorded(program.buffers, program._step, changed)
    assert len(taken) == 4
    assert all(torch.equal(now, old) for now, old in zip(changed, before, strict=True))
    while given[0].state.step < PLAIN.steps:
        program.advance(images())
    assert len(taken) == 4  # the rest were replays
    for run, own in zip(given, want, strict=True):
        assert_same(run.state, own)


# --- Memory -------------------------------------------------------------------------------------------------------


def test_the_footprint_is_what_a_model_takes():
    given = runs([full], seeds=range(3))
    program = Program(given, PLAN)
    buffers, model = program.buffers, given[0].state.model
    drawn = sum(t.nbytes for t in (buffers.bits, *buffers.noise))
    kept = 4 * sum(p.nbytes for p in model.parameters())  # and moments and gradients
    assert footprint(model, PLAN) * 3 == drawn + 3 * kept


@pytest.mark.parametrize(("fitting", "sizes"), [(0, [1] * 5), (2, [1, 2, 2]), (3, [2, 3]), (4, [2, 3]), (5, [5])])
def test_what_does_not_fit_is_trained_in_groups_with_the_same_numbers(fitting, sizes, monkeypatch):
    made, alive = [], []

    class Counted(Program):
        def __init__(self, some, *arguments):
            gc.disable()  # a program must end without its help
            alive.append(sum(other() is not None for other in made))
            super().__init__(some, *arguments)
            made.append(weakref.ref(self))

    monkeypatch.setattr(batched, "Program", Counted)
    given = runs([full], seeds=range(5))
    want = [alone(run, PLAIN) for run in given]
    memory = fitting * footprint(given[0].state.model, PLAIN) + 1
    try:
        moved = train(given, PLAIN, memory=memory)
    finally:
        gc.enable()
    assert [len(some) for some in moved] == [size for size in sizes for _ in range(2)]
    assert alive == [0] * len(sizes)  # never two in memory
    for run, own in zip(given, want, strict=True):
        assert_same(run.state, own)


# --- Errors -------------------------------------------------------------------------------------------------------


class Breaks:
    """The full gradient, whose conditional KL is infinite once the scheduled number is above `at`."""

    def __init__(self, at):
        self.at = at

    def __call__(self, model, x, generator=None, noise=None, weight=None):
        terms = full(model, x, generator, noise)
        return Terms(terms.R, terms.A, terms.C + torch.where(weight > self.at, math.inf, 0.0))

    def weight(self, progress):
        return progress


@pytest.mark.parametrize("memory", [batched.MEMORY, 0])
def test_a_term_that_is_not_finite_is_named_with_its_step_and_model(memory):
    given = runs([full, Breaks(at=0.2), modified], seeds=(3,)) + runs([Breaks(at=0.1)], seeds=(4,))
    message = r"model 1, step 13: the term C1 became inf\. The weights after that step are not to be used"
    with pytest.raises(NonFiniteLossError, match=message) as caught:
        train(given, memory=memory)
    assert (caught.value.model, caught.value.step, caught.value.term) == (1, 13, "C1")
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.model) == (str(caught.value), 1)


def test_of_several_models_that_fail_the_first_one_is_named():
    given = runs([full, Breaks(at=-1), full], seeds=(3,))  # the stacks hold them in another order
    with torch.no_grad():
        next(given[2].state.model.parameters()).fill_(math.nan)
    with pytest.raises(NonFiniteLossError, match="model 1, step 1: the term C1 became inf"):
        train(given)


@pytest.mark.parametrize(
    "other",
    [make(0, latents=(2, 4)), make(0, skip=True), make(0, dtype=torch.float32), replace(make(0), step=5)],
    ids=["sizes", "decoder", "dtype", "step"],
)
def test_models_that_do_not_belong_together_are_refused(other):
    with pytest.raises(ValueError, match="runs: expected models of one architecture, dtype, device and step"):
        train([*runs([full]), Run(other, full, 0)])


def test_no_runs_and_too_few_images_are_refused():
    with pytest.raises(ValueError, match="runs: expected models"):
        train([])
    with pytest.raises(ValueError, match="images: expected at least batch_size=201 images, got 200"):
        train(runs([full]), replace(PLAN, batch_size=201))
