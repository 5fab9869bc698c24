"""Sweeps without Ray.

`steps` and `trials` make one plan of all trials, `agenda` adds the trials that results ask for, `run` runs a sweep.
"""
