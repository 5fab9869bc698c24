"""Sweeps: the steps of all trials as one plan (`steps`, `trials`), what results ask for (`agenda`), and all (`run`)."""
