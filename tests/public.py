"""What the packages and the benchmark offer."""

import importlib
import pkgutil
import re
from importlib.util import find_spec

PACKAGES = ("condkl", "condkl_studies", "condkl_book", "benchmarks")
# Private modules, and those that import what only the extra `bench` installs.
HIDDEN = re.compile(r"\._[a-z]|\.\w+_steps$")


def modules():
    """The names of the public modules, without those whose extra is not installed."""
    yield from (name for name in _found() if name != "condkl.pyro" or find_spec("pyro"))


def _found():
    for package in PACKAGES:
        below = pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}.", onerror=lambda _: None)
        yield from (name for name in (package, *(module.name for module in below)) if not HIDDEN.search(name))


def offered(name):
    """The functions, cached ones among them, and the classes that a module defines."""
    for own, thing in vars(importlib.import_module(name)).items():
        if hasattr(thing, "__qualname__") and thing.__module__ == name and not own.startswith("_"):
            yield own, thing


PUBLIC = sorted(modules())
