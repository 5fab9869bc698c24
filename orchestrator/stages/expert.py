"""Stage: one language's expert, distilled from the teacher."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from orchestrator.config.recipe import ExpertsConfig
from orchestrator.environment import Environment
from orchestrator.stages.base import Cost, Expected, Stage
from orchestrator.stages.distilling import distilling_cost, objective
from orchestrator.stages.training import check_tokens, fingerprint, pretrained_files

if TYPE_CHECKING:
    from torch import nn


class ExpertStage(Stage):
    """Distils one expert: alpha · CE + beta · soft loss on its language (paper, equation 1).

    Reads `blocks` and `tokenizer`; `teacher` and `cache-<language>` where the recipe's distillation needs them.
    Writes `model/` (a Hugging Face folder with the tokenizer), `metrics.jsonl` and `training.json`.
    """

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

        check_tokens(self.experts.model, inputs["tokenizer"], env)
        blocks = TokenBlocks.open(inputs["blocks"], "train")

        def new_model() -> nn.Module:
            model: nn.Module = build_model(self.experts.model, blocks.vocab_size, blocks.context, self.seed)
            if self.experts.initialise == "teacher":
                initialise_from_teacher(model, load_model(inputs["teacher"] / "model"))
            return model

        task = Task(
            new_model=new_model,
            objective=objective(self.experts.distillation, inputs, blocks, (self.language,), env),
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
        return distilling_cost(self.experts, self.experts.training, inputs, expected, (self.language,))
