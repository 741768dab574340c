"""Runs of a second on made-up images, and what the tests do in other processes.

A process that imports this module knows the data sets in `made/data`.
"""

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

from safetensors.torch import load_file

from condkl_studies import RunConfig, data, engine, store
from condkl_studies.cache import Cache
from condkl_studies.plans import Study

MADE = Path(__file__).with_name("made")
data.__path__.append(str(MADE / "data"))
PIXELS, SIZES = (getattr(data.module("tiny"), name) for name in ("PIXELS", "SIZES"))

TINY = RunConfig(
    "full",
    skip=False,
    seed=0,
    steps=6,
    data="tiny",
    latents=(2, 3),
    hidden=(8, 8),
    batch_size=20,
    schedule="cosine",
    every=2,
    gradient_batches=1,
    validate_every=2,
    likelihood_images=4,
    likelihood_samples=10,
)
# Long enough to be killed, with a state after each step; the epoch, 10 steps, ends within it.
LONG = replace(TINY, steps=200, every=1, gradient_batches=0, validate_every=50)
COUNTING = replace(  # another kind of model
    TINY,
    model="counting",
    data="counted",
    latents=(2,),
    hidden=(6, 5),
    batch_size=10,
    scale_prior=0.3,
    gradient_batches=0,
    likelihood_images=3,
)
LONG_COUNTING = replace(COUNTING, pictures=20, steps=100, every=1, validate_every=50)
STUDY = [replace(TINY, objective=name, seed=seed) for seed in range(3) for name in ("full", "modified")]
TWO = [replace(TINY, steps=40, seed=seed) for seed in (10, 11)]
DIVERGING = replace(TINY, learning_rate=1e10)


def plan(*configs):
    """A study of these runs."""
    return Study("Made for a test.", configs)


def paused(windows, seconds):
    """`windows` with a pause after each, so that a test has the time to step in; the numbers stay as they are."""

    def generator(*args):
        for state in windows(*args):
            yield state
            time.sleep(seconds)

    return generator


if "TINY_PAUSE" in os.environ:
    engine.windows = paused(engine.windows, float(os.environ["TINY_PAUSE"]))


def step(cache, config):
    """The step of the saved state of a run; 0 if there is none."""
    said = Cache(Path(cache) / config.id).peek()
    return said["step"] if said else 0


def left(cache, config):
    """What a run leaves in its cache: its record and the bytes of its weights and Adam's moments."""
    said, tensors = Cache(cache / config.id).peek(), load_file(cache / config.id / "state.safetensors")
    return said["step"], said["rows"], {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def same(one, other):
    """Whether two results have the same config, and the same metrics and samples to the last bit."""
    return (one.config, *numbers(one)) == (other.config, *numbers(other))


def numbers(result):
    return store.metrics_csv(result.metrics), {name: array.tobytes() for name, array in result.samples.items()}


def die_at(method, call, half=False):
    """Make this process kill itself at that call of a method of Path; `half` has it write half of the bytes before."""
    done, calls = getattr(Path, method), iter(range(1, 1000))

    def dying(self, *args):
        if next(calls) == call:
            if half:
                done(self, args[0][: len(args[0]) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return done(self, *args)

    setattr(Path, method, dying)


def train(config, cache, *death):
    """A run in a process of its own, with its death if one is given."""
    if death:
        die_at(*death)
    engine.fit_run(config, cache)


def killed_by_itself(config, cache, compiled):
    train(config, cache, "replace", 2)


def write_and_die(data, result, study, *death):
    os.environ["CONDKL_DATA"] = str(data)  # the server that forks has the environment of its start
    die_at(*death)
    store.write(study, result)


def hold(config, cache, held):
    """Keep a run to this process until it is killed."""
    with Cache(cache / config.id).held():
        held.set()
        time.sleep(600)
