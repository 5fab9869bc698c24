"""The stages of an experiment, one file each: a frozen configuration that turns input artifacts into an output folder.

Stages know nothing of Ray, of each other, or of where they run.
"""
