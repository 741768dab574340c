"""Every public name is documented, and every example in the documentation gives what it says."""

import doctest
import importlib
import importlib.util
import inspect
import pkgutil
from pathlib import Path

import pytest

import condkl

NEEDS = {f"condkl.bench.{name}_steps": name for name in ("pyro", "numpyro", "jax")}  # of the extra `bench`
ALL = sorted(module.name for module in pkgutil.walk_packages(condkl.__path__, "condkl."))
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
    folder = Path(condkl.__file__).parent
    files = {".".join(path.relative_to(folder.parent).with_suffix("").parts) for path in folder.rglob("*.py")}
    assert {name.removesuffix(".__init__") for name in files} - {"condkl"} == set(ALL)
    assert {"condkl.divergence", "condkl.studies.store"} <= set(MODULES)


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
