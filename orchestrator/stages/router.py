"""Stage: train the routers on text of each language, and measure them on held-out text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.config.base import build
from orchestrator.config.routing import RouterConfig
from orchestrator.environment import Environment
from orchestrator.errors import RecipeError
from orchestrator.evaluation.prompts import measure_prompts
from orchestrator.evaluation.routing import block_metrics
from orchestrator.evaluation.routing_cost import TIMED, routing_cost
from orchestrator.routers import Material, Policy, Router, fit_routers, papers, save_routers
from orchestrator.routers.text import shipped
from orchestrator.routers.text.tags import own_kinds
from orchestrator.stages._routing import RoutingData
from orchestrator.stages.base import Cost, Expected, Stage
from orchestrator.tokens.tokenizer import encode, load_tokenizer, token_bytes

SECONDS, SECONDS_A_PIECE = 6.0, 1.2e-4
"""Of the prompt router on a core: its tests and its calibration, and each piece that it is trained on."""
PAPERS_SECONDS, SECONDS_A_SEQUENCE = 1.0, 1.0e-3
"""Of the paper's classifiers on a core: whatever there is to do, and each sequence that they are trained on."""


class RouterStage(Stage):
    """Trains and compares the routers: the paper's classifiers (Table 3), and the prompt router where it is asked for.

    Writes the routers (:func:`orchestrator.routers.save_routers`) and `metrics.json`: what
    :func:`orchestrator.evaluation.routing.block_metrics` finds on test blocks, "training_sequences" {language: n},
    "sequence_tokens", and with a prompt router "prompt": what
    :func:`orchestrator.evaluation.prompts.measure_prompts` finds on pieces of test documents.

    `timing.json`: see :func:`orchestrator.evaluation.routing_cost.routing_cost`.
    """

    router: RouterConfig
    languages: tuple[str, ...]
    code_languages: tuple[str, ...] = ()
    """Those whose names are of kinds of code: `pl` is Perl then, not Polish."""
    seed: int

    def run(self, inputs: Mapping[str, Path], out: Path, env: Environment) -> None:
        """See :class:`orchestrator.stages.base.Stage`.

        Raises:
            CorpusError: a language has no block to train or test on, or the text that ships is not installed.
            RecipeError: the router's sequences are longer than the context.
        """
        data = RoutingData(inputs, self.languages, self.code_languages, self.seed)
        plugin = build("routers", self.router.type)
        tokens = self._sequence_tokens(data.context)
        sequences = data.sequences(tokens, self.router.sequences_per_language)
        env.log({"message": f"training {sum(map(len, sequences.values()))} sequences of {tokens} tokens"})
        if plugin.reads == "corpus":
            for line in shipped.messages(self._own()):
                env.log({"message": line})
            env.log({"message": f"training on pieces of documents, {plugin.pieces} of each language"})
        material = Material(sequences, data.texts, lambda: token_bytes(load_tokenizer(inputs["tokenizer"])))
        routers = fit_routers(plugin, material, self.seed, env.threads)
        policy = Policy(self.router.reject, self.router.reject_above)
        save_routers(out, self.router.type.type, routers, plugin.classifier, policy)

        blocks = data.test_blocks()
        metrics = block_metrics(routers, blocks)
        metrics["training_sequences"] = {language: len(rows) for language, rows in sequences.items()}
        metrics["sequence_tokens"] = tokens
        if plugin.reads == "corpus":
            metrics["prompt"] = self._prompts(routers, plugin.classifier, data)
        timed = list(blocks[self.languages[0]][:TIMED])
        (out / "metrics.json").write_text(json.dumps(metrics, indent=1), encoding="utf-8")
        timing = routing_cost(routers, timed, {name: _size(out, name) for name in routers})
        (out / "timing.json").write_text(json.dumps(timing, indent=1), encoding="utf-8")
        for name, row in metrics["table3_router"].items():
            env.log({"message": f"{name}: accuracy {row['accuracy']:.4f}", f"accuracy/{name}": row["accuracy"]})

    def cost(self, inputs: Mapping[str, Path | None], expected: Expected) -> Cost:  # noqa: ARG002
        """Time alone: of the paper's classifiers, and of the prompt router's training, calibration and tests.

        Raises:
            RecipeError: the router's sequences are longer than the context.
            CorpusError: the text that the prompt router learns from is not installed.
        """
        self._sequence_tokens(expected.context)
        plugin = build("routers", self.router.type)
        sequences = len(self.languages) * self.router.sequences_per_language
        papers_own = PAPERS_SECONDS + sequences * SECONDS_A_SEQUENCE
        if plugin.reads != "corpus":
            return Cost(seconds=papers_own)
        shipped.check()
        return Cost(seconds=papers_own + SECONDS + len(self.languages) * plugin.pieces * SECONDS_A_PIECE)

    def _sequence_tokens(self, context: int) -> int:
        """Tokens of a training sequence."""
        tokens = int(papers(build("routers", self.router.type)).sequence_tokens or context)
        if tokens > context:
            raise RecipeError(
                f"router sequences of {tokens} tokens are longer than the context of {context}",
                where="router.type.sequence_tokens",
                fix=f"set it to {context} or less, or leave it out",
            )
        return tokens

    def _own(self) -> dict[str, tuple[str, ...]]:
        """Kinds of text that ships that are each language's own."""
        return own_kinds({language: language in self.code_languages for language in self.languages})

    def _prompts(self, routers: Mapping[str, Router], used: str, data: RoutingData) -> dict[str, Any]:
        """Metrics on pieces of test documents and on text of no language."""
        tokenizer = load_tokenizer(data.inputs["tokenizer"])
        return measure_prompts(
            routers,
            used,
            lambda language, characters: data.documents("test", language, characters),
            lambda texts: encode(tokenizer, texts),
            self._own(),
            self.router.reject_above,
            np.random.default_rng([self.seed, len(self.languages)]),
        )


def _size(folder: Path, classifier: str) -> int:
    """Bytes of a stored classifier."""
    return sum((folder / f"{classifier}.{suffix}").stat().st_size for suffix in ("safetensors", "json"))
