"""Every public name is documented, and every example in the documentation gives what it says."""

import doctest
import importlib
import importlib.util
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

import condkl

NEEDS = {f"benchmarks.{name}_steps": name for name in ("pyro", "numpyro", "jax")}  # of the extra `bench`
ALL = sorted(module.name for module in pkgutil.walk_packages(condkl.__path__, "condkl."))
MODULES = [name for name in ALL if not (name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None)]

WITHOUT_EXAMPLE = {
    "trains models, or needs processes of its own": (
        "live.first_window", "studies.schedule.run_all", "studies.schedule.run_study",
        "studies.schedule.local_processes", "studies.schedule.dask_workers", "studies.verify.replay_sample",
        "studies.verify.replay", "studies.verify.first_window", "bench.ours.Ours", "bench.workers.Worker",
        "bench.workers.serve", "bench.contest.crews", "bench.contest.together", "bench.contest.compare_losses",
        "bench.contest.warm_up", "bench.contest.race", "bench.contest.lap", "studies.engine.run",
        "studies.engine.initial_model", "studies.engine.trained",
    ),
    "comes out of one of those": (
        "studies.schedule.Outcome", "studies.verify.Replay", "studies.verify.Repeated", "studies.verify.Verification",
        "bench.workers.Turn", "studies.engine.RunResult",
    ),
    "reads or writes what is recorded, or says where on this machine": (
        "results.runs", "results.curves", "studies.cache.Cache", "studies.cache.cache_folder",
        "studies.store.runs_folder", "studies.store.write", "studies.store.read", "studies.store.read_study",
        "studies.store.read_folder", "studies.store.seals", "studies.verify.problems", "studies.verify.verified_file",
        "studies.verify.keep_verification", "studies.verify.last_verification", "studies.verify.commit",
    ),
    "a command line": ("studies.__main__.main", "bench.__main__.main", "bench.__main__.run"),
    "computes every position of a figure, which takes seconds": (
        "explorers.density.density", "explorers.flow.flow", "explorers.tempering.tempering",
    ),
    "a row of what `collect` gives": ("ledger.LedgerRow",),
    "a protocol": ("bench.contestants.Contestant",),
}  # fmt: skip


def public(module):
    """The functions and classes that a module defines, with the methods of the classes."""
    for name, thing in vars(module).items():
        if getattr(thing, "__module__", None) != module.__name__ or name.startswith("_"):
            continue
        if inspect.isfunction(thing) or inspect.isclass(thing):
            yield f"{module.__name__}.{name}", thing
        if inspect.isclass(thing):
            for method, f in vars(thing).items():
                if not method.startswith("_") and (inspect.isfunction(f) or isinstance(f, property)):
                    yield f"{module.__name__}.{name}.{method}", f


def test_all_modules_are_found():
    folder = Path(condkl.__file__).parent
    files = {".".join(path.relative_to(folder.parent).with_suffix("").parts) for path in folder.rglob("*.py")}
    assert {name.removesuffix(".__init__") for name in files} - {"condkl"} == set(ALL)
    assert {"condkl.divergence", "condkl_studies.store"} <= set(MODULES)


@pytest.mark.parametrize("name", ["condkl", *MODULES])
def test_the_examples_give_what_they_say(name):
    module = importlib.import_module(name)
    assert module.__doc__
    assert doctest.testmod(module).failed == 0


def test_the_examples_are_not_silently_empty():
    finder = doctest.DocTestFinder()
    examples = {name: [t.name for t in finder.find(importlib.import_module(name)) if t.examples] for name in MODULES}
    for name in ("divergence", "hierarchical", "ledger", "objective", "vae"):
        assert examples[f"condkl.{name}"]


@pytest.mark.parametrize("name", MODULES)
def test_every_public_name_has_a_docstring_of_its_own(name):
    bare = [where for where, thing in public(importlib.import_module(name)) if not (thing.__doc__ or "").strip()]
    assert bare == []
    generated = [where for where, thing in public(importlib.import_module(name)) if f"{where.split('.')[-1]}(" in
                 (thing.__doc__ or "").split("\n")[0]]  # fmt: skip
    assert generated == [], "dataclasses without a docstring get their signature"


def offered(name):
    """The functions, cached ones among them, and the classes of a module, but no errors."""
    for own, thing in vars(importlib.import_module(name)).items():
        error = inspect.isclass(thing) and issubclass(thing, Exception)
        if getattr(thing, "__module__", None) == name and not own.startswith("_") and callable(thing) and not error:
            yield own, thing


def documented(thing):
    """What has a docstring: the thing itself, and the methods of a class."""
    yield thing
    if inspect.isclass(thing):
        yield from (getattr(f, "fget", f) for f in vars(thing).values() if inspect.isfunction(f) or hasattr(f, "fget"))


def with_example(name):
    """The names that have an example in a module, are used in one, or are what a function with one returns."""
    module, names = importlib.import_module(name), set()
    for test in doctest.DocTestFinder().find(module):
        names.update(*(re.findall(r"\w+", example.source) for example in test.examples))
    for own, thing in offered(name):
        for part in documented(thing):
            if ">>>" in (part.__doc__ or ""):
                names |= {own, getattr(getattr(part, "__annotations__", {}).get("return"), "__name__", "")}
    return names


@pytest.mark.parametrize("name", [m for m in MODULES if not re.search(r"\._[a-z]|_steps$", m)])
def test_every_public_name_has_an_example_or_a_reason_to_have_none(name):
    shown = with_example(name)
    reasons = {f"condkl.{other}" for names in WITHOUT_EXAMPLE.values() for other in names}
    bare = {f"{name}.{own}" for own, _ in offered(name) if own not in shown}
    assert bare == {other for other in reasons if other.rpartition(".")[0] == name}
