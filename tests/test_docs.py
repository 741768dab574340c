"""Every public name is documented, and every example in the documentation gives what it says."""

import doctest
import importlib
import importlib.util
import inspect
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Of the extras `bench` and `pyro`.
NEEDS = {f"benchmarks.{name}_steps": name for name in ("pyro", "numpyro", "jax")} | {"condkl.pyro": "pyro"}
FOLDERS = [*sorted((ROOT / "src").glob("condkl*/")), ROOT / "benchmarks"]
FILES = [file.relative_to(folder.parent) for folder in FOLDERS for file in sorted(folder.rglob("*.py"))]
ALL = [".".join(file.with_suffix("").parts).removesuffix(".__init__") for file in FILES]
MODULES = [name for name in ALL if not (name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None)]


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
    assert {name.split(".")[0] for name in ALL} == {"condkl", "condkl_studies", "condkl_book", "benchmarks"}
    assert {"condkl.divergence", "condkl_studies.data.mnist", "condkl_book.ledger", "benchmarks.ours"} <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_give_what_they_say(name):
    module = importlib.import_module(name)
    assert module.__doc__
    assert doctest.testmod(module).failed == 0


def test_the_examples_are_not_silently_empty():
    finder = doctest.DocTestFinder()
    examples = {name: [t.name for t in finder.find(importlib.import_module(name)) if t.examples] for name in MODULES}
    for name in ("condkl.divergence", "condkl.objectives", "condkl.vae", "condkl_studies.config", "condkl_book.ledger"):
        assert examples[name]


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


def held(name):
    """What the annotations of a module say that its names give and hold."""
    things = [part for _, thing in offered(name) for part in documented(thing)]
    return " ".join(str(value) for thing in things for value in getattr(thing, "__annotations__", {}).values())


@pytest.mark.parametrize("name", [name for name in MODULES if re.fullmatch(r"condkl(\.[a-z]\w*)*", name)])
def test_every_public_name_of_the_library_has_an_example_or_comes_with_one_that_has(name):
    shown, given = with_example(name), held(name)
    assert [own for own, _ in offered(name) if own not in shown and not re.search(rf"\b{own}\b", given)] == []
