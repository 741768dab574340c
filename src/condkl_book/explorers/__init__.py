"""The numbers behind the book's three interactive figures: every curve at every position of every control.

The pages look them up. No formula is written twice, once here and once in a script.
"""

from collections.abc import Callable

from condkl_book.explorers.density import density
from condkl_book.explorers.flow import flow
from condkl_book.explorers.tables import Explorer
from condkl_book.explorers.tempering import tempering

#: The explorers by name.
EXPLORERS: dict[str, Callable[[], Explorer]] = {"density": density, "flow": flow, "tempering": tempering}
