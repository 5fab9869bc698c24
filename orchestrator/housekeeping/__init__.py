"""The runs of a folder, seen from outside: their states, their logs, how to stop one, and what may be deleted."""
