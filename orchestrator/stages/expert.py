"""Stage: one language's expert, distilled from the teacher."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from orchestrator.config.base import build
from orchestrator.config.recipe import ExpertsConfig
from orchestrator.stages._teaching import cache_identity, teacher_model
from orchestrator.stages._training import CODE, fingerprint, pretrained_files, training_cost, training_data
from orchestrator.stages.base import Cost, Environment, Expected, Stage

if TYPE_CHECKING:
    from torch import nn

    from orchestrator.tokens.blocks import TokenBlocks
    from orchestrator.training.objective import Objective


class ExpertStage(Stage):
    """Distils one expert: alpha · CE + beta · soft loss on its language (paper, equation 1).

    Reads `blocks` and `tokenizer`; `teacher` and `cache-<language>` where the recipe's distillation needs them.
    Writes `model/` (a Hugging Face folder with the tokenizer), `metrics.jsonl` and `training.json`.
    """

    code: ClassVar[tuple[str, ...]] = (*CODE, "stages.expert")
    distributed: ClassVar[bool] = True

    language: str
    """Language of the expert."""
    experts: ExpertsConfig
    """Model, training and distillation."""
    seed: int
    """Seed of weights, order and dropout."""

    def run(self, inputs: Mapping[str, Path], out: Path, env: Environment) -> None:
        """See :class:`orchestrator.stages.base.Stage`.

        Raises:
            ModelError: the model does not exist, or teacher and expert differ in vocabulary.
            ArtifactError: the cache is damaged, or of another teacher or other tokens.
            TrainingError: see :func:`orchestrator.training.loop.train`.
            ResourceError: no GPU, or no space.
        """
        from orchestrator.models import build_model, initialise_from_teacher, load_model
        from orchestrator.tokens.blocks import TokenBlocks
        from orchestrator.training.loop import Task, train
        from orchestrator.training.publish import publish

        blocks = TokenBlocks.open(inputs["blocks"], "train")

        def new_model() -> nn.Module:
            model: nn.Module = build_model(self.experts.model, blocks.vocab_size, blocks.context, self.seed)
            if self.experts.initialise == "teacher":
                initialise_from_teacher(model, load_model(inputs["teacher"] / "model"))
            return model

        task = Task(
            new_model=new_model,
            objective=self._objective(inputs, blocks, env),
            config=self.experts.training,
            train=blocks,
            validation=TokenBlocks.open(inputs["blocks"], "validation"),
            languages=(self.language,),
            seed=self.seed,
            fingerprint=fingerprint(self, inputs),
        )
        publish(task, train(task, env), inputs["tokenizer"], out, env)

    def external(self) -> Mapping[str, str]:
        """A pretrained model's files."""
        return pretrained_files(self.experts.model)

    def cost(self, inputs: Mapping[str, Path | None], expected: Expected) -> Cost:
        """FLOPs, tokens, parameters and memory."""
        from orchestrator.models import build_model, head

        size, distillation, blocks = 0, self.experts.distillation, inputs.get("blocks")
        if distillation.soft is not None:
            vocab_size, context, _ = training_data(blocks, expected, (self.language,))
            teacher = build_model(expected.teacher, vocab_size, context, 0, "meta")
            # With a cache at most the teacher's head is applied.
            size = head(teacher)[0].numel() if distillation.cached else sum(p.numel() for p in teacher.parameters())
        return training_cost(self.experts.model, self.experts.training, blocks, expected, (self.language,), size)

    def _objective(self, inputs: Mapping[str, Path], blocks: TokenBlocks, env: Environment) -> Objective:
        from orchestrator.teacher import Cache
        from orchestrator.training.device import device_of
        from orchestrator.training.objective import CrossEntropyObjective, DistillationObjective

        config = self.experts.distillation
        if config.soft is None:
            return CrossEntropyObjective()
        caches = {}
        if config.cached:
            identity = cache_identity(config.teacher, inputs["teacher"], blocks, self.language)
            caches = {blocks.languages.index(self.language): Cache(inputs[f"cache-{self.language}"], identity)}
        model = teacher_model(inputs["teacher"], device_of(env), blocks.vocab_size, caches)
        return DistillationObjective(
            soft=build("losses", config.soft),
            schedule=build("schedules", config.schedule),
            teacher=build("teacher", config.teacher).open(model),
            hidden=None if config.hidden is None else build("losses.hidden", config.hidden),
        )
