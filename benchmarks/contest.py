"""The contest: first the same loss for all, then rounds in which each takes its turn, in one worker and in two."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pandas as pd
from tqdm import tqdm

from benchmarks.contestants import Entry
from benchmarks.problem import Problem
from benchmarks.workers import Turn, Worker

STANDARD_ERRORS = 4.5  # by which the losses of two contestants may differ
_WARM_UP = 20  # steps, where a single one is the unit

#: The workers of each contestant, by its name.
Crews = dict[str, list[Worker]]


class UnfairError(RuntimeError):
    """Contestants do not train the same model on the same loss; their speeds are not to be compared."""


@dataclass(frozen=True)
class Lap:
    """A contestant's turn in one round.

    Attributes:
        round: from 0.
        contestant: its name.
        workers: how many trained at once.
        steps: of each of them.
        seconds: from the first worker's start to the last one's end.
        cpu_share: the part of its time in which the worker that waited most had its core.

    Example:
        >>> Lap(round=0, contestant="ours", workers=2, steps=500, seconds=4.0, cpu_share=1.0).rate
        250.0
    """

    round: int
    contestant: str
    workers: int
    steps: int
    seconds: float
    cpu_share: float

    @property
    def rate(self) -> float:
        """Steps a second, all workers together."""
        return self.workers * self.steps / self.seconds


@contextmanager
def crews(entries: Mapping[str, Entry], problem: Problem, cores: Sequence[int]) -> Iterator[Crews]:
    """A worker on each of the cores for each contestant, ready to be asked; they end with the context.

    Raises:
        WorkerError: if a contestant cannot be made.
    """
    made: Crews = {}
    try:
        for name, entry in entries.items():
            made[name] = [Worker(entry, seed, core) for seed, core in enumerate(cores)]
        for workers in tqdm(made.values(), desc="starting", unit="contestant"):
            for worker in workers:
                worker.ask("make", problem)
            together(workers)
        yield made
    finally:
        for worker in itertools.chain.from_iterable(made.values()):
            worker.close()


def together(workers: Sequence[Worker]) -> list[Turn]:
    """The next answer of each of them."""
    return [worker.answer() for worker in workers]


def compare_losses(made: Crews, problem: Problem, draws: int) -> pd.DataFrame:
    """The loss of every contestant at the same weights on the same batch, each at its own draws of the latents.

    Returns:
        For each name `loss`, the mean in nats an image over the draws, and `standard_error`. Yardsticks are left out.
    """
    rows = {}
    for name, (worker, *_) in tqdm(made.items(), desc="losses", unit="contestant"):
        worker.ask("losses", problem.batch, draws)
        values: np.ndarray = worker.answer()
        if len(values):
            rows[name] = (float(values.mean()), float(values.std(ddof=1)) / math.sqrt(len(values)))
    return pd.DataFrame.from_dict(rows, orient="index", columns=["loss", "standard_error"])


def check_losses(table: pd.DataFrame) -> None:
    """Check that all losses of the table, as `compare_losses` gives it, agree within 4.5 standard errors.

    Raises:
        UnfairError: if two do not; the message names them.

    Example:
        >>> check_losses(pd.DataFrame({"loss": [543.2, 543.9], "standard_error": [0.2, 0.2]}, index=["ours", "eager"]))
    """
    for one, other in itertools.combinations(table.index, 2):
        gap = table.loss[one] - table.loss[other]
        error = math.hypot(table.standard_error[one], table.standard_error[other])
        if not abs(gap) <= STANDARD_ERRORS * error:
            raise UnfairError(
                f"{one} and {other}: losses {table.loss[one]:.3f} and {table.loss[other]:.3f} nats differ by "
                f"{abs(gap) / error:.1f} standard errors, allowed are {STANDARD_ERRORS}. They do not train the same "
                "model on the same loss, so their speeds say nothing."
            )


def check_training(before: pd.DataFrame, after: pd.DataFrame) -> None:
    """Check that every contestant's loss fell, by more than 4.5 standard errors, from one table to the other.

    Raises:
        UnfairError: if one did not; the message names it.

    Example:
        >>> before = pd.DataFrame({"loss": [543.2], "standard_error": [0.2]}, index=["ours"])
        >>> check_training(before, after=before.assign(loss=205.1))
    """
    for name in before.index:
        fall = before.loss[name] - after.loss[name]
        if not fall > STANDARD_ERRORS * math.hypot(before.standard_error[name], after.standard_error[name]):
            raise UnfairError(
                f"{name}: its loss went from {before.loss[name]:.3f} to {after.loss[name]:.3f} nats in its laps. It "
                "does not train, so its speed says nothing."
            )


def warm_up(made: Crews, entries: Mapping[str, Entry], problem: Problem) -> None:
    """Have every worker compile what it compiles, and take its first steps."""
    for name, workers in tqdm(made.items(), desc="warming up", unit="contestant"):
        for worker in workers:
            worker.ask("advance", problem.window if entries[name].windowed else min(_WARM_UP, problem.window))
        together(workers)


def race(made: Crews, rounds: int, steps: int) -> list[Lap]:
    """Every contestant's laps: in each round all of them in one worker, then all of them in all their workers.

    While one trains, the others wait. Each round begins with the next contestant, so that none has the same place
    in all of them.
    """
    names, laps = list(made), []
    sizes = [1, max(map(len, made.values()))]
    with tqdm(total=rounds * len(names) * len(sizes), unit="lap") as bar:
        for number in range(rounds):
            first = number % len(names)
            for size, name in itertools.product(sizes, names[first:] + names[:first]):
                bar.set_description(f"round {number + 1} of {rounds}")
                laps.append(lap(number, name, made[name][:size], steps))
                bar.update()
    return laps


def lap(number: int, name: str, workers: Sequence[Worker], steps: int) -> Lap:
    """One lap: all `workers` start at once, and it ends with the last of them."""
    for worker in workers:
        worker.ask("advance", steps)
    turns = together(workers)
    seconds = max(turn.end for turn in turns) - min(turn.start for turn in turns)
    share = min(turn.cpu / (turn.end - turn.start) for turn in turns)
    return Lap(number, name, len(workers), steps, seconds, share)
