"""The modules of a package by their names: a new one is a new file, and changes nothing that exists."""

import pkgutil
import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType


def names(package: str) -> list[str]:
    """The names of the public modules of an imported package."""
    return [one.name for one in pkgutil.iter_modules(sys.modules[package].__path__) if not one.name.startswith("_")]


def module(package: str, name: str) -> ModuleType | None:
    """The module of that name, or None. It is looked for alone: no other module is listed or loaded."""
    public = name.isidentifier() and not name.startswith("_")
    return import_module(f"{package}.{name}") if public and find_spec(f"{package}.{name}") else None
