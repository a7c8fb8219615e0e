"""Benchmarks, as ratios to peers measured in the same run. `python -m bench` runs all; see docs/benchmarks.md."""
