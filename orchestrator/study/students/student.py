"""Stage: one dense student of several languages, or what baselines make of the experts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from orchestrator.config.base import build
from orchestrator.config.recipe import ExpertsConfig, TrainingConfig
from orchestrator.environment import Environment
from orchestrator.stages.base import Cost, Expected, Stage
from orchestrator.stages.distilling import distilling_cost, for_languages, objective
from orchestrator.stages.training import check_tokens, fingerprint, pretrained_files
from orchestrator.study.students.config import StudentConfig

if TYPE_CHECKING:
    from torch import nn


class StudentStage(Stage):
    """Distils one model on some languages, with as many tokens as their experts together.

    Batches are an expert's, so there are as many times more steps; a batch holds equally many blocks of each language.

    Reads `blocks` and `tokenizer`; `teacher` and `cache-<language>` where the distillation needs them;
    `expert-<language>` where it begins from experts; `initial`, a student to go on from. Writes `model/`,
    `metrics.jsonl` and `training.json`.
    """

    version: ClassVar[int] = 2  # the soft loss of a recipe that names none is forward KL
    distributed: ClassVar[bool] = True

    student: StudentConfig
    """Model, beginning, tokens."""
    experts: ExpertsConfig
    """Training and distillation, and the model where the student has none of its own."""
    languages: tuple[str, ...]
    """Languages learned."""
    validated: tuple[str, ...]
    """Languages validated along the way."""
    seed: int
    """Seed of weights, order and dropout."""

    def run(self, inputs: Mapping[str, Path], out: Path, env: Environment) -> None:
        """See :class:`orchestrator.stages.base.Stage`.

        Raises:
            ModelError: models don't fit together. ArtifactError: an input is damaged.
            TrainingError: see :func:`orchestrator.training.loop.train`. ResourceError: no GPU, or no space.
        """
        from orchestrator.tokens.blocks import TokenBlocks
        from orchestrator.training.loop import Task, train
        from orchestrator.training.publish import publish

        check_tokens(self.student.model or self.experts.model, inputs["tokenizer"], env)
        blocks = TokenBlocks.open(inputs["blocks"], "train")
        task = Task(
            new_model=lambda: self._model(inputs, blocks.vocab_size, blocks.context),
            objective=objective(self.experts.distillation, inputs, blocks, self.languages, env),
            config=self._training(),
            train=blocks,
            validation=TokenBlocks.open(inputs["blocks"], "validation"),
            languages=self.languages,
            seed=self.seed,
            fingerprint=fingerprint(self, inputs),
            validated=self.validated,
        )
        publish(task, train(task, env), inputs["tokenizer"], out, env)

    def external(self) -> Mapping[str, str]:
        """A pretrained model's files."""
        return pretrained_files(self.student.model or self.experts.model)

    def cost(self, inputs: Mapping[str, Path | None], expected: Expected) -> Cost:
        """FLOPs, tokens, parameters and memory."""
        model = self.student.model
        return distilling_cost(self.experts, self._training(), inputs, expected, self.languages, model)

    def _training(self) -> TrainingConfig:
        return for_languages(self.experts.training, len(self.languages), self.student.tokens)

    def _model(self, inputs: Mapping[str, Path], vocab_size: int, context: int) -> nn.Module:
        model = self._beginning(inputs, vocab_size, context)
        if self.student.trainable == "token_router":
            from orchestrator.models.moe import MoELayer

            model.requires_grad_(False)
            for layer in (module for module in model.modules() if isinstance(module, MoELayer)):
                layer.router.requires_grad_(True)
        return model

    def _beginning(self, inputs: Mapping[str, Path], vocab_size: int, context: int) -> nn.Module:
        from orchestrator.models import build_model, initialise_from_teacher, load_model
        from orchestrator.models.merge import average_weights, branch_train_mix

        model: nn.Module
        if "initial" in inputs:
            model = load_model(inputs["initial"] / "model")
            return model
        experts = [load_model(folder / "model") for role, folder in inputs.items() if role.startswith("expert-")]
        if self.student.initialise == "average":
            return average_weights(experts)
        if self.student.initialise == "branch_train_mix" and self.student.model is not None:
            moe = build("models.zoo", self.student.model)
            return branch_train_mix(experts, moe.top, moe.balance, self.seed)
        model = build_model(self.student.model or self.experts.model, vocab_size, context, self.seed)
        if self.experts.initialise == "teacher" and self.student.model is None:
            initialise_from_teacher(model, load_model(inputs["teacher"] / "model"))
        return model
