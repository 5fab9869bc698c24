"""From a recipe to its steps, and each step's fingerprint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from orchestrator import plugins
from orchestrator.artifacts import code_digest, digest
from orchestrator.config.base import PluginSpec
from orchestrator.config.recipe import Recipe, TrainingConfig
from orchestrator.stages.base import Stage
from orchestrator.stages.blocks import BlocksStage
from orchestrator.stages.cache import CacheStage
from orchestrator.stages.corpus import CorpusStage
from orchestrator.stages.evaluation import EvaluationStage
from orchestrator.stages.expert import ExpertStage
from orchestrator.stages.report import ReportStage
from orchestrator.stages.router import RouterStage
from orchestrator.stages.teacher import TeacherStage
from orchestrator.stages.tokenizer import TokenizerStage
from orchestrator.stages.tokens import TokensStage


@dataclass(frozen=True)
class Step:
    """A stage in the graph.

    Attributes:
        name: of the step. stage: its configuration. inputs: which step fills each input (role -> step name).
        alone: no other training runs beside this one, so it may use the CPUs of every slot.
    """

    name: str
    stage: Stage
    inputs: Mapping[str, str] = field(default_factory=dict)
    alone: bool = False


def steps_of(recipe: Recipe) -> tuple[Step, ...]:
    """The steps of an experiment in an order in which each comes after its inputs."""
    languages, seed = tuple(recipe.corpus.languages), recipe.seed
    experts = [f"expert-{language}" for language in languages]
    teacher_seed, expert_seed = (_seed(part.training, seed) for part in (recipe.teacher, recipe.experts))
    data = {"blocks": "blocks", "tokenizer": "tokenizer"}
    trained = {**data, "teacher": "teacher"}
    distillation = recipe.experts.distillation
    caches = {language: f"cache-{language}" for language in languages if distillation.cached}
    steps = [
        Step("corpus", CorpusStage(corpus=recipe.corpus, seed=seed)),
        Step(
            "tokenizer",
            TokenizerStage(tokenizer=recipe.tokenizer, languages=languages, seed=seed),
            {"corpus": "corpus"},
        ),
        Step("tokens", TokensStage(languages=languages), {"corpus": "corpus", "tokenizer": "tokenizer"}),
        Step("blocks", BlocksStage(blocks=recipe.blocks, languages=languages, seed=seed), {"tokens": "tokens"}),
        Step("teacher", TeacherStage(teacher=recipe.teacher, seed=teacher_seed), data, alone=True),
        *(
            Step(
                name,
                CacheStage(
                    language=language,
                    teacher=distillation.teacher,
                    precision=recipe.experts.training.precision,
                    seed=seed,
                ),
                {"blocks": "blocks", "teacher": "teacher"},
            )
            for language, name in caches.items()
        ),
        *(
            Step(
                name,
                ExpertStage(language=language, experts=recipe.experts, seed=expert_seed),
                {
                    **(trained if recipe.experts.needs_teacher else data),
                    **({caches[language]: caches[language]} if caches else {}),
                },
            )
            for name, language in zip(experts, languages, strict=True)
        ),
        Step("router", RouterStage(router=recipe.router, languages=languages, seed=seed), data),
        Step(
            "evaluation",
            EvaluationStage(evaluation=recipe.evaluation, languages=languages, seed=seed),
            {**trained, "router": "router", **{name: name for name in experts}},
            alone=True,
        ),
    ]
    shown = recipe.model_dump(mode="json", exclude={"resources", "tracking"})
    steps.append(Step("report", ReportStage(recipe=shown), {step.name: step.name for step in steps}))
    return tuple(steps)


def _seed(training: TrainingConfig, default: int) -> int:
    return default if training.seed is None else training.seed


def fingerprints(steps: Sequence[Step], given: Mapping[str, str] | None = None) -> dict[str, str]:
    """Step name -> SHA-256 of the stage, its configuration, its code, what it reads from outside, and its inputs.

    Args:
        steps: each after its inputs. given: fingerprints of the inputs that are no step of these.

    Raises:
        MomeError: something that a stage reads from outside (a source, a pretrained model) is missing.
    """
    known = dict(given or {})
    for step in steps:
        known[step.name] = digest(
            {
                "stage": type(step.stage).__name__,
                "config": step.stage.model_dump(mode="json"),
                "code": code_digest(code_of(step.stage)),
                "external": step.stage.external(),
                "inputs": {role: known[name] for role, name in step.inputs.items()},
            }
        )
    return known


def code_of(stage: Stage) -> tuple[str, ...]:
    """Modules whose source a stage's result depends on: those it declares and its plug-ins'."""
    modules = {f"orchestrator.{name}" for name in stage.code} | {type(stage).__module__}
    for spec in _plugins_in(stage):
        modules.update(plugins.sources_of(plugins.find(spec.room, spec.type)))
    return tuple(sorted(modules))


def _plugins_in(value: Any) -> Iterator[PluginSpec]:
    """Every plug-in specification in a section, a mapping or a sequence, at any depth."""
    if isinstance(value, PluginSpec):
        yield value
    elif isinstance(value, BaseModel):
        for _, item in value:
            yield from _plugins_in(item)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _plugins_in(item)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _plugins_in(item)
