"""The study of the paper's six research questions, and of baselines beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, TypeAdapter

from orchestrator.config.base import PluginSpec, plugin_of
from orchestrator.config.names import Label
from orchestrator.config.recipe import Recipe
from orchestrator.study._base import Seeds, Study
from orchestrator.study._paper.sweep import StudySweep, with_files
from orchestrator.study.students.config import StudentConfig

if TYPE_CHECKING:
    from orchestrator.pipeline.graph import Step


_Setup = plugin_of("models.setups")


def _paper_setups() -> dict[str, PluginSpec]:
    found: TypeAdapter[PluginSpec] = TypeAdapter(_Setup)
    return {name: found.validate_python(name) for name in ("ple", "jeet", "moe_ce")}


@dataclass(frozen=True)
class PaperStudy(Study):
    """Mixtures, baselines, forgetting and sweeps; everything with every seed, from one teacher and its caches.

    Attributes:
        seeds: Seeds of weights and batch order.
        setups: Mixtures to compare, by a name for each.
        baselines: Students to compare them with, by a name for each.
        forgetting: Measure what is forgotten: students and mixtures that learn the languages one after the other, all
            together, and a last language later (paper, section 4.7).
        sweeps: Comparisons of experts, by the question they answer (rq1, rq2, recipe). A sweep's file may stand for
            one: its name, or `file` beside fields that it changes.
    """

    seeds: Seeds = (1, 2, 3)
    setups: Annotated[dict[Label, _Setup], Field(min_length=1)] = field(  # type: ignore[valid-type]
        default_factory=_paper_setups
    )
    baselines: dict[Label, StudentConfig] = field(default_factory=dict)
    forgetting: bool = True
    sweeps: dict[Label, StudySweep] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if clash := sorted(set(self.setups) & set(self.baselines)):
            raise ValueError(f"{clash[0]} is the name of a setup and of a baseline")

    def steps(self, recipe: Recipe) -> tuple[Step, ...]:
        """See :class:`orchestrator.study.Study`."""
        from orchestrator.study._paper.steps import Builder, seed_steps, with_reports

        builder = Builder()
        for number, seed in enumerate(self.seeds):
            suffix = f"@{seed}" if number else ""
            seed_steps(
                builder, recipe, self.setups, self.baselines, self.sweeps, self.forgetting, seed=seed, suffix=suffix
            )
        return with_reports(builder, recipe, self.shown(recipe))

    @classmethod
    def read(cls, options: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        """See :class:`orchestrator.study.Study`."""
        return with_files(options, folder)
