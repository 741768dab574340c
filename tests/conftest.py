"""Settings of every test: one thread, no window, the same examples at each run; and a way to the book's extensions."""

import importlib
import os
from pathlib import Path

os.environ["MPLBACKEND"] = "Agg"
# The processor's flags are believed: on a new machine the compiler's own trials of them take 12 seconds.
os.environ.setdefault("TORCHINDUCTOR_VEC_ISA_OK", "1")

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)  # the tests run side by side
settings.register_profile("stable", deadline=None, derandomize=True, database=None, max_examples=40)
settings.load_profile("stable")


@pytest.fixture
def extension(monkeypatch):
    """Return a function that imports a Sphinx extension of the book by its name."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "book" / "_ext")
    return importlib.import_module
