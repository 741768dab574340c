"""`python -m condkl_studies list|run NAME|status|verify|export`: the studies from the command line."""

import argparse
import os
import sys
from collections.abc import Sequence
from concurrent.futures import BrokenExecutor
from functools import partial
from pathlib import Path

import pandas as pd
import torch

from condkl_studies import plans, store, verify
from condkl_studies.cache import Cache, RunBusyError, cache_folder
from condkl_studies.files import DataError
from condkl_studies.machine import compiler_found
from condkl_studies.replay import replay_sample
from condkl_studies.results import curves
from condkl_studies.schedule import WorkersError, dask_workers, local_processes, run_study


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        return options.act(options)
    except (DataError, store.RecordError, RunBusyError, WorkersError) as error:
        print(error, file=sys.stderr)
        return 1


def _list(options: argparse.Namespace) -> int:
    for name, study in plans.studies().items():
        print(f"{name:12} {len(study.configs):3} runs, {study.steps:9,} steps")
    return 0


def _run(options: argparse.Namespace) -> int:
    configs = plans.study(options.name).configs
    compiled = compiler_found() and not options.eager
    try:
        workers = local_processes(options.workers) if options.scheduler is None else dask_workers(options.scheduler)
        with workers as executor:
            outcome = run_study(options.name, configs, executor, cache_folder(), compiled)
    except (KeyboardInterrupt, BrokenExecutor) as end:
        interrupted = isinstance(end, KeyboardInterrupt)
        why = "stopped" if interrupted else "a worker died, perhaps for want of memory"
        print(f"\n{why}; `make study NAME={options.name}` goes on from here", file=sys.stderr)
        return 130 if interrupted else 1
    print(f"{options.name}: {len(outcome.recorded)} runs recorded now, {len(outcome.failed)} failed")
    for message in outcome.failed:
        print(message, file=sys.stderr)
    return 1 if outcome.failed else 0


def _status(options: argparse.Namespace) -> int:
    rows = []
    for name, study in plans.studies().items():
        kept = store.recorded(name, study.configs)
        states = [Cache(cache_folder() / config.id).peek() for config in study.configs if config not in kept]
        records = store.read_study(name, kept)
        row = {
            "study": name,
            "recorded": f"{len(kept)}/{len(study.configs)}",
            "in progress": sum(state is not None for state in states),
            "hours": round(sum(r.seconds for r in records) / 3600, 2),
            "machines": "; ".join(sorted({r.provenance["machine"]["processor"] for r in records})) or "-",
            "protocols": ", ".join(sorted({str(r.config.protocol) for r in records})) or "-",
        }
        rows.append(row)
    print(pd.DataFrame(rows).to_string(index=False))
    return 0


def _verify(options: argparse.Namespace) -> int:
    studies = plans.studies()
    records, problems = verify.checked(studies)
    for line in problems:
        print(line, file=sys.stderr)
    print(f"{len(records)} records are whole, {len(problems)} problems")
    replays = replay_sample(records, options.replays, options.seed, options.eager)
    for replay in replays:
        kind = "another protocol or kind of machine" if replay.bits is None else "the recorded kind of machine"
        which = f"{replay.config.label} ({replay.config.id[:8]})"
        print(f"{'ok' if replay.passed else 'FAILED'}: {which} on {kind}: {replay}")
    if problems or not all(replay.passed for replay in replays):
        return 1
    try:
        print(f"kept in {verify.keep_verification(studies, replays)}")
    except OSError as error:
        print(f"{verify.verified_file()}: cannot be written ({error.strerror}), so this is not kept", file=sys.stderr)
    return 0


def _export(options: argparse.Namespace) -> int:
    names = [options.name] if options.name else plans.names()
    records = {name: store.read_study(name, store.recorded(name, plans.study(name).configs)) for name in names}
    tables = [curves(found).assign(study=name) for name, found in records.items() if found]
    if not tables:
        print(f"nothing recorded of {', '.join(names)}; make study NAME={names[0]}", file=sys.stderr)
        return 1
    try:
        pd.concat(tables).to_csv(options.output, index=False)
    except OSError as error:
        print(f"{options.output}: cannot be written ({error.strerror or error})", file=sys.stderr)
        return 1
    print(f"{options.output}: {sum(map(len, records.values()))} runs")
    return 0


def _count(text: str, least: int = 1) -> int:
    if not (text.isdecimal() and int(text) >= least):
        wanted = "above 0" if least else "of at least 0"
        raise argparse.ArgumentTypeError(f"expected a whole number {wanted}, got {text!r}")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m condkl_studies", description="Recorded training runs.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = torch.cuda.device_count() or usable  # GPUs where they are, else the cores that this process may use

    def command(act: object, name: str, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(act=act)
        return sub

    command(_list, "list", "the studies and their sizes")
    run = command(_run, "run", "train the runs of a study that have no record; goes on where it was stopped")
    run.add_argument("name", choices=plans.names(), help="the study")
    text = "processes of one thread (here: %(default)s)"
    run.add_argument("--workers", type=_count, default=workers, metavar="N", help=text)
    text = "a Dask scheduler, tcp://host:port, in place of local processes"
    run.add_argument("--scheduler", metavar="ADDRESS", help=text)
    command(_status, "status", "what is recorded, and what stands behind it")
    check = command(_verify, "verify", "check every record, and train the first window of some again")
    text = "how many runs to train again (default %(default)s)"
    check.add_argument("--replays", type=partial(_count, least=0), default=3, metavar="N", help=text)
    check.add_argument("--seed", type=int, default=0, metavar="N", help="which ones (default %(default)s)")
    for one in (run, check):
        one.add_argument("--eager", action="store_true", help="do not compile, even if there is a compiler")
    export = command(_export, "export", "all metrics in one CSV file")
    export.add_argument("name", nargs="?", choices=plans.names(), help="the study (default: all)")
    export.add_argument("--output", type=Path, default=Path("runs.csv"), metavar="FILE", help="(default %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
