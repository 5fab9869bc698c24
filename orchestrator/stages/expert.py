"""Stage: one language's expert, distilled from the teacher."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from orchestrator.config.recipe import ExpertsConfig
from orchestrator.environment import Environment
from orchestrator.stages._kept import kept_tokens, open_blocks
from orchestrator.stages.base import Cost, Expected, Stage
from orchestrator.stages.distilling import check_first_weights, distilling_cost, objective
from orchestrator.stages.training import check_tokens, fingerprint, pretrained_files
from orchestrator.tokens.kept import Kept, copy_vocabulary

if TYPE_CHECKING:
    from torch import nn

    from orchestrator.tokens.blocks import TokenBlocks


class ExpertStage(Stage):
    """Distils one expert: alpha · CE + beta · soft loss on its language (paper, equation 1).

    Reads `blocks` and `tokenizer`; `teacher` and `cache-<language>` where the recipe's distillation needs them;
    `vocabulary-<language>` where the expert has some of the tokens: those that it lacks are one more in training, which
    is cut off in the end.
    Writes `model/` (a Hugging Face folder with the tokenizer), `metrics.jsonl` and `training.json`.
    """

    version: ClassVar[int] = 2  # the soft loss of a recipe that names none is forward KL
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
        from orchestrator.training.loop import Task, train
        from orchestrator.training.publish import publish, save_one

        check_tokens(self.experts.model, inputs["tokenizer"], env)
        blocks, vocabulary = open_blocks(inputs, "train", self.language), inputs.get(f"vocabulary-{self.language}")
        task = Task(
            new_model=partial(self._model, inputs, blocks),
            objective=objective(self.experts.distillation, inputs, blocks, (self.language,), env),
            config=self.experts.training,
            train=blocks,
            validation=open_blocks(inputs, "validation", self.language),
            languages=(self.language,),
            seed=self.seed,
            fingerprint=fingerprint(self, inputs),
        )
        tokenizer = inputs["tokenizer"] if vocabulary is None else vocabulary / "tokenizer"
        save = save_one if vocabulary is None else partial(self._save_cut, vocabulary, blocks.context)
        publish(task, train(task, env), tokenizer, out, env, save)

    def external(self) -> Mapping[str, str]:
        """A pretrained model's files."""
        return pretrained_files(self.experts.model)

    def cost(self, inputs: Mapping[str, Path | None], expected: Expected) -> Cost:
        """FLOPs, tokens, parameters and memory."""
        check_first_weights(self.experts, expected)
        return distilling_cost(self.experts, self.experts.training, inputs, expected, (self.language,))

    def _model(self, inputs: Mapping[str, Path], blocks: TokenBlocks) -> nn.Module:
        """The expert before its training."""
        from orchestrator.models import build_model, initialise_from_teacher, keep_rows, load_model

        # What a pretrained model knows of its tokens is in its rows: the others are cut off.
        kept = kept_tokens(blocks)
        pretrained = kept is not None and self.experts.model.type == "pretrained"
        size = kept.size if kept is not None and pretrained else blocks.vocab_size
        model: nn.Module = build_model(self.experts.model, size, blocks.context, self.seed)
        if kept is not None and pretrained:
            keep_rows(model, kept.ids, rest=kept.has_rest)
        if self.experts.initialise == "teacher":
            teacher = load_model(inputs["teacher"] / "model")
            if kept is not None:
                keep_rows(teacher, kept.ids, rest=kept.has_rest)
            initialise_from_teacher(model, teacher)
        return model

    def _save_cut(
        self, vocabulary: Path, context: int, model: nn.Module, tokenizer: Path, out: Path
    ) -> Mapping[str, object]:
        """Write `model/` without the row of the tokens that it lacks, and with what it has of the teacher's."""
        import torch

        from orchestrator.models import keep_rows, parameter_count
        from orchestrator.models.mixture import WHOLE
        from orchestrator.training.publish import save_one

        kept = Kept.load(vocabulary)
        keep_rows(model, torch.arange(len(kept.kept)))
        setattr(model.config, WHOLE, kept.size)
        facts = save_one(model, tokenizer, out)
        copy_vocabulary(vocabulary, out / "model")
        whole = parameter_count(self.experts.model, kept.size, context)
        return {**facts, "vocabulary": {**kept.about, "whole_parameters": whole}}
