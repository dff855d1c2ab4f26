"""Fitting engine models to measurements: `benchmarks/calibrate.py` is the command."""
