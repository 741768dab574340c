"""`python -m benchmarks`: our training step against others, in one alternating run on this machine."""

import argparse
import os
import platform
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from benchmarks import contest, report
from benchmarks.contestants import CONTESTANTS, Entry
from benchmarks.problem import WINDOW, Problem, flops_per_step, make_problem
from benchmarks.workers import WorkerError
from condkl_studies.config import PROTOCOL
from condkl_studies.engine import commit, machine
from condkl_studies.files import data_folder, write_json

IDLE = 0.5  # processes that want a core, the mean over a minute, up to which a machine counts as idle


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; returns the exit status: 1 if a needed ratio does not hold."""
    parser = _parser()
    options = parser.parse_args(arguments)
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        parser.error("two workers need two cores, and this process may use one. Widen its affinity (taskset).")
    load = os.getloadavg()[0]
    if load > IDLE:
        print(f"warning: the machine is busy (load {load:.1f}); wait until it is idle for figures to trust")
    entries = {name: CONTESTANTS[name] for name in options.only or CONTESTANTS}
    try:
        found = run(entries, make_problem(window=min(options.steps, WINDOW)), options, cores)
    except (contest.UnfairError, WorkerError) as error:
        print(error, file=sys.stderr)
        return 1
    path = options.output
    if path is None and not options.only:  # a part of the contest does not take the place of a whole one
        path = data_folder() / "bench" / report.file_name(_processor())
    if path is not None:
        write_json(path, {"load_before": load} | found)
        print(f"recorded in {path}")
    return 1 if any(verdict["held"] is False for verdict in found["needed"]) else 0


def run(
    entries: dict[str, Entry], problem: Problem, options: argparse.Namespace, cores: Sequence[int]
) -> dict[str, Any]:
    """The whole contest: compare losses, race, print; returns the record.

    Args:
        entries: who is to take part. Those whose package is missing are named in the tables.
        problem: what they train.
        options: `rounds`, `steps` and `draws`.
        cores: one for each worker.

    Raises:
        UnfairError: if the contestants do not train the same model on the same loss.
        WorkerError: if a contestant fails.
    """
    started = datetime.now(UTC).isoformat(timespec="seconds")
    absent = {name: why for name, entry in entries.items() if (why := entry.missing())}
    present = {name: entry for name, entry in entries.items() if name not in absent}
    with contest.crews(present, problem, cores) as crews:
        before = contest.compare_losses(crews, problem, options.draws)
        print(f"Loss at the same first weights on one batch, mean over {options.draws} draws of the latents:")
        print(report.losses_text(before, entries))
        contest.check_losses(before)
        contest.warm_up(crews, present, problem)
        laps = contest.race(crews, options.rounds, options.steps)
        after = contest.compare_losses(crews, problem, options.draws)
    print(f"\nLoss on that batch after {2 * options.rounds * options.steps} steps and the warm-up:")
    print(report.losses_text(after, entries))
    contest.check_training(before, after)
    table, verdicts = report.summary(laps), report.verdicts(laps)
    print(f"\n{report.rates_text(table, entries, absent)}\n\n{report.yardstick_text(table, flops_per_step(problem))}")
    for verdict in verdicts:
        print(report.verdict_text(verdict))
    if disturbed := report.disturbed(laps):
        print(f"warning: in {len(disturbed)} of {len(laps)} laps something else used the cores; the least share of a "
              f"core was {min(lap.cpu_share for lap in disturbed):.0%}")  # fmt: skip
    settings = {name: getattr(options, name) for name in ("rounds", "steps", "draws")}
    sizes = {name: getattr(problem, name) for name in ("latents", "hidden", "batch_size", "window", "learning_rate")}
    return {
        "started": started,
        "machine": machine()
        | {
            "processor": _processor(),
            "device": "cpu",
            "cores": str(os.cpu_count()),
            "python": platform.python_version(),
        },
        "packages": _versions(entries),
        "commit": commit(),
        "protocol": PROTOCOL,
        "problem": sizes | {"flops_per_step": flops_per_step(problem)},
        "settings": settings,
        "labels": {name: entry.label for name, entry in entries.items()},
        "absent": absent,
        "losses": {"before": before.to_dict("index"), "after": after.to_dict("index")},
    } | report.record(table, laps, verdicts)


def _processor() -> str:
    """The processor with its vectors: one name may stand for several generations, and the vectors make a difference."""
    return f"{machine()['processor']}, {torch.backends.cpu.get_cpu_capability()}"


def _versions(entries: dict[str, Entry]) -> dict[str, str]:
    """The versions of what takes part, so far as it is installed."""
    found = {}
    for name in ["condkl", "torch", "numpy", "jaxlib", *(entry.package for entry in entries.values() if entry.package)]:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Our training step against others, in one alternating run on an idle machine. "
        "Rivals need the extra `bench`: pip install -c constraints.txt -e '.[bench]'.",
    )
    parser.add_argument("--rounds", type=_count, default=3, help="in each, everyone has two laps (default %(default)s)")
    lap = f"of each worker in a lap: up to {WINDOW} or a multiple of it (default %(default)s)"
    parser.add_argument("--steps", type=_steps, default=WINDOW, help=lap)
    parser.add_argument("--draws", type=_draws, default=200, help="for the comparison of losses (default %(default)s)")
    parser.add_argument("--only", nargs="+", choices=CONTESTANTS, metavar="NAME", help=f"of {', '.join(CONTESTANTS)}")
    parser.add_argument(
        "--output", type=Path, help="the record (default: in data/bench/, named after the machine; none with --only)"
    )
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)


def _steps(text: str) -> int:
    steps = _count(text)
    if steps > WINDOW and steps % WINDOW:
        raise argparse.ArgumentTypeError(f"expected at most {WINDOW} or a multiple of it, whole windows, got {text!r}")
    return steps


def _draws(text: str) -> int:
    if (draws := _count(text)) < 200:
        raise argparse.ArgumentTypeError(f"expected at least 200, for a standard error to trust, got {text!r}")
    return draws


if __name__ == "__main__":
    sys.exit(main())
