"""The embedded corpus: 120 articles in three languages, a JSON Lines file each."""

from pathlib import Path

FOLDER = Path(__file__).parent
