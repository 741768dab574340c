"""`python -m benchmarks`: our training step against others, in one alternating run on this machine."""

import argparse
import os
import platform
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
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
    if (load := os.getloadavg()[0]) > IDLE:
        print(f"warning: the machine is busy (load {load:.1f}); wait until it is idle for figures to trust")
    entries = {name: CONTESTANTS[name] for name in options.only or CONTESTANTS}
    try:
        found = run(entries, make_problem(window=min(options.steps, WINDOW)), options, cores)
    except (contest.UnfairError, WorkerError) as error:
        print(error, file=sys.stderr)
        return 1
    # Unless asked for, a part of the contest does not take the place of a whole one.
    if path := options.output or (not options.only and data_folder() / "bench" / report.file_name(_processor())):
        write_json(path, {"load_before": load} | found)
        print(f"recorded in {path}")
    return 1 if any(verdict["held"] is False for verdict in found["needed"]) else 0


def run(entries: dict[str, Entry], problem: Problem, options: argparse.Namespace, cores: list[int]) -> dict[str, Any]:
    """The whole contest, a worker on each core: compare losses, race, print; returns the record.

    Those of the entries whose package is missing are named in the tables.
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
    table, verdicts, flops = report.summary(laps), report.verdicts(laps), flops_per_step(problem)
    print(f"\n{report.rates_text(table, entries, absent)}\n\n{report.yardstick_text(table, flops)}")
    print(*map(report.verdict_text, verdicts), sep="\n")
    if disturbed := report.disturbed(laps):
        print(f"warning: in {len(disturbed)} of {len(laps)} laps something else used the cores; the least share of a "
              f"core was {min(lap.cpu_share for lap in disturbed):.0%}")  # fmt: skip
    here = {"processor": _processor(), "device": "cpu", "cores": str(os.cpu_count())}
    sizes = ("latents", "hidden", "batch_size", "window", "learning_rate")
    return {
        "started": started,
        "machine": machine() | here | {"python": platform.python_version()},
        "packages": _versions(entries),
        "commit": commit(),
        "protocol": PROTOCOL,
        "problem": {name: getattr(problem, name) for name in sizes} | {"flops_per_step": flops},
        "settings": {name: getattr(options, name) for name in ("rounds", "steps", "draws")},
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
    for name in filter(None, ["condkl", "torch", "numpy", "jaxlib", *(entry.package for entry in entries.values())]):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m benchmarks",
        description="Our training step against others, in one alternating run on an idle machine. "
        "Rivals need the extra `bench`: pip install -c constraints.txt -e '.[bench]'.",
    )
    parser.add_argument("--rounds", type=_at_least(1), default=3, help="in each, everyone has two laps (default 3)")
    parser.add_argument("--steps", type=_steps, default=WINDOW, help=f"a lap: {WINDOW}, less, or a multiple of it")
    parser.add_argument("--draws", type=_at_least(200), default=200, help="to compare losses (default and least 200)")
    parser.add_argument("--only", nargs="+", choices=CONTESTANTS, metavar="NAME", help=f"of {', '.join(CONTESTANTS)}")
    parser.add_argument("--output", type=Path, help="the record; else in data/bench/, but with --only nowhere")
    return parser


def _at_least(least: int) -> Callable[[str], int]:
    def count(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"expected a whole number of at least {least}, got {text!r}")
        return int(text)

    return count


def _steps(text: str) -> int:
    steps = _at_least(1)(text)
    if steps > WINDOW and steps % WINDOW:
        raise argparse.ArgumentTypeError(f"expected at most {WINDOW} or a multiple of it, whole windows, got {text!r}")
    return steps


if __name__ == "__main__":
    sys.exit(main())
