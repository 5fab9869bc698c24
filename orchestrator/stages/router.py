"""Stage: train the router on blocks of each language, and measure it on held-out ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from orchestrator.config.base import build
from orchestrator.config.recipe import RouterConfig
from orchestrator.errors import CorpusError, RecipeError
from orchestrator.evaluation.routing import confusion_matrix, routing_metrics
from orchestrator.routers._router import Router, save_routers
from orchestrator.stages.base import Cost, Environment, Expected, Stage
from orchestrator.tokens.blocks import TokenBlocks

SHORT_LENGTHS = (16, 64)
"""Tokens of the cut test sequences, besides whole blocks: prompts are shorter than what the paper measures."""

Sequences = dict[str, NDArray[np.int64]]


class RouterStage(Stage):
    """Trains and compares the router's classifiers (paper, Table 3).

    Writes the routers (see :func:`orchestrator.routers._router.save_routers`) and `metrics.json`:
    {"languages", "averaging": "macro", "confidence", "training_sequences": {lang: n}, "sequence_tokens",
     "table3_router": {classifier: {accuracy, precision, recall, f1}},
     "classifiers": {classifier: {metrics…, "lengths": {"16": metrics, "64": metrics}}}}: on whole test blocks, and on
    their first 16 and 64 tokens; for the metrics see :func:`orchestrator.evaluation.routing.routing_metrics`.
    """

    code: ClassVar[tuple[str, ...]] = (
        *("routers", "evaluation.routing", "evaluation.statistics"),
        *("tokens.blocks", "tokens.storage", "stages.router"),
    )

    router: RouterConfig
    languages: tuple[str, ...]
    seed: int

    def run(self, inputs: Mapping[str, Path], out: Path, env: Environment) -> None:
        """See :class:`orchestrator.stages.base.Stage`.

        Raises:
            CorpusError: a language has no block to train or test on.
            RecipeError: the router's sequences are longer than the context.
        """
        plugin = build("routers", self.router.type)
        train = TokenBlocks.open(inputs["blocks"], "train")
        tokens = self._sequence_tokens(train.context)
        sequences = {language: self._sample(train, language, tokens) for language in self.languages}
        env.log({"message": f"training {sum(map(len, sequences.values()))} sequences of {tokens} tokens"})
        routers = plugin.train(sequences, self.seed, env.threads)
        save_routers(out, self.router.type.type, routers, plugin.classifier)

        metrics = self._metrics(routers, TokenBlocks.open(inputs["blocks"], "test"))
        metrics["training_sequences"] = {language: len(rows) for language, rows in sequences.items()}
        metrics["sequence_tokens"] = tokens
        (out / "metrics.json").write_text(json.dumps(metrics, indent=1), encoding="utf-8")
        for name, row in metrics["table3_router"].items():
            env.log({"message": f"{name}: accuracy {row['accuracy']:.4f}", f"accuracy/{name}": row["accuracy"]})

    def cost(self, inputs: Mapping[str, Path | None], expected: Expected) -> Cost:  # noqa: ARG002
        """Not worth saying.

        Raises:
            RecipeError: the router's sequences are longer than the context.
        """
        self._sequence_tokens(expected.context)
        return Cost()

    def _sequence_tokens(self, context: int) -> int:
        """Tokens of a training sequence."""
        tokens = int(build("routers", self.router.type).sequence_tokens or context)
        if tokens > context:
            raise RecipeError(
                f"router sequences of {tokens} tokens are longer than the context of {context}",
                where="router.type.sequence_tokens",
                fix=f"set it to {context} or less, or leave it out",
            )
        return tokens

    def _sample(self, blocks: TokenBlocks, language: str, tokens: int) -> NDArray[np.int64]:
        """Training sequences of a language, int64 [n, tokens]: a seeded choice of blocks, or of pieces of them."""
        pieces = blocks.context // tokens
        available = _count(blocks, language) * pieces
        rng = np.random.default_rng([self.seed, self.languages.index(language)])
        chosen = np.sort(rng.permutation(available)[: self.router.sequences_per_language])
        starts = chosen % pieces * tokens
        whole = _inputs(blocks, language, chosen // pieces)
        return np.take_along_axis(whole, starts[:, None] + np.arange(tokens), axis=1)

    def _metrics(self, routers: Mapping[str, Router], test: TokenBlocks) -> dict[str, Any]:
        whole = {language: _inputs(test, language, np.arange(_count(test, language))) for language in self.languages}
        short = [tokens for tokens in SHORT_LENGTHS if tokens < test.context]
        found = {
            name: self._score(router, whole, test.context)
            | {"lengths": {str(tokens): self._score(router, whole, tokens) for tokens in short}}
            for name, router in routers.items()
        }
        headline = ("accuracy", "precision", "recall", "f1")
        return {
            "languages": list(self.languages),
            "averaging": "macro",
            "confidence": 0.95,
            "table3_router": {name: {key: metrics[key] for key in headline} for name, metrics in found.items()},
            "classifiers": found,
        }

    def _score(self, router: Router, whole: Sequences, tokens: int) -> dict[str, Any]:
        """Metrics on the first `tokens` of every test block."""
        truth = np.repeat(np.arange(len(self.languages)), [len(whole[language]) for language in self.languages])
        rows = [router.probabilities(whole[language][:, :tokens]) for language in self.languages]
        predicted = np.concatenate(rows).argmax(axis=1)
        return routing_metrics(confusion_matrix(truth, predicted, len(self.languages)), self.languages)


def _count(blocks: TokenBlocks, language: str) -> int:
    count = blocks.count(language)
    if not count:
        raise CorpusError(
            f"the {blocks.split} split of {language!r} is shorter than one block of {blocks.context} tokens",
            where=f"corpus.languages.{language}",
            fix="give that language more text, or set a smaller blocks.context",
        )
    return count


def _inputs(blocks: TokenBlocks, language: str, indices: NDArray[np.int64]) -> NDArray[np.int64]:
    """Input tokens of blocks of a language: int64 [n, context]."""
    row = np.full(len(indices), blocks.languages.index(language))
    return np.asarray(blocks.gather(np.stack([row, indices], axis=1))[:, :-1], np.int64)
