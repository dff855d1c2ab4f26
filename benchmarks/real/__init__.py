"""The evaluation on real engines: load, clocks at the client, tables. See `evaluate_real.py`."""
