"""Notebooks are Python files in the percent format: cells begin with `# %%`, text cells with `# %% [markdown]`.

A test runs the files. The site has each as a page and, to download, as a Jupyter notebook.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple


class Cell(NamedTuple):
    """A cell: `markdown` or `code`, and its text."""

    kind: str
    text: str


def cells(source: str) -> list[Cell]:
    """The cells of a file in the percent format."""
    parts = re.split(r"^# %%(.*)\n", source, flags=re.MULTILINE)[1:]
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return [
        Cell("markdown", re.sub(r"^# ?", "", body.strip(), flags=re.MULTILINE))
        if "[markdown]" in heading
        else Cell("code", body.strip())
        for heading, body in pairs
    ]


def notebook(source: str) -> str:
    """The same cells as a Jupyter notebook (format 4.5)."""
    found: list[dict[str, Any]] = []
    for number, cell in enumerate(cells(source)):
        about = {"cell_type": cell.kind, "id": f"cell-{number}", "metadata": {}, "source": cell.text.splitlines(True)}
        found.append(about | ({} if cell.kind == "markdown" else {"execution_count": None, "outputs": []}))
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": kernel, "cells": found}, indent=1) + "\n"


def page(source: str, name: str) -> str:
    """The same cells as a page."""
    first, *rest = [cell.text if cell.kind == "markdown" else f"```python\n{cell.text}\n```" for cell in cells(source)]
    title, _, below = first.partition("\n")
    return "\n\n".join([title, f"[As a Jupyter notebook]({name}.ipynb){{ download }}", below.strip(), *rest]) + "\n"


def pages(folder: Path) -> dict[str, str]:
    """A page and a notebook of each file in a folder, by their file names."""
    made: dict[str, str] = {}
    for file in sorted(folder.glob("*.py")):
        source = file.read_text(encoding="utf-8")
        made |= {f"{file.stem}.md": page(source, file.stem), f"{file.stem}.ipynb": notebook(source)}
    return made
