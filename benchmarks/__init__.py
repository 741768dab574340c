"""The training step against the same step in other hands: `python -m benchmarks`, or `make bench`."""
