"""Stage: the experts of a mixture, trained together."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from orchestrator.config.base import PluginSpec, build
from orchestrator.config.recipe import ExpertsConfig, TrainingConfig
from orchestrator.environment import Environment
from orchestrator.stages._aligned import open_aligned
from orchestrator.stages.base import Cost, Expected, Stage
from orchestrator.stages.distilling import check_first_weights, distilling_cost, for_languages, objective
from orchestrator.stages.training import check_tokens, fingerprint, pretrained_files

if TYPE_CHECKING:
    from torch import nn

    from orchestrator.models.mixture import Mixture
    from orchestrator.models.setups import Setup
    from orchestrator.training.parts import Parts


class JointStage(Stage):
    """Distils the experts of a joint setup from steps with as many tokens of each language (paper, section 3.7).

    A step changes the experts of the languages in its batch, the common expert and shared layers, and nothing else. All
    languages together take as many steps as one expert would on its own, with batches as many times as large.

    Reads `blocks` and `tokenizer`; `teacher` and `cache-<language>` where the distillation needs them; `initial`, a
    mixture to go on from, whose experts may be fewer. Writes a mixture's folder without a router (see
    :mod:`orchestrator.models.mixture_files`), `metrics.jsonl` and `training.json`.
    """

    version: ClassVar[int] = 2  # the soft loss of a recipe that names none is forward KL
    distributed: ClassVar[bool] = True
    by_parts: ClassVar[bool] = True

    setup: PluginSpec
    """How the parts make a mixture."""
    experts: ExpertsConfig
    """Model, training and distillation of each expert."""
    languages: tuple[str, ...]
    """Languages of the mixture, all of them validated along the way."""
    learn: tuple[str, ...]
    """Languages learned in this session."""
    freeze_shared: bool = False
    """Leave the common expert and shared layers as they are."""
    seed: int
    """Seed of weights, order and dropout."""

    def run(self, inputs: Mapping[str, Path], out: Path, env: Environment) -> None:
        """See :class:`orchestrator.stages.base.Stage`.

        Raises:
            ModelError: models don't fit together, or differ from the teacher in vocabulary.
            ArtifactError: the initial mixture or a cache is damaged.
            TrainingError: see :func:`orchestrator.training.loop.train`. ResourceError: no GPU, or no space.
        """
        from orchestrator.models.mixture import Mixture
        from orchestrator.models.mixture_files import save_mixture
        from orchestrator.tokens.blocks import TokenBlocks
        from orchestrator.training.loop import Task, train
        from orchestrator.training.publish import publish

        check_tokens(self.experts.model, inputs["tokenizer"], env)
        blocks = open_aligned(inputs, "train", self.learn)

        def save(model: nn.Module, tokenizer: Path, out: Path) -> Mapping[str, object]:
            assert isinstance(model, Mixture)
            save_mixture(model, self.setup, tokenizer, out)
            expert = model.experts[self.languages[0]]
            return {"expert_parameters": sum(parameter.numel() for parameter in expert.parameters())}

        task = Task(
            new_model=lambda: self._mixture(inputs, blocks.vocab_size, blocks.context),
            objective=objective(self.experts.distillation, inputs, blocks, self.learn, env),
            config=self._training(),
            train=blocks,
            validation=TokenBlocks.open(inputs["blocks"], "validation"),
            languages=self.learn,
            seed=self.seed,
            fingerprint=fingerprint(self, inputs),
            parts=self._parts(),
            validated=self.languages,
        )
        publish(task, train(task, env), inputs["tokenizer"], out, env, save)

    def external(self) -> Mapping[str, str]:
        """A pretrained model's files."""
        return pretrained_files(self.experts.model)

    def cost(self, inputs: Mapping[str, Path | None], expected: Expected) -> Cost:
        """FLOPs, tokens, parameters and memory: of an expert, and as much again for the common one."""
        check_first_weights(self.experts, expected)
        one = distilling_cost(self.experts, self._training(), inputs, expected, self.learn)
        models = 1 + self._setup.has_common
        parameters = (len(self.languages) + self._setup.has_common) * one.parameters
        return dataclasses.replace(one, parameters=parameters, flops=models * one.flops)

    @property
    def _setup(self) -> Setup:
        setup: Setup = build("models.setups", self.setup)
        return setup

    def _training(self) -> TrainingConfig:
        return for_languages(self.experts.training, len(self.learn), batches=True)

    def _mixture(self, inputs: Mapping[str, Path], vocab_size: int, context: int) -> Mixture:
        from orchestrator.models import build_model, initialise_from_teacher, load_model
        from orchestrator.models.mixture_files import load_mixture

        def model(seed: int) -> nn.Module:
            model: nn.Module = build_model(self.experts.model, vocab_size, context, seed)
            if self.experts.initialise == "teacher":
                initialise_from_teacher(model, load_model(inputs["teacher"] / "model"))
            return model

        if "initial" not in inputs:
            # All experts begin alike, as independent ones do; the common one, beside them, must not.
            common = model(self.seed + 1) if self._setup.has_common else None
            return self._setup.assemble({language: model(self.seed) for language in self.languages}, common)
        mixture = load_mixture(inputs["initial"])
        new = [language for language in self.languages if language not in mixture.languages]
        return self._setup.grow(mixture, {language: model(self.seed) for language in new}) if new else mixture

    def _parts(self) -> Parts:
        from orchestrator.models.mixture import COMMON, SHARED, Mixture
        from orchestrator.training.parts import Parts

        always = frozenset() if self.freeze_shared else frozenset({COMMON, SHARED})

        def keep(model: nn.Module, languages: frozenset[str]) -> None:
            assert isinstance(model, Mixture)
            model.keep(languages)

        return Parts(Mixture.part_of, lambda languages: languages | always, keep)
