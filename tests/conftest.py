"""Settings of every test: one thread, no window, and the same examples at each run."""

import os

os.environ["MPLBACKEND"] = "Agg"

import torch
from hypothesis import settings

torch.set_num_threads(1)  # the tests run side by side
settings.register_profile("stable", deadline=None, derandomize=True, database=None, max_examples=40)
settings.load_profile("stable")
