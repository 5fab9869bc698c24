"""Sweeps: what to train (`trials`, `agenda`), what was decided (`state`), where it runs (`tuning`); all of it: `run`."""
