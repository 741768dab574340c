"""The contest: first the same loss for all, then rounds in which each takes its turn, in one worker and in two."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Any

import pandas as pd
from tqdm import tqdm

from benchmarks.contestants import Entry
from benchmarks.problem import Problem
from benchmarks.workers import Turn, Worker

STANDARD_ERRORS = 4.5  # by which the losses of two contestants may differ
_WARM_UP = 20  # steps; who takes whole windows takes one

Crews = dict[str, list[Worker]]  # the workers of each contestant, by its name


class UnfairError(RuntimeError):
    """Contestants do not train the same model on the same loss, so their speeds say nothing."""


@dataclass(frozen=True)
class Lap:
    """A contestant's turn in one round, the first of which is round 0."""

    round: int
    contestant: str
    workers: int  # that trained at once
    steps: int  # of each of them
    seconds: float  # from the first worker's start to the last one's end
    cpu_share: float  # the part of its time in which the worker that waited most had its core

    @property
    def rate(self) -> float:
        """Steps a second, all workers together."""
        return self.workers * self.steps / self.seconds


@contextmanager
def crews(entries: Mapping[str, Entry], problem: Problem, cores: Sequence[int]) -> Iterator[Crews]:
    """A worker on each of the cores for each contestant, to be asked at once; they end with the context."""
    with ExitStack() as stack:
        yield {
            name: [stack.enter_context(closing(Worker(entry, problem, seed, core))) for seed, core in enumerate(cores)]
            for name, entry in tqdm(entries.items(), desc="starting", unit="contestant")
        }


def together(workers: Sequence[Worker], method: str, *arguments: Any) -> list[Any]:
    """Ask the same of all of them at once; returns their answers."""
    for worker in workers:
        worker.ask(method, *arguments)
    return [worker.answer() for worker in workers]


def compare_losses(made: Crews, problem: Problem, draws: int) -> pd.DataFrame:
    """For who trains, `loss`, nats an image on the same batch, mean over its own draws, and its `standard_error`."""
    asked = tqdm(made.items(), desc="losses", unit="contestant")
    values = {name: together(workers[:1], "losses", problem.batch, draws)[0] for name, workers in asked}
    found = pd.DataFrame({name: column for name, column in values.items() if len(column)})
    return pd.DataFrame({"loss": found.mean(), "standard_error": found.sem()})


def check_losses(table: pd.DataFrame) -> None:
    """Raise `UnfairError`, which names them, if two losses of the table are more than 4.5 standard errors apart."""
    for one, other in itertools.combinations(table.index, 2):
        gap = abs(table.loss[one] - table.loss[other])
        error = math.hypot(table.standard_error[one], table.standard_error[other])
        if not gap <= STANDARD_ERRORS * error:  # so that NaN fails too
            raise UnfairError(
                f"{one} and {other}: losses {table.loss[one]:.3f} and {table.loss[other]:.3f} nats differ by "
                f"{gap / error:.1f} standard errors, allowed are {STANDARD_ERRORS}: their speeds say nothing"
            )


def check_training(before: pd.DataFrame, after: pd.DataFrame) -> None:
    """Raise `UnfairError`, which names it, if a contestant's loss did not fall by more than 4.5 standard errors."""
    for name in before.index:
        fall = before.loss[name] - after.loss[name]
        if not fall > STANDARD_ERRORS * math.hypot(before.standard_error[name], after.standard_error[name]):
            raise UnfairError(
                f"{name}: its loss went from {before.loss[name]:.3f} to {after.loss[name]:.3f} nats in its laps: "
                "it does not train, so its speed says nothing"
            )


def warm_up(made: Crews) -> None:
    """Have every worker compile what it compiles, and take its first steps."""
    for workers in tqdm(made.values(), desc="warming up", unit="contestant"):
        together(workers, "advance", _WARM_UP)


def race(made: Crews, rounds: int, steps: int) -> list[Lap]:
    """In each round a lap of each with one worker, then with all; the others wait, and the first one changes."""
    names, sizes = list(made), [1, max(map(len, made.values()))]
    turns = tqdm(list(itertools.product(range(rounds), sizes, range(len(names)))), "laps", unit="lap")
    rotated = ((at, size, names[(at + place) % len(names)]) for at, size, place in turns)
    return [lap(at, name, made[name][:size], steps) for at, size, name in rotated]


def lap(number: int, name: str, workers: Sequence[Worker], steps: int) -> Lap:
    """One lap: all `workers` start at once, and it ends with the last of them."""
    turns: list[Turn] = together(workers, "advance", steps)
    seconds = max(turn.end for turn in turns) - min(turn.start for turn in turns)
    share = min(turn.cpu / (turn.end - turn.start) for turn in turns)
    return Lap(number, name, len(workers), steps, seconds, share)
