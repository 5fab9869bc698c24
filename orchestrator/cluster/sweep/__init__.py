"""Sweeps: what to train (`trials`, `agenda`), what is decided (`state`), where it runs (`tuning`), and all (`run`)."""
