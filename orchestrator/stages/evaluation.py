"""Stage: perplexity of the teacher and every expert on every language, by true language and through the router."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from orchestrator.config.recipe import EvaluationConfig
from orchestrator.errors import ArtifactError, CorpusError
from orchestrator.evaluation.perplexity import block_bytes, block_losses
from orchestrator.evaluation.summary import TEACHER, LanguageLosses, summarise
from orchestrator.models import load_model
from orchestrator.routers import Router
from orchestrator.stages.base import Cost, Environment, Expected, Stage, serial_map
from orchestrator.tokens.blocks import TokenBlocks
from orchestrator.tokens.tokenizer import byte_lengths, load_tokenizer

PARALLEL_TOKENS = 2**21
"""With fewer tokens (of all models together), starting processes that import torch takes longer than computing here."""


class EvaluationStage(Stage):
    """Measures every model on every language's held-out blocks.

    Writes `evaluation.json`: {"split", "context", "confidence", "bootstrap"} and the tables of
    :func:`orchestrator.evaluation.summary.summarise`; and `block_losses.safetensors`, so that any other choice of
    experts can be evaluated without computing again: "loss/<model>/<lang>" (float64 [n], nats summed over a block; the
    model is "teacher" or an expert's language), "route/<lang>" (int64 [n], index into the languages), "bytes/<lang>"
    (int64 [n]).

    Routing is by block, on the block's own tokens, as the paper routes a sequence.
    """

    code: ClassVar[tuple[str, ...]] = (
        "evaluation",
        "models.build",
        "models.files",
        "models.zoo._base",
        "routers",
        "tokens.blocks",
        "tokens.storage",
        "tokens.tokenizer",
    )
    accelerated: ClassVar[bool] = True

    evaluation: EvaluationConfig
    languages: tuple[str, ...]
    seed: int

    def run(self, inputs: Mapping[str, Path], out: Path, env: Environment) -> None:
        """See :class:`orchestrator.stages.base.Stage`.

        Raises:
            CorpusError: a language has no held-out block.
            ModelError: a model does not fit the blocks, or its loss is not finite.
            ArtifactError: a model or the router can't be loaded, or is of other languages.
        """
        blocks = TokenBlocks.open(inputs["blocks"], self.evaluation.split)
        counts = self._counts(blocks)
        losses = self._losses(inputs, blocks, counts, env)
        lengths = byte_lengths(load_tokenizer(inputs["tokenizer"]))
        router = Router.load(inputs["router"])
        measured = {
            language: LanguageLosses(
                context=blocks.context,
                losses={model: losses[model, language] for model in (TEACHER, *self.languages)},
                routes=self._routes(router, blocks, language, count),
                bytes=block_bytes(blocks, language, count, lengths),
            )
            for language, count in counts.items()
        }
        save_file(_tensors(measured), out / "block_losses.safetensors")
        options = self.evaluation
        head = {"split": options.split, "context": blocks.context, "confidence": options.confidence}
        tables = summarise(measured, options.bootstrap, options.confidence, self.seed)
        result = {**head, "bootstrap": options.bootstrap, **tables}
        (out / "evaluation.json").write_text(json.dumps(result, indent=1, allow_nan=False), encoding="utf-8")

    def cost(self, inputs: Mapping[str, Path | None], expected: Expected) -> Cost:  # noqa: ARG002
        """Tokens read: those of the split, by the teacher and by every expert."""
        folder = inputs.get("blocks")
        if folder is None:
            return Cost()
        blocks = TokenBlocks.open(folder, self.evaluation.split)
        return Cost(tokens=sum(self._counts(blocks).values()) * blocks.context * (1 + len(self.languages)))

    def _counts(self, blocks: TokenBlocks) -> dict[str, int]:
        """Blocks to evaluate of each language."""
        for language in self.languages:
            if not blocks.count(language):
                raise CorpusError(
                    f"the {blocks.split} split of {language!r} is shorter than one block of {blocks.context} tokens",
                    where=f"corpus.languages.{language}",
                    fix="give that language more text, or set a smaller blocks.context",
                )
        most = self.evaluation.max_blocks
        return {language: min(blocks.count(language), most or blocks.count(language)) for language in self.languages}

    def _losses(
        self, inputs: Mapping[str, Path], blocks: TokenBlocks, counts: Mapping[str, int], env: Environment
    ) -> dict[tuple[str, str], NDArray[np.float64]]:
        """Losses of blocks by (model, language), in several processes on CPUs when there is much to compute."""
        models = {TEACHER: inputs["teacher"], **{language: inputs[f"expert-{language}"] for language in self.languages}}
        options = self.evaluation
        jobs = {
            (model, language): _Job(
                folder / "model", inputs["blocks"], options.split, language, count, options.batch, env.device
            )
            for model, folder in models.items()
            for language, count in counts.items()
        }
        tokens = sum(counts.values()) * blocks.context * len(models)
        run = (
            env.map if env.device == "cpu" and tokens >= PARALLEL_TOKENS else serial_map
        )  # a GPU belongs to this process
        found: dict[tuple[str, str], NDArray[np.float64]] = {}
        for (model, language), losses in zip(jobs, run(_evaluate, jobs.values()), strict=True):
            found[model, language] = losses
            perplexity = np.exp(losses.mean() / blocks.context)
            name = model if model == TEACHER else f"expert {model}"
            env.log(
                {
                    "step": len(found),
                    "steps": len(jobs),
                    "message": f"{name} on {language}: perplexity {perplexity:.2f}",
                }
            )
        return found

    def _routes(self, router: Router, blocks: TokenBlocks, language: str, count: int) -> NDArray[np.int64]:
        """The expert chosen for each block, as an index into this stage's languages."""
        if set(router.languages) != set(self.languages):
            raise ArtifactError(
                f"the router knows {', '.join(router.languages)}, the experts {', '.join(self.languages)}",
                where="router",
                fix="train the router again: --force router",
            )
        column = np.array([self.languages.index(name) for name in router.languages])
        inputs = [np.asarray(blocks.block(language, index))[:-1] for index in range(count)]
        return np.asarray(column[router.probabilities(inputs).argmax(axis=1)], np.int64)


@dataclass(frozen=True)
class _Job:
    """One model on one language: small enough to send anywhere."""

    model: Path
    blocks: Path
    split: str
    language: str
    count: int
    batch: int
    device: str


def _evaluate(job: _Job) -> NDArray[np.float64]:
    blocks = TokenBlocks.open(job.blocks, job.split)
    return block_losses(load_model(job.model, job.device), blocks, job.language, job.count, job.batch)


def _tensors(measured: Mapping[str, LanguageLosses]) -> dict[str, NDArray[np.generic]]:
    tensors: dict[str, NDArray[np.generic]] = {}
    for language, found in measured.items():
        tensors |= {f"loss/{model}/{language}": losses for model, losses in found.losses.items()}
        tensors |= {f"route/{language}": found.routes, f"bytes/{language}": found.bytes}
    return tensors
