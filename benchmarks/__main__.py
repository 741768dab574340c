"""`python -m benchmarks`: our training step against others, in one alternating run on this machine."""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from benchmarks import contest, report
from benchmarks.contestants import CONTESTANTS, LIKELIHOODS, Entry
from benchmarks.problem import WINDOW, Problem, flops_per_step, make_problem
from benchmarks.workers import WorkerError
from condkl_studies import products
from condkl_studies.files import data_folder, write_json

_COMPARED, _REPEATS = 20, 10  # images and estimates of each, by which the estimates of the likelihood are compared
IDLE = 0.5  # processes that want a core, the mean over a minute, up to which a machine counts as idle


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; returns the exit status: 1 if a needed ratio does not hold."""
    options, cores = _options(arguments), sorted(os.sched_getaffinity(0))[:2]
    if (load := os.getloadavg()[0]) > IDLE:
        print(f"warning: the machine is busy (load {load:.1f}); wait until it is idle for figures to trust")
    entries = {name: CONTESTANTS[name] for name in options.only or CONTESTANTS}
    try:
        found = run(entries, make_problem(window=min(options.steps, WINDOW)), options, cores)
    except (contest.UnfairError, WorkerError) as error:
        print(error, file=sys.stderr)
        return 1
    path = options.output
    if not (path or options.only):  # unless asked for, a part of the contest does not take the place of a whole one
        path = report.record_path(data_folder(), found["machine"]["processor"], f"{found['machine']['cores']} cores")
    if path:
        write_json(path, {"load_before": load} | found)
        print(f"recorded in {path}")
    return 1 if any(verdict["held"] is False for verdict in found["needed"]) else 0


def run(entries: dict[str, Entry], problem: Problem, options: argparse.Namespace, cores: list[int]) -> dict[str, Any]:
    """Both contests, a worker on each core: compare losses, race, print; returns the record."""
    started = datetime.now(UTC).isoformat(timespec="seconds")
    steps = _contest("Steps", entries, problem, options.steps, options.rounds, options.draws, cores)
    _show("Needed with two workers, ours over it", pd.DataFrame(steps["needed"]))
    estimators = {name: entry for name, entry in LIKELIHOODS.items() if name in entries}
    few = replace(problem, batch=problem.batch[:_COMPARED])
    repeated = (few, options.images, options.rounds, _REPEATS, cores)
    estimates = _contest("Likelihoods", estimators, *repeated, trains=False) if estimators else {}
    wanted = {"condkl", "torch", "numpy", "jaxlib", *(entry.package for entry in entries.values())}
    sizes = ("latents", "hidden", "batch_size", "window", "learning_rate", "likelihood_samples")
    how = products.calls(torch.from_numpy(problem.images), torch.float32)
    return {
        "started": started,
        **report.made_by("cpu", wanted),
        "products": str(how),
        "problem": {name: getattr(problem, name) for name in sizes} | {"flops_per_step": flops_per_step(problem)},
        "settings": {name: getattr(options, name) for name in ("rounds", "steps", "draws", "images")},
        "likelihood": {name: value for name, value in estimates.items() if name != "needed"},
    } | steps


def _contest(
    what: str,
    entries: dict[str, Entry],
    problem: Problem,
    size: int,
    rounds: int,
    draws: int,
    cores: list[int],
    trains: bool = True,
) -> dict[str, Any]:
    """One contest, with laps of that `size`; returns its part of the record."""
    absent = {name: why for name, entry in entries.items() if (why := entry.missing())}
    with contest.crews({name: entries[name] for name in entries if name not in absent}, problem, cores) as crews:
        before = contest.compare_losses(crews, problem, draws)
        _show(f"{what}: the loss at the same weights on one batch, mean over {draws} draws", before)
        contest.check_losses(before)
        contest.warm_up(crews)
        laps = contest.race(crews, rounds, size)
        after = contest.compare_losses(crews, problem, draws) if trains else before
    if trains:
        _show(f"{what}: the loss on that batch after {2 * rounds * size} of them and the warm-up", after)
        contest.check_training(before, after)
    found = report.record(laps)
    _show(f"{what} a second, all workers together, over the rounds", pd.DataFrame(found["summary"]))
    for name, why in absent.items():
        print(f"{entries[name].label} took no part: {why}")
    if disturbed := report.disturbed(laps):
        print(f"warning: in {len(disturbed)} of {len(laps)} laps something else used the cores; the least share of a "
              f"core was {min(lap.cpu_share for lap in disturbed):.0%}")  # fmt: skip
    labels = {name: entry.label for name, entry in entries.items()}
    losses = {"before": before.to_dict("index"), "after": after.to_dict("index")}
    return {"labels": labels, "absent": absent, "losses": losses} | found


def _show(title: str, table: pd.DataFrame) -> None:
    print(f"\n{title}:\n{table.to_string(float_format='{:.3f}'.format)}")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks",
        description="Our training step against others, in one alternating run on an idle machine. "
        "Rivals need the extra `bench`: pip install -c constraints.txt -e '.[bench]'.",
    )
    parser.add_argument("--rounds", type=int, default=7, help="in each, everyone has two laps (default 7)")
    parser.add_argument("--steps", type=int, default=WINDOW, help=f"a lap: {WINDOW}, less, or a multiple of it")
    parser.add_argument("--draws", type=int, default=200, help="to compare losses (default and least 200)")
    parser.add_argument("--images", type=int, default=60, help="a lap of likelihoods (default 60)")
    parser.add_argument("--only", nargs="+", choices=CONTESTANTS, metavar="NAME", help=f"of {', '.join(CONTESTANTS)}")
    parser.add_argument("--output", type=Path, help="the record; else in data/bench/, but with --only nowhere")
    options = parser.parse_args(arguments)
    for name, least in (("rounds", 1), ("steps", 1), ("draws", 200), ("images", 1)):
        if (given := getattr(options, name)) < least:
            parser.error(f"argument --{name}: expected a whole number of at least {least}, got '{given}'")
    if options.steps > WINDOW and options.steps % WINDOW:
        wanted = f"at most {WINDOW} or a multiple of it, whole windows"
        parser.error(f"argument --steps: expected {wanted}, got '{options.steps}'")
    if len(os.sched_getaffinity(0)) < 2:
        parser.error("two workers need two cores, and this process may use one. Widen its affinity (taskset).")
    return options


if __name__ == "__main__":
    sys.exit(main())
