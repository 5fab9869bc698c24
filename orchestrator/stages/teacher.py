"""Stage: the multilingual teacher."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from orchestrator.config.base import build
from orchestrator.config.recipe import TeacherConfig
from orchestrator.environment import Environment
from orchestrator.stages._memory import check_room
from orchestrator.stages.base import Cost, Expected, Stage
from orchestrator.stages.training import check_tokens, fingerprint, pretrained_files, training_cost, training_data
from orchestrator.tokens.tokenizer import load_tokenizer, vocabulary_size

if TYPE_CHECKING:
    from orchestrator.tokens.blocks import TokenBlocks


class TeacherStage(Stage):
    """Trains the teacher on all languages with cross-entropy, or takes a pretrained one as it is.

    Writes `model/` (a Hugging Face folder with the tokenizer), `metrics.jsonl` and `training.json`.
    """

    distributed: ClassVar[bool] = True

    teacher: TeacherConfig
    """Model and training."""
    seed: int
    """Seed of weights, order and dropout."""
    own_tokenizer: bool = False
    """The tokenizer is the teacher's own, and the blocks are in the tokens of another one."""

    def run(self, inputs: Mapping[str, Path], out: Path, env: Environment) -> None:
        """See :class:`orchestrator.stages.base.Stage`.

        Raises:
            ModelError: the model does not exist, or a pretrained one has another vocabulary.
            TrainingError: see :func:`orchestrator.training.loop.train`.
            ResourceError: no GPU, no space, or a pretrained model can't be fetched.
        """
        from orchestrator.models import build_model
        from orchestrator.tokens.blocks import TokenBlocks
        from orchestrator.training.loop import Task, train
        from orchestrator.training.objective import CrossEntropyObjective
        from orchestrator.training.publish import publish

        blocks = TokenBlocks.open(inputs["blocks"], "train")
        check_tokens(self.teacher.model, inputs["tokenizer"], env)
        if not self.teacher.train:
            self._take(inputs["tokenizer"], blocks, out, env)
            return
        task = Task(
            new_model=lambda: build_model(self.teacher.model, blocks.vocab_size, blocks.context, self.seed),
            objective=CrossEntropyObjective(),
            config=self.teacher.training,
            train=blocks,
            validation=TokenBlocks.open(inputs["blocks"], "validation"),
            languages=blocks.languages,
            seed=self.seed,
            fingerprint=fingerprint(self, inputs),
        )
        publish(task, train(task, env), inputs["tokenizer"], out, env)

    def external(self) -> Mapping[str, str]:
        """A pretrained model's files."""
        return pretrained_files(self.teacher.model)

    def cost(self, inputs: Mapping[str, Path | None], expected: Expected) -> Cost:
        """FLOPs, tokens, parameters and memory.

        Raises:
            ModelError: a pretrained model has another vocabulary. See also :func:`training_cost`.
        """
        from orchestrator.models import parameter_count
        from orchestrator.models.vocabulary import check_vocabulary

        blocks = inputs.get("blocks")
        self._check_room(expected)
        if self.teacher.train:
            cost = training_cost(self.teacher.model, self.teacher.training, blocks, expected)
        else:
            vocab_size, context, _ = training_data(blocks, expected, None)
            rows = expected.teacher_vocab_size or vocab_size
            cost = Cost(parameters=parameter_count(self.teacher.model, rows, context))
        own = expected.teacher_tokenizer or expected.tokenizer
        check_vocabulary(self.teacher.model, inputs.get("tokenizer") or own)
        return cost

    def _check_room(self, expected: Expected) -> None:
        """Refuse what needs all of a pretrained teacher in memory where it is larger."""
        model = self.teacher.model
        check = partial(check_room, expected, model, expected.teacher_rows)
        if self.teacher.train:
            check("to train the teacher", "teacher.train", "take it as it is: teacher.train=false")
        elif not getattr(build("models.zoo", model), "is_plain", True):
            fix = "write it as a folder of safetensors on a machine that has more, and name that"
            check("to take a GGUF file or an adapter", "teacher.model", fix)

    def _take(self, tokenizer: Path, blocks: TokenBlocks, out: Path, env: Environment) -> None:
        """Publish a pretrained model untrained; rank 0 only."""
        from orchestrator.models import take_model
        from orchestrator.training.publish import write_model

        if env.rank == 0:
            size = vocabulary_size(load_tokenizer(tokenizer)) if self.own_tokenizer else blocks.vocab_size
            model = take_model(self.teacher.model, size, blocks.context)
            write_model(model, tokenizer, out, {"steps": 0, "tokens": 0, "seconds": 0.0, "world_size": env.world_size})
            (out / "metrics.jsonl").touch()
