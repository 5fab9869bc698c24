"""The paper study's sweeps: comparisons of experts that are part of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from orchestrator.config.base import Section
from orchestrator.config.loading import read_yaml


class StudySweep(Section):
    """Configurations of experts that are compared with each other: a sweep's, by the names of its fields."""

    overrides: dict[str, Any] = Field(default_factory=dict)
    """Changes that all trials share: dotted recipe field -> value."""
    configurations: dict[str, dict[str, Any]] = Field(min_length=2)
    """Changes by the name of the configuration; the first is what the others are compared with."""
    description: str = ""
    """What it asks."""
    languages: tuple[str, ...] = ()
    """Experts trained in each trial; none: the recipe's first language."""
    references: tuple[dict[str, Any], ...] = ()
    """The paper's numbers."""


def with_files(options: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The study's options with the sweeps that are named by their files, relative to `folder`.

    Raises:
        RecipeError: see :func:`orchestrator.config.loading.read_yaml`.
    """
    named = options.get("sweeps")
    if not isinstance(named, Mapping):
        return dict(options)
    known = StudySweep.model_fields
    sweeps = dict(named)
    for name, sweep in named.items():
        given = {"file": sweep} if isinstance(sweep, str) else sweep
        if isinstance(given, Mapping) and "file" in given:
            file, own = folder / str(given["file"]), {k: v for k, v in given.items() if k != "file"}
            sweeps[name] = {**{key: value for key, value in read_yaml(file)[0].items() if key in known}, **own}
    return {**options, "sweeps": sweeps}
