"""How much of an expert is left when only a low-rank difference to a shared base is kept (FlexMoRE's question)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from orchestrator.config.recipe import Recipe
from orchestrator.study._base import Seeds, Study

if TYPE_CHECKING:
    from orchestrator.pipeline.graph import Step
    from orchestrator.study.students.student import StudentStage


@dataclass(frozen=True)
class LowRankStudy(Study):
    """A base learns all languages, and an expert of each language goes on from the base.

    Of what an expert changed, each weight matrix's difference to the base, the part of every rank is kept by singular
    value decomposition and measured.

    Attributes:
        ranks: Ranks of the difference to keep. The base and the whole expert are measured as well.
        seeds: Seeds of weights and batch order.
    """

    ranks: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (1, 4, 16, 64)
    seeds: Seeds = (1,)

    def __post_init__(self) -> None:
        if list(self.ranks) != sorted(set(self.ranks)):
            raise ValueError("ranks rise, each once")

    def steps(self, recipe: Recipe) -> tuple[Step, ...]:
        """See :class:`orchestrator.study.Study`."""
        from orchestrator.pipeline.graph import Step, main_line
        from orchestrator.stages.report import ReportStage
        from orchestrator.study._low_rank.report import LowRankReportStage

        main, shown = main_line(recipe), self.shown(recipe)
        own = [step for seed in self.seeds for step in self._of_seed(recipe, seed)]
        run = Step("main-report", ReportStage(recipe=shown), {step.name: step.name for step in main}, kind="report")
        stage = LowRankReportStage(recipe=shown, ranks=self.ranks, seeds=self.seeds)
        read = {step.name: step.name for step in (*own, run)}
        return (*main, *own, run, Step("report", stage, read, kind="study"))

    def _of_seed(self, recipe: Recipe, seed: int) -> Iterator[Step]:
        """The steps of one seed; their names are the roles of the report's inputs."""
        from orchestrator.pipeline.graph import Step, learning_inputs
        from orchestrator.study._low_rank.stage import LowRankStage

        languages, base = tuple(recipe.corpus.languages), f"base@{seed}"
        yield Step(base, _student(recipe, seed, *languages), learning_inputs(recipe, languages), kind="student")
        for language in languages:
            expert = f"from-base-{language}@{seed}"
            inputs = {**learning_inputs(recipe, [language]), "initial": base}
            yield Step(expert, _student(recipe, seed, language), inputs, kind="student")
            kept = LowRankStage(language=language, ranks=self.ranks, evaluation=recipe.evaluation)
            read = {"blocks": "blocks", "base": base, "expert": expert}
            yield Step(f"low-rank-{language}@{seed}", kept, read, kind="low-rank")


def _student(recipe: Recipe, seed: int, *languages: str) -> StudentStage:
    from orchestrator.study.students.config import StudentConfig
    from orchestrator.study.students.student import StudentStage

    return StudentStage(
        student=StudentConfig(), experts=recipe.experts, languages=languages, validated=languages, seed=seed
    )
