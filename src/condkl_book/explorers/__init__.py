"""The numbers behind the book's interactive figures: every curve and picture at every position of every control.

The pages look them up. No formula is written twice, once here and once in a script.
"""

from collections.abc import Callable
from functools import partial
from importlib import import_module

from condkl_book.explorers.tables import Explorer


def _made(name: str) -> Explorer:
    found: Explorer = getattr(import_module(f"{__name__}.{name}"), name)()
    return found


# A chapter that uses the numbers of one reads no other, nor the records that some are made of.
_NAMES = ("density", "dial", "film", "flow", "playback", "tempering")
#: The explorers by name, functions that make them, each in the module of its name.
EXPLORERS: dict[str, Callable[[], Explorer]] = {name: partial(_made, name) for name in _NAMES}
