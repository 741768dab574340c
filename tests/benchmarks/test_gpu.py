"""`make gpu`: it checks a device, trains and measures there, and what ran on the CPU is called that."""

import contextlib
import io
import json
import math
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import batched_report, contest, gpu, gpu_checks
from benchmarks.ours import model_of
from benchmarks.problem import make_problem
from benchmarks.torch_steps import PlainVAE
from condkl_studies import plans
from condkl_studies.evaluation import iwae_log_likelihood
from condkl_studies.files import data_folder
from condkl_studies.randomness import seeded

ROOT, CPU, PIXELS = Path(__file__).parents[2], torch.device("cpu"), 16
SMALL = gpu.SIZES["cpu"]


@pytest.fixture
def problem():
    left = np.random.default_rng(1).random((200, 1)) < 0.5
    images = np.where((np.arange(PIXELS) < PIXELS // 2) == left, 240, 15).astype(np.uint8)
    return make_problem((2, 3), (8, 6), images, window=2, batch_size=20)


# --- The command --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """The records, and what was printed, after `python -m benchmarks.gpu --device cpu` in a data folder of its own."""
    data, printed = tmp_path_factory.mktemp("data"), io.StringIO()
    (data / "mnist").symlink_to(data_folder() / "mnist")
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setenv("CONDKL_DATA", str(data))
        assert gpu.main(["--device", "cpu", "--seeds", "1", "--test", "100", "--seconds", "0.01"]) == 0
    return batched_report.records(data), printed.getvalue()


def test_on_the_cpu_it_checks_trains_measures_and_records(recorded):
    (record,) = recorded[0].values()
    assert max(value for name, value in record["deviations"].items() if name.startswith("from")) < 1e-9
    runs = [run for part in record["main"] for run in part["runs"]]
    assert len(runs) == 2 * 2  # objectives and decoders
    assert {(run["objective"], run["decoder"]) for run in runs} == {
        (followed, decoder) for followed in ("full", "modified") for decoder in ("p(x|u)", "p(x|u,v)")
    }
    assert all(math.isfinite(run["elbo"]) for run in runs)
    assert [row["models"] for row in record["speed"]] == list(SMALL.models)
    rates = [*(row["steps"] for row in record["speed"]), record["likelihoods"], *record["plain"].values()]
    assert all(len(laps) == gpu.LAPS and min(laps) > 0 for laps in rates)
    assert record["peak"]["measured"] > 0
    assert {"commit", "protocol", "packages", "started", "seconds"} <= set(record)


def test_what_ran_on_the_cpu_is_called_that(recorded):
    ((name, record),) = recorded[0].items()
    assert name.endswith("-cpu-batched.json")
    assert (record["machine"]["device"], record["peak"]["data_sheet"]) == ("cpu", None)
    assert batched_report.where(record).startswith("CPU, one thread: ")
    assert "CPU, one thread" in batched_report.source(name, record)
    assert "CPU, one thread" in recorded[1]


@pytest.mark.parametrize(("arguments", "device"), [(["DEVICE=cpu"], "cpu"), ([], "auto"), (["DEVICE=cuda"], "cuda")])
def test_make_gpu_is_one_command(arguments, device):
    command = ["make", "-n", f"PY={sys.executable}", "gpu", *arguments]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert f"-m benchmarks.gpu --device {device}\n" in said


def test_the_size_of_a_gpu_is_that_of_the_requirement():
    large = gpu.SIZES["cuda"]
    assert (large.steps, large.models, large.samples) == (10 * plans.EPOCH, (1, 8, 64), 5000)
    for skip in plans.DECODERS:
        configs = gpu.main_configs(large, skip)
        assert sorted((c.objective, c.seed) for c in configs) == [
            (o, s) for o in ("full", "modified") for s in range(5)
        ]
        assert {(c.steps, c.skip, c.schedule, c.learning_rate) for c in configs} == {(5000, skip, "cosine", 2e-3)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--device", "tpu"], "--device: invalid choice: 'tpu'"),
        (["--models", "0"], "sizes: expected numbers above 0, got {'models': [0]}"),
        (["--seconds", "-1"], "sizes: expected numbers above 0"),
        (["--steps", "ten"], "--steps: invalid int value: 'ten'"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        gpu.main(arguments)
    assert message in capsys.readouterr().err


def test_what_is_not_there_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(gpu, "compiler_found", lambda: False)
    for arguments, message in ((["--device", "cuda"], "finds no CUDA here"), (["--compiled"], "needs a C++ compiler")):
        with pytest.raises(SystemExit, match="2"):
            gpu.main(arguments)
        assert message in capsys.readouterr().err


def test_the_device_is_what_is_there_and_each_size_is_an_option(monkeypatch):
    for there, device in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        monkeypatch.setattr(gpu, "compiler_found", lambda: True)
        options, size = gpu._options(["--models", "3", "5", "--images", "7"])
        assert (options.device, options.compiled) == (device, device == "cuda")
        assert size == replace(gpu.SIZES[device], models=(3, 5), images=7)
    assert {field.name for field in fields(gpu.Size)} <= set(vars(options))


def test_a_device_that_computes_otherwise_is_an_exit_status_and_no_record(monkeypatch, capsys, tmp_path):
    def wrong(*_):
        raise gpu_checks.DeviceError("cuda: off")

    monkeypatch.setattr(gpu, "run", wrong)
    assert gpu.main(["--device", "cpu", "--output", str(tmp_path / "x.json")]) == 1
    assert "cuda: off" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_models_that_do_not_fit_are_not_counted(problem):
    images, size = torch.from_numpy(problem.images), replace(SMALL, seconds=1e-9)
    assert gpu.measure_steps(3, images, problem, size, compiled=False, memory=0)["models"] == 1
    assert gpu.measure_steps(3, images, problem, size, compiled=False, memory=1 << 30)["models"] == 3


def test_a_lap_counts_what_was_done_in_its_time(monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(gpu.time, "perf_counter", lambda: next(clock))
    assert gpu.laps(lambda: 6, seconds=3, device=CPU) == [6 * 2 / 3] * gpu.LAPS


# --- The checks ---------------------------------------------------------------------------------------------------


def test_a_device_that_adds_otherwise_is_found(problem, monkeypatch):
    images, advance = torch.from_numpy(problem.images), gpu_checks.Program.advance
    assert gpu_checks.deviations(images, problem, compiled=False)["from the CPU, torch.float64"] == 0
    calls = []

    def spoiled(program, images):
        calls.append(program)
        if len(set(map(id, calls))) == 2:  # the second program is the device's
            program.buffers.weight.fill_(0.5)
            with torch.no_grad():
                next(iter(program._runs[0].state.model.parameters())).mul_(1 + 1e-6)
        advance(program, images)

    monkeypatch.setattr(gpu_checks.Program, "advance", spoiled)
    with pytest.raises(gpu_checks.DeviceError, match=r"cpu: a term of the ELBO is off by .* allowed is 1e-09"):
        gpu_checks.deviations(images, problem, compiled=False)


def test_bits_that_are_not_their_grey_levels_are_found(problem, monkeypatch):
    monkeypatch.setattr(gpu_checks, "binarise", lambda grey, generator, dtype: (grey > 0).to(dtype))
    with pytest.raises(gpu_checks.DeviceError, match=r"the mean of its bits is .* standard errors"):
        gpu_checks.deviations(torch.from_numpy(problem.images), problem, compiled=False)


def test_another_loss_or_likelihood_is_found(problem, monkeypatch):
    assert len(gpu_checks.losses(CPU, problem, samples=50)) == 4
    estimate = PlainVAE.log_likelihood
    monkeypatch.setattr(PlainVAE, "log_likelihood", lambda *own: estimate(*own) - 1)
    with pytest.raises(contest.UnfairError, match="likelihood, condkl and likelihood, plain PyTorch"):
        gpu_checks.losses(CPU, problem, samples=50)


def test_the_plain_likelihood_is_ours(problem):
    """Estimates by many draws each: they meet within the errors of their means."""
    x = torch.from_numpy(problem.batch[:3]).float()
    ours = torch.stack([iwae_log_likelihood(model_of(problem), x, 500, seeded(i)) for i in range(20)])
    torch.manual_seed(100)
    plain = torch.stack([torch.stack([PlainVAE(problem).log_likelihood(one, 500) for one in x]) for _ in range(20)])
    error = (ours.var(0) / 20 + plain.double().var(0) / 20).sqrt()
    assert ((ours.mean(0) - plain.mean(0)).abs() < 4.5 * error).all()


# --- The report ---------------------------------------------------------------------------------------------------


def made_up(device):
    return {
        "started": "2026-11-29T05:00:29+00:00",
        "machine": {"device": device, "processor": "A CPU", "system": "Linux", "python": "3.11"},
        "packages": {"torch": "2.13"},
        "commit": "abc",
        "protocol": 2,
        "problem": {"flops_per_step": 1e9},
        "settings": {"samples": 5000, "compiled": True},
        "peak": {"measured": 4e12, "data_sheet": None},
        "speed": [{"models": 1, "steps": [90, 100, 900]}, {"models": 8, "steps": [1000, 400, 500]}],
        "likelihoods": [30, 10, 20],
        "plain": {"steps": [50, 50, 50], "likelihoods": [2, 2, 2]},
        "main": [{"decoder": "p(x|u)", "seconds": 9.0, "runs": [
            {"objective": "full", "seed": n, "decoder": "p(x|u)", "elbo": -90.0 - n, "R": -70.0, "A": 9.0, "C": 11.0}
            for n in (0, 2)]}],
    }  # fmt: skip


def test_tables_have_medians_shares_and_means_over_seeds():
    record = made_up("NVIDIA H200")
    speeds = batched_report.speeds(record)
    assert speeds.to_numpy().tolist() == [[100, 0.025, 2], [500, 0.125, 10], [50, 0.0125, 1]]
    assert list(speeds.index) == ["1 at once", "8 at once", "plain PyTorch, one model"]
    assert batched_report.likelihoods(record)["images/s at K = 5,000"].tolist() == [20, 2]
    assert batched_report.training(record).loc[("p(x|u)", "full")].tolist() == [-91, -70, 9, 11, 9]


def test_sentences_say_what_was_measured_and_never_take_a_cpu_for_a_gpu():
    card, cpu = made_up("NVIDIA H200"), made_up("cpu")
    assert batched_report.measured({}) == "No GPU has been measured in this copy."
    assert batched_report.limits({}) == batched_report.limits({"b": cpu}) == "Nothing about GPUs: none was measured."
    assert batched_report.measured({"b": cpu}) == (
        "No GPU has been measured in this copy. A little was run on CPU, one thread: A CPU."
    )
    assert batched_report.measured({"a": card, "b": cpu}) == (
        "Measured on GPU: NVIDIA H200. A little was run on CPU, one thread: A CPU."
    )
    assert "none was measured" not in batched_report.limits({"a": card, "b": cpu})


def test_records_are_found_by_their_names(tmp_path):
    for name in ("a-batched.json", "b-2-cores.json"):
        (tmp_path / "bench").mkdir(exist_ok=True)
        (tmp_path / "bench" / name).write_text(json.dumps({"name": name}))
    assert batched_report.records(tmp_path) == {"a-batched.json": {"name": "a-batched.json"}}
