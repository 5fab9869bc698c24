"""What the stages that distil students share: the objective, what it costs, which inputs it needs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.config.base import PluginSpec, build
from orchestrator.config.recipe import DistillationConfig, ExpertsConfig, TrainingConfig
from orchestrator.environment import Environment
from orchestrator.stages._kept import expected_rows
from orchestrator.stages._memory import check_room
from orchestrator.stages._teaching import cache_identity, teacher_model
from orchestrator.stages.base import Cost, Expected
from orchestrator.stages.training import training_cost, training_data

if TYPE_CHECKING:
    from orchestrator.tokens.blocks import TokenBlocks
    from orchestrator.training.objective import Objective


def objective(
    config: DistillationConfig,
    inputs: Mapping[str, Path],
    blocks: TokenBlocks,
    languages: tuple[str, ...],
    env: Environment,
) -> Objective:
    """The loss alpha · CE + beta · soft on some languages, with the teacher or its caches among `inputs`.

    Raises:
        ModelError: teacher and students differ in vocabulary. ArtifactError: a cache is damaged, or another's.
    """
    from orchestrator.losses import Positions
    from orchestrator.teacher import Cache
    from orchestrator.training.device import device_of
    from orchestrator.training.objective import CrossEntropyObjective, DistillationObjective

    if config.soft is None:
        return CrossEntropyObjective()
    caches = {}
    for language in languages if config.cached else ():
        identity = cache_identity(config.teacher, inputs["teacher"], blocks, language)
        caches[blocks.languages.index(language)] = Cache(inputs[f"cache-{language}"], identity)
    model = teacher_model(inputs["teacher"], device_of(env), blocks, caches)
    return DistillationObjective(
        soft=build("losses", config.soft),
        schedule=build("schedules", config.schedule),
        teacher=build("teacher", config.teacher).open(model),
        hidden=None if config.hidden is None else build("losses.hidden", config.hidden),
        positions=Positions(config.positions, config.chosen == "entropy"),
    )


def for_languages(
    training: TrainingConfig, count: int, tokens: int | None = None, *, batches: bool = False
) -> TrainingConfig:
    """An expert's training, for one that learns `count` languages at once with as many tokens of each.

    Args:
        training: of an expert.
        count: languages.
        tokens: in all; None: an expert's, times the languages.
        batches: batches grow by the languages and the number of steps stays; otherwise it is the other way round.
    """
    if tokens is None and training.tokens is not None:
        tokens = training.tokens * count
    changes: dict[str, object] = {"tokens": tokens}
    if count > 1 and training.sampling == "mixed":
        changes["sampling"] = "balanced"
    if batches:
        changes["batch_tokens"] = training.batch_tokens * count
    else:  # evaluated and saved equally often in a run of more steps
        changes |= {name: getattr(training, name) * count for name in ("eval_every", "checkpoint_every")}
    return training.model_copy(update=changes)


def check_first_weights(experts: ExpertsConfig, expected: Expected) -> None:
    """Make sure that experts can begin as the recipe says, before hours go into their teacher.

    Raises:
        ModelError: they do not fit the teacher.
    """
    from orchestrator.models import check_beginning

    if experts.initialise == "teacher":
        check_beginning(experts.model, expected.teacher, expected.vocab_size, expected.context)


def _check_teacher(experts: ExpertsConfig, expected: Expected) -> None:
    """Refuse what needs more of a teacher in memory than this machine has."""
    check = partial(check_room, expected, expected.teacher, expected.teacher_rows)
    if experts.distillation.soft is not None and not experts.distillation.cached:
        fix = "write a cache of what it says: experts.distillation.teacher=hidden_cache"
        check("a live teacher", "experts.distillation.teacher", fix)
    if experts.initialise == "teacher":
        fix = "experts.initialise=random, or a smaller pretrained model as experts.model"
        check("to begin with the teacher's weights", "experts.initialise", fix)


def distilling_cost(
    experts: ExpertsConfig,
    training: TrainingConfig,
    inputs: Mapping[str, Path | None],
    expected: Expected,
    languages: tuple[str, ...],
    model: PluginSpec | None = None,
) -> Cost:
    """FLOPs, tokens, parameters and memory of a student of some languages.

    Raises:
        ModelError, TrainingError, ArtifactError: see :func:`orchestrator.stages.training.training_cost`.
    """
    from orchestrator.models import counts
    from orchestrator.models.vocabulary import check_vocabulary

    size, distillation, blocks = 0, experts.distillation, inputs.get("blocks")
    _check_teacher(experts, expected)
    vocab_size, context, _ = training_data(blocks, expected, languages)
    rows = max(expected_rows(inputs, language, vocab_size, expected) for language in languages)
    if distillation.soft is not None:
        # Of a cache at most the head is applied, to the student's tokens.
        teacher = counts(expected.teacher, expected.teacher_vocab_size or vocab_size, context)
        size = (
            teacher.head * (vocab_size if expected.teacher_vocab_size else rows) // vocab_size
            if distillation.cached
            else teacher.parameters
        )
    cost = training_cost(model or experts.model, training, blocks, expected, languages, size, rows)
    check_vocabulary(model or experts.model, inputs.get("tokenizer") or expected.tokenizer)
    return cost
