"""The bench: every contestant trains the same model on the same loss, and the report says what the laps say."""

import importlib
import json
import math
import os
import time
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest
import torch
from torch.distributions import Bernoulli, Independent, Normal
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import __main__ as command
from benchmarks import contest, report
from benchmarks.contest import Lap
from benchmarks.contestants import CONTESTANTS, DENSE, EAGER, LIKELIHOODS, OURS, PYRO, YARDSTICK, Entry
from benchmarks.problem import NETWORKS, first_parts, flops_per_step, layers, make_problem
from benchmarks.torch_steps import Eager, PlainVAE, Sgemm
from benchmarks.workers import Worker, WorkerError
from condkl.objectives import full
from condkl.vae import HierarchicalVAE
from condkl_studies.files import write_json

PIXELS = 16
TRAINING = [name for name in CONTESTANTS if name not in (OURS, DENSE, YARDSTICK)]  # which take a compiler
CORE = min(os.sched_getaffinity(0))


def make(window=5):
    left = np.random.default_rng(1).random((200, 1)) < 0.5
    images = np.where((np.arange(PIXELS) < PIXELS // 2) == left, 240, 15).astype(np.uint8)
    return make_problem((2, 3), (8, 6), images, window, batch_size=20)


def ours(problem):
    model = HierarchicalVAE(problem.latents, problem.hidden, pixels=PIXELS)
    model.load_state_dict({name: torch.from_numpy(value) for name, value in problem.weights.items()})
    return model


def contestant(name, problem):
    """The contestant in this process; skips where its package is not installed."""
    if module := CONTESTANTS[name].module:
        pytest.importorskip(module)
    return CONTESTANTS[name].make(problem, seed=3)


def row(values):
    return values.mean(), values.std(ddof=1) / math.sqrt(len(values))


def losses(**found):
    return pd.DataFrame.from_dict(found, orient="index", columns=["loss", "standard_error"])


# --- The same model, the same loss ------------------------------------------------------------------------------


def test_the_shared_weights_are_the_networks_of_the_model():
    problem = make()
    model, (x, v, u) = ours(problem), (torch.randn(4, n) for n in (PIXELS, 2, 3))
    nets = {"q_v": model.q_v, "q_u": model.q_u[0], "p_u": model.p_u[0], "p_x": model.p_x}
    inputs = {"q_v": [x], "q_u": [x, v], "p_u": [v], "p_x": [u]}
    for name in NETWORKS:
        net, values = nets[name], inputs[name]
        out = torch.cat(values, dim=-1).numpy()
        for matrix, bias in layers(problem, name):
            last = out @ matrix.T + bias
            out = np.tanh(last)
        assert np.allclose(last, net(*values).detach(), atol=1e-5)
        assert [part.shape[1] for part in first_parts(problem, name)] == [value.shape[1] for value in values]


@cache
def negative_elbos():
    """Draws of the model's own loss on the batch."""
    problem = make()
    model, x = ours(problem), torch.from_numpy(problem.batch).float()
    with torch.no_grad():
        return np.array([-model(x, torch.Generator().manual_seed(i)).elbo.mean().item() for i in range(200)])


@pytest.mark.parametrize("name", TRAINING)
def test_the_loss_is_the_models_negative_elbo(name):
    problem = make()
    found = contestant(name, problem).losses(problem.batch, draws=200)
    assert found.shape == (200,)
    (mean, error), (oracle, oracle_error) = row(found), row(negative_elbos())
    assert abs(mean - oracle) < 4.5 * math.hypot(error, oracle_error)
    assert 0.5 < error / oracle_error < 2  # a loss without noise, or with another one, is another loss


@pytest.mark.parametrize("name", TRAINING)
def test_training_lowers_the_loss_and_measuring_it_moves_nothing(name):
    problem = replace(make(), learning_rate=1e-2)
    trained = contestant(name, problem)
    before, again = row(trained.losses(problem.batch, 200)), row(trained.losses(problem.batch, 200))
    trained.advance(60)
    after = row(trained.losses(problem.batch, 200))
    contest.check_losses(losses(before=before, again=again))
    contest.check_training(losses(it=before), losses(it=after))


def test_gradients_of_the_plain_step_are_ours(monkeypatch):
    problem = make()
    plain, model = PlainVAE(problem), ours(problem)
    x = torch.from_numpy(problem.batch).float()
    noise = model.noise(x, torch.Generator().manual_seed(5))
    draws = iter(noise)
    monkeypatch.setattr("torch.distributions.normal._standard_normal", lambda *_, **__: next(draws))
    plain(x).backward()
    (-full(model, x, noise=noise).elbo.mean()).backward()
    pairs = [(plain.q_v, model.q_v), (plain.q_u, model.q_u[0]), (plain.p_u, model.p_u[0]), (plain.p_x, model.p_x)]
    for theirs, net in pairs:
        assert torch.allclose(theirs[0].weight.grad, torch.cat([part.weight.grad for part in net.parts], 1), atol=1e-5)
        assert torch.allclose(theirs[2].weight.grad, net.middle.weight.grad, atol=1e-5)
        assert torch.allclose(theirs[4].bias.grad, net.out.bias.grad, atol=1e-5)


def test_the_adam_of_jax_is_the_adam_of_torch():
    pytest.importorskip("jax")
    from benchmarks.jax_steps import adam

    generator = np.random.default_rng(2)
    weights = generator.normal(size=7).astype(np.float32)
    first, second = np.zeros(7, np.float32), np.zeros(7, np.float32)
    parameter = torch.nn.Parameter(torch.from_numpy(weights.copy()))
    optimiser = torch.optim.Adam([parameter], lr=0.01)
    for step in range(1, 6):
        gradient = (generator.normal(size=7) * 10.0 ** -np.arange(7)).astype(np.float32)
        parameter.grad = torch.from_numpy(gradient)
        optimiser.step()
        weights, first, second = adam(weights, gradient, first, second, np.float32(step), 0.01)
    assert np.allclose(weights, parameter.detach(), rtol=1e-4, atol=1e-6)


def test_losses_that_differ_are_an_error_that_names_the_two():
    contest.check_losses(losses(a=(10.0, 0.1), b=(10.4, 0.1)))
    with pytest.raises(contest.UnfairError, match=r"a and c: losses 10\.000 and 11\.000 nats differ by 7\.1"):
        contest.check_losses(losses(a=(10.0, 0.1), b=(10.4, 0.1), c=(11.0, 0.1)))
    with pytest.raises(contest.UnfairError, match="nan"):
        contest.check_losses(losses(a=(10.0, 0.1), b=(math.nan, 0.1)))


def test_another_model_is_found_out():
    problem = make()
    other = replace(problem, weights=problem.weights | {"p_x.out.bias": problem.weights["p_x.out.bias"] + 0.3})
    found = {name: row(Eager(which, 0).losses(problem.batch, 200)) for name, which in (("a", problem), ("b", other))}
    with pytest.raises(contest.UnfairError):
        contest.check_losses(losses(**found))


def test_a_contestant_that_does_not_train_is_found_out():
    with pytest.raises(contest.UnfairError, match=r"b: its loss went from 9\.000 to 8\.900"):
        contest.check_training(losses(a=(9.0, 0.1), b=(9.0, 0.1)), losses(a=(7.0, 0.1), b=(8.9, 0.1)))


def test_the_step_multiplies_as_often_as_torch_counts():
    problem = make()
    model, x = ours(problem), torch.from_numpy(problem.batch).float()
    with FlopCounterMode(display=False) as counter:
        (-full(model, x).elbo.mean()).backward()
    assert flops_per_step(problem) == counter.get_total_flops()


@pytest.mark.parametrize("steps", [1, 30])
def test_the_yardstick_multiplies_as_often_as_the_steps(steps):
    problem = replace(make(), batch_size=50_000)
    with FlopCounterMode(display=False) as counter:
        Sgemm(problem, 0).advance(steps)
    one = 2 * 512**3
    assert abs(counter.get_total_flops() - max(one, steps * flops_per_step(problem))) <= one / 2


# --- Workers ------------------------------------------------------------------------------------------------------


class Spy:
    """A contestant that says how its process is set up."""

    def __init__(self, problem, seed):
        self.seed = seed

    def advance(self, steps):
        """Fail where more is asked for than that."""
        if steps > 4:
            raise RuntimeError("no more of this")

    def losses(self, bits, draws):
        """How many cores and threads."""
        cores = {core for task in os.listdir("/proc/self/task") for core in os.sched_getaffinity(int(task))}
        return np.array([self.seed, *cores, torch.get_num_threads(), int(os.environ["MKL_NUM_THREADS"])])


SPY = Entry("a spy", f"{__name__}:Spy")


def test_a_worker_has_one_thread_on_one_core_and_its_error_and_its_end_name_contestant_and_place():
    before = dict(os.environ)
    with contest.crews({"spy": SPY}, make(), [CORE]) as made:  # one, since each takes seconds to start
        assert dict(os.environ) == before
        (spy,) = made["spy"]
        spy.ask("losses", make().batch, 1)
        assert spy.answer().tolist() == [0, CORE, 1, 1]
        found = contest.lap(2, "spy", [spy], steps=4)
        assert (found.round, found.contestant, found.workers, found.steps) == (2, "spy", 1, 4)
        assert found.seconds > 0
        assert found.rate == 4 / found.seconds
        with pytest.raises(WorkerError, match=r"(?s)a spy: Traceback.*no more of this"):
            contest.lap(0, "spy", [spy], steps=5)
        with pytest.raises(WorkerError, match="a spy: its process died with exit code 0"):
            contest.lap(0, "spy", [spy], steps=5)


def test_a_lap_of_two_ends_with_the_last_worker():
    class Fixed(Worker):
        def __init__(self, *turn):
            self.turn = contest.Turn(*turn)

        def ask(self, method, *arguments):
            assert (method, arguments) == ("advance", (10,))

        def answer(self):
            return self.turn

    found = contest.lap(0, "x", [Fixed(1.0, 5.0, 3.9), Fixed(1.5, 6.0, 2.25)], 10)
    assert found.seconds == 5.0
    assert found.rate == 4.0
    assert found.cpu_share == 0.5


def test_every_round_holds_every_lap_and_begins_with_another_contestant(monkeypatch):
    monkeypatch.setattr(contest, "lap", lambda number, name, workers, steps: (number, name, len(workers), steps))
    laps = contest.race({"a": [None, None], "b": [None, None]}, rounds=2, steps=7)
    assert laps == [
        *((0, name, size, 7) for size in (1, 2) for name in "ab"),
        *((1, name, size, 7) for size in (1, 2) for name in "ba"),
    ]


# --- The report ---------------------------------------------------------------------------------------------------


def laps(name, one, two, share=1.0):
    """Made-up laps of 100 steps at those rates, a round each."""
    pairs = [*((1, i, rate) for i, rate in enumerate(one)), *((2, i, rate) for i, rate in enumerate(two))]
    return [Lap(i, name, size, 100, size * 100 / rate, share) for size, i, rate in pairs]


LAPS = [
    *laps(OURS, [120, 100, 110], [240, 180, 210]),
    *laps(EAGER, [60, 50, 55], [120, 120, 120]),
    *laps(PYRO, [50, 50, 50], [100, 100, 100]),
    *laps(YARDSTICK, [200, 200, 200], [400, 400, 400]),
]


def test_the_summary_has_medians_spreads_and_the_median_of_the_rounds_ratios():
    table = report.summary(LAPS)
    assert table.loc[(1, OURS)].round(6).tolist() == [110, 100, 120, 1]
    assert table.loc[(2, OURS)].round(6).tolist() == [210, 180, 240, 1]
    assert table.loc[(2, EAGER)].round(6).tolist() == [120, 120, 120, 1.75]
    # 120/50, 100/50 and 60/20: the median of the ratios, 2.4, is not the ratio of the medians, 2
    drifting = [*laps(OURS, [120, 100, 60], [1, 1, 1]), *laps(EAGER, [50, 50, 20], [1, 1, 1])]
    assert report.summary(drifting).ours_over_it[1, EAGER] == pytest.approx(2.4)


def test_the_needed_ratios_are_held_or_not_by_two_workers():
    eager, pyro, *_ = report.verdicts(LAPS)
    assert (eager.contestant, eager.needed, eager.held) == (EAGER, 1.7, True)
    assert (eager.ratio, eager.low, eager.high) == pytest.approx((1.75, 1.5, 2.0))
    assert (pyro.contestant, pyro.needed, pyro.held) == (PYRO, 2.2, False)
    assert (pyro.ratio, pyro.low, pyro.high) == pytest.approx((2.1, 1.8, 2.4))


@pytest.mark.parametrize("left_out", [OURS, PYRO])
def test_a_ratio_without_one_of_its_two_is_not_measured(left_out):
    found = report.verdicts([lap for lap in LAPS if lap.contestant != left_out])
    assert found[1] == (PYRO, 2.2, None, None, None, None)


def test_a_disturbed_lap_is_found():
    assert report.disturbed([*LAPS, *laps("x", [10], [], share=0.8)]) == laps("x", [10], [], share=0.8)


def test_the_record_is_json_without_nan(tmp_path):
    write_json(tmp_path / "new" / "a.json", report.record(laps(EAGER, [3, 4], [5, 6])))
    read = json.loads((tmp_path / "new" / "a.json").read_text())
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.json"]
    assert read["summary"][0] == {
        "workers": 1, "contestant": EAGER, "median": 3.5, "min": 3.0, "max": 4.0, "ours_over_it": None
    }  # fmt: skip
    assert [Lap(**lap) for lap in read["laps"]] == laps(EAGER, [3, 4], [5, 6])
    assert {verdict["held"] for verdict in read["needed"]} == {None}


# --- The command --------------------------------------------------------------------------------------------------


def test_a_missing_package_is_a_reason_and_not_a_failure():
    assert replace(SPY, package="no-such", module="no_such_module").missing() == "not installed: no-such"
    assert CONTESTANTS[EAGER].missing() == ""


def test_the_compiled_step_needs_a_compiler(monkeypatch):
    monkeypatch.setattr("condkl_studies.machine.compiler_found", lambda: False)
    assert CONTESTANTS[OURS].missing() == "no C++ compiler"
    assert CONTESTANTS["uncompiled"].missing() == ""


def test_every_contestant_names_a_class_in_a_module_that_is_there():
    for entry in CONTESTANTS.values():
        module, name = entry.target.split(":")
        assert importlib.util.find_spec(module)
        assert bool(entry.package) == bool(entry.module)
        if not entry.missing():
            assert hasattr(importlib.import_module(module), name)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rounds", "0"], "--rounds: expected a whole number of at least 1, got '0'"),
        (["--rounds", "two"], "--rounds: invalid int value: 'two'"),
        (["--steps", "750"], "--steps: expected at most 500 or a multiple of it, whole windows, got '750'"),
        (["--draws", "199"], "--draws: expected a whole number of at least 200, got '199'"),
        (["--only", "theirs"], "invalid choice: 'theirs'"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        command.main(arguments)
    assert message in capsys.readouterr().err


def test_one_core_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    with pytest.raises(SystemExit, match="2"):
        command.main([])
    assert "two workers need two cores" in capsys.readouterr().err


class Here(Worker):
    """A worker in this process: those in others, which the spy above is in, take seconds to start."""

    def __init__(self, entry, problem, seed, core):
        self.contestant, self.answers = entry.make(problem, seed), []

    def ask(self, method, *arguments):
        start = time.perf_counter()
        found = getattr(self.contestant, method)(*arguments)
        turn = contest.Turn(start, end := time.perf_counter(), end - start)
        self.answers.append(turn if method == "advance" else found)

    def answer(self):
        return self.answers.pop(0)

    def close(self):
        pass


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="the bench needs two cores")
def test_the_command_measures_prints_and_records(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(contest, "Worker", Here)
    monkeypatch.setattr(command, "make_problem", lambda window: replace(make(window), likelihood_samples=50))
    monkeypatch.setattr(os, "getloadavg", lambda: (0.7, 0.0, 0.0))
    monkeypatch.setitem(CONTESTANTS, PYRO, replace(CONTESTANTS[PYRO], module="no_such_module"))
    path = tmp_path / "bench.json"
    arguments = ["--rounds", "2", "--steps", "100", "--images", "7"]
    arguments += ["--only", "uncompiled", PYRO, "--output", str(path)]
    assert command.main(arguments) == 0
    printed, record = capsys.readouterr().out, json.loads(path.read_text())
    assert "warning: the machine is busy (load 0.7)" in printed
    assert "Pyro took no part: not installed: pyro-ppl" in printed
    assert [verdict["held"] for verdict in record["needed"]] == [None] * len(report.NEEDED)
    assert len(record["laps"]) == 4
    likelihood = record["likelihood"]
    assert {(lap["contestant"], lap["steps"]) for lap in likelihood["laps"]} == {("uncompiled", 7)}
    assert likelihood["losses"]["before"]["uncompiled"]["loss"] > 0
    assert "Likelihoods a second" in printed
    assert record["absent"] == {PYRO: "not installed: pyro-ppl"}
    assert record["losses"]["after"]["uncompiled"]["loss"] < record["losses"]["before"]["uncompiled"]["loss"]
    assert {"torch", "cores", "python"} <= set(record["machine"])
    assert record["machine"]["processor"].endswith(f", {torch.backends.cpu.get_cpu_capability()}")


@pytest.mark.parametrize("name", [name for name in LIKELIHOODS if name != OURS])  # ours, compiled, takes time
def test_the_estimates_of_all_are_those_of_the_model(name):
    problem = replace(make(), likelihood_samples=400)
    if module := LIKELIHOODS[name].module:
        pytest.importorskip(module)
    found = LIKELIHOODS[name].make(problem, seed=3).losses(problem.batch, draws=20)
    x = torch.from_numpy(problem.batch).float()
    wanted = [-importance_weighted(ours(problem), x, 400, seed) for seed in range(20)]
    contest.check_losses(losses(found=row(found), wanted=row(np.array(wanted))))


@torch.no_grad()
def importance_weighted(model, x, samples, seed):
    """The estimate by torch.distributions, the mean over the images."""
    torch.manual_seed(seed)

    def normal(output):
        mean, log_scale = output.chunk(2, dim=-1)
        return Independent(Normal(mean, log_scale.exp()), 1)

    x = x.expand(samples, *x.shape)
    q_v = normal(model.q_v(x))
    v = q_v.sample()
    q_u = normal(model.q_u[0](x, v))
    u = q_u.sample()
    standard = Independent(Normal(torch.zeros_like(v), torch.ones_like(v)), 1)
    log_p = standard.log_prob(v) + normal(model.p_u[0](v)).log_prob(u)
    log_p = log_p + Independent(Bernoulli(logits=model.p_x(u)), 1).log_prob(x)
    return ((log_p - q_v.log_prob(v) - q_u.log_prob(u)).logsumexp(0) - math.log(samples)).mean().item()


def test_a_ratio_that_does_not_hold_is_an_exit_status(monkeypatch, tmp_path):
    for held, status in ((True, 0), (False, 1), (None, 0)):
        monkeypatch.setattr(command, "run", lambda *_, held=held: {"needed": [{"held": held}]})
        monkeypatch.setattr(command, "make_problem", make)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
        assert command.main(["--output", str(tmp_path / "x.json")]) == status


@pytest.mark.parametrize(("arguments", "files"), [([], ["a-b-2-5ghz-2-cores.json"]), (["--only", EAGER], [])])
def test_a_whole_contest_is_recorded_by_default_and_a_part_of_it_is_not(monkeypatch, tmp_path, arguments, files):
    found = {"needed": [], "machine": {"processor": "A (B) @ 2.5GHz", "cores": "2"}}
    monkeypatch.setattr(command, "run", lambda *_: found)
    monkeypatch.setattr(command, "make_problem", make)
    monkeypatch.setattr(command, "data_folder", lambda: tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    assert command.main(arguments) == 0
    assert [path.name for path in tmp_path.glob("bench/*.json")] == files


def test_an_unfair_contest_prints_why_and_records_nothing(monkeypatch, capsys, tmp_path):
    def unfair(*_):
        raise contest.UnfairError("a and b differ")

    monkeypatch.setattr(command, "run", unfair)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(command, "make_problem", make)
    assert command.main(["--output", str(tmp_path / "x.json")]) == 1
    assert "a and b differ" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
