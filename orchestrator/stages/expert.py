"""Stage: one language's expert, distilled from the teacher."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from orchestrator.config.base import build
from orchestrator.config.recipe import ExpertsConfig
from orchestrator.stages._training import CODE, fingerprint, pretrained_files, training_cost
from orchestrator.stages.base import Cost, Environment, Expected, Stage

if TYPE_CHECKING:
    from orchestrator.training.objective import DistillationObjective


class ExpertStage(Stage):
    """Distils one expert: alpha · CE + beta · soft loss on its language (paper, equation 1).

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
            TrainingError: see :func:`orchestrator.training.loop.train`.
            ResourceError: no GPU, or no space.
        """
        from orchestrator.models import build_model
        from orchestrator.tokens.blocks import TokenBlocks
        from orchestrator.training.loop import Task, train
        from orchestrator.training.publish import publish

        blocks = TokenBlocks.open(inputs["blocks"], "train")
        task = Task(
            new_model=lambda: build_model(self.experts.model, blocks.vocab_size, blocks.context, self.seed),
            objective=self._objective(inputs["teacher"], blocks.vocab_size, env),
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
        from orchestrator.models import parameter_count
        from orchestrator.tokens.storage import read_json

        teacher = inputs.get("teacher")
        if teacher is not None:
            size = int(read_json(teacher / "training.json", "teacher")["parameters"])
        else:
            size = parameter_count(expected.teacher, expected.vocab_size, expected.context)
        blocks = inputs.get("blocks")
        return training_cost(self.experts.model, self.experts.training, blocks, expected, (self.language,), size)

    def _objective(self, teacher: Path, vocab_size: int, env: Environment) -> DistillationObjective:
        from orchestrator.models import head, hidden_states, load_model
        from orchestrator.training.device import device_of
        from orchestrator.training.objective import DistillationObjective

        config = self.experts.distillation
        model = load_model(teacher / "model", device_of(env))
        return DistillationObjective(
            soft=build("losses", config.soft),
            schedule=build("schedules", config.schedule),
            teacher=build("teacher", config.teacher).open(model, hidden_states, head, vocab_size),
        )
