"""The training step against the same step in other hands: `python -m condkl.bench`, or `make bench`."""
