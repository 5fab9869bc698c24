"""Names of the languages that the router knows: a table for natural languages, and one for kinds of code."""

from pathlib import Path

FOLDER = Path(__file__).parent
