"""Where commands print tables."""

from __future__ import annotations

import os
import sys

from rich.console import Console

_WIDE = 200


def table_console() -> Console:
    """A terminal's width; in a pipe or file, where rich takes 80 columns and cuts what is wider, room for any table."""
    free = not sys.stdout.isatty() and not os.environ.get("COLUMNS")
    return Console(width=_WIDE if free else None)
