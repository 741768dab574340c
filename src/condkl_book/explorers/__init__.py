"""The numbers behind the book's three interactive figures: every curve at every position of every control.

The pages look them up. No formula is written twice, once here and once in a script.
"""

from condkl_book.explorers.density import density
from condkl_book.explorers.flow import flow
from condkl_book.explorers.tempering import tempering

#: The explorers by name.
EXPLORERS = {"density": density, "flow": flow, "tempering": tempering}
