"""Stage: train the router on blocks of each language, and measure it on held-out ones."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from orchestrator.config.base import build
from orchestrator.config.routing import RouterConfig
from orchestrator.corpus.storage import read_texts
from orchestrator.environment import Environment
from orchestrator.errors import CorpusError, RecipeError
from orchestrator.evaluation.prompts import accuracy_by_length, prompt_metrics
from orchestrator.evaluation.routing import confusion_matrix, routing_metrics
from orchestrator.routers import Policy, Router, save_routers
from orchestrator.routers.paper import Paper
from orchestrator.routers.text import shipped
from orchestrator.routers.text.no_language import to_learn, to_test
from orchestrator.routers.text.pieces import LanguageTexts, Lengths, Pieces
from orchestrator.routers.text.router import TextRouter
from orchestrator.routers.text.shipped import matched
from orchestrator.routers.text.tags import own_kinds
from orchestrator.stages.base import Cost, Expected, Stage
from orchestrator.tokens.blocks import TokenBlocks
from orchestrator.tokens.tokenizer import encode, load_tokenizer, token_bytes

SHORT_LENGTHS = (16, 64)
"""Tokens of the cut test sequences, besides whole blocks: prompts are shorter than what the paper measures."""

TEST_PIECES = 2000
"""Test pieces of each language and length; a quarter as many of each kind of text that is of none of them."""
COMPARED_PIECES = 500
"""Of these, those that the paper's classifiers are measured on beside the prompt router."""
SECONDS, SECONDS_A_PIECE = 6.0, 1.2e-4
"""Of the prompt router on a core: its tests and its calibration, and each piece that it is trained on."""
TEST_CHARACTERS = 4_000_000
TIMED, TIMED_ALONE = 200, 50
TIMED_CHARACTERS = 100

_UNMATCHED = (
    "where it is in a language that has a code, begin its name with that code (en-law), or what ships of that language "
    "is learned as none of these"
)

Sequences = dict[str, NDArray[np.int64]]


class RouterStage(Stage):
    """Trains and compares the routers: the paper's classifiers (Table 3), and the prompt router where it is asked for.

    Writes the routers (see :func:`orchestrator.routers._router.save_routers`) and `metrics.json`:
    {"languages", "averaging": "macro", "confidence", "training_sequences": {lang: n}, "sequence_tokens",
     "table3_router": {classifier: {accuracy, precision, recall, f1}},
     "classifiers": {classifier: {metrics…, "lengths": {"16": metrics, "64": metrics}}}}: on whole test blocks, and on
    their first 16 and 64 tokens; for the metrics see :func:`orchestrator.evaluation.routing.routing_metrics`.

    With a prompt router "prompt": see :func:`orchestrator.evaluation.prompts.prompt_metrics`, on pieces of test
    documents, with "classifiers" {classifier: {length: {accuracy, accuracy_interval}}}, the paper's on some of these
    pieces, "learned_outside", the kinds of text that rejection was learned from, and "shipped", what the languages were
    given of the text that ships (:func:`orchestrator.routers.text.shipped.matched`).

    `timing.json`: {classifier: {"microseconds": of a test block in a batch, "alone": of one by itself, "bytes": on
    disk}}, the prompt router's with the same of a text of 100 characters as "text".
    """

    router: RouterConfig
    languages: tuple[str, ...]
    code_languages: tuple[str, ...] = ()
    """Those whose names are of kinds of code: `pl` is Perl then, not Polish."""
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
        routers: dict[str, Router] = dict(
            self._paper().train({name: list(rows) for name, rows in sequences.items()}, self.seed, env.threads)
        )
        if plugin.reads == "corpus":
            self._say_matched(env)
            env.log({"message": f"training on pieces of documents, {plugin.pieces} of each language"})
            routers |= plugin.train(
                self._texts(inputs, plugin.characters), self._token_bytes(inputs), self.seed, env.threads
            )
        policy = Policy(self.router.reject, self.router.reject_above)
        save_routers(out, self.router.type.type, routers, plugin.classifier, policy)

        test = TokenBlocks.open(inputs["blocks"], "test")
        metrics = self._metrics(routers, test)
        metrics["training_sequences"] = {language: len(rows) for language, rows in sequences.items()}
        metrics["sequence_tokens"] = tokens
        if plugin.reads == "corpus":
            metrics["prompt"] = self._prompt_metrics(routers, plugin.classifier, inputs)
        (out / "metrics.json").write_text(json.dumps(metrics, indent=1), encoding="utf-8")
        (out / "timing.json").write_text(json.dumps(self._timing(routers, test, out), indent=1), encoding="utf-8")
        for name, row in metrics["table3_router"].items():
            env.log({"message": f"{name}: accuracy {row['accuracy']:.4f}", f"accuracy/{name}": row["accuracy"]})

    def cost(self, inputs: Mapping[str, Path | None], expected: Expected) -> Cost:  # noqa: ARG002
        """Time alone: of the prompt router's training, calibration and tests.

        Raises:
            RecipeError: the router's sequences are longer than the context.
            CorpusError: the text that the prompt router learns from is not installed.
        """
        self._sequence_tokens(expected.context)
        plugin = build("routers", self.router.type)
        if plugin.reads != "corpus":
            return Cost()
        shipped.check()
        return Cost(seconds=SECONDS + len(self.languages) * plugin.pieces * SECONDS_A_PIECE)

    def _sequence_tokens(self, context: int) -> int:
        """Tokens of a training sequence."""
        tokens = int(self._paper().sequence_tokens or context)
        if tokens > context:
            raise RecipeError(
                f"router sequences of {tokens} tokens are longer than the context of {context}",
                where="router.type.sequence_tokens",
                fix=f"set it to {context} or less, or leave it out",
            )
        return tokens

    def _paper(self) -> Paper:
        """The paper's classifiers, which every router is compared with."""
        plugin = build("routers", self.router.type)
        return plugin if isinstance(plugin, Paper) else Paper()

    def _texts(self, inputs: Mapping[str, Path], characters: int) -> dict[str, LanguageTexts]:
        """Documents of each language to train and to calibrate on: a seeded choice where there are more."""
        found = {}
        for language in self.languages:
            train, held_out = (
                self._documents(inputs["corpus"], split, language, characters) for split in ("train", "validation")
            )
            found[language] = LanguageTexts(train, held_out, is_code=language in self.code_languages)
        return found

    def _documents(self, corpus: Path, split: str, language: str, characters: int) -> list[str]:
        counts = json.loads((corpus / "corpus.json").read_text(encoding="utf-8"))["languages"][language]["splits"]
        share = characters / max(1, counts[split]["characters"])
        rng = np.random.default_rng([self.seed, self.languages.index(language)])
        return [text for text in read_texts(corpus, split, language) if share >= 1 or rng.random() < share]

    def _token_bytes(self, inputs: Mapping[str, Path]) -> list[bytes]:
        return token_bytes(load_tokenizer(inputs["tokenizer"]))

    def _prompt_metrics(self, routers: Mapping[str, Router], used: str, inputs: Mapping[str, Path]) -> dict[str, Any]:
        """Metrics on pieces of test documents, the paper's classifiers' too, and on text of no language."""
        router, rng = routers[used], np.random.default_rng([self.seed, len(self.languages)])
        assert isinstance(router, TextRouter)
        pieces = {
            language: Pieces(self._documents(inputs["corpus"], "test", language, TEST_CHARACTERS)).cut(
                Lengths.buckets(TEST_PIECES), rng
            )
            for language in self.languages
        }
        own = [kind for kinds in self._own().values() for kind in kinds]
        others = to_test(own, TEST_PIECES // 4, rng)
        found = prompt_metrics(router.route, router.languages, pieces, others, self.router.reject_above)
        compared = self._compared(routers, pieces, load_tokenizer(inputs["tokenizer"]))
        learned = sorted(to_learn(own, 1, rng))
        return {**found, "classifiers": compared, "learned_outside": learned, "shipped": matched(self._own())}

    def _own(self) -> dict[str, tuple[str, ...]]:
        """Kinds of shipped text that are each language's own."""
        return own_kinds({language: language in self.code_languages for language in self.languages})

    def _say_matched(self, env: Environment) -> None:
        """Say which shipped text each language has, and of which none is there."""
        for language, found in matched(self._own()).items():
            if not found["kinds"]:
                env.log({"message": f"no shipped text for {language!r}: {_UNMATCHED}"})
            elif found["with"]:
                both = ", ".join([language, *found["with"]])
                env.log({"message": f"{both} share {', '.join(found['kinds'])}: none of it is learned or rejected"})
            else:
                text = f"{found['learned']} texts of {', '.join(found['kinds'])}"
                env.log({"message": f"{language}: learns {text} that ship"})

    def _compared(
        self, routers: Mapping[str, Router], pieces: Mapping[str, Mapping[str, Sequence[str]]], tokenizer: Tokenizer
    ) -> dict[str, Any]:
        """Accuracy by length of the classifiers that read tokens, on some of the pieces."""
        some = {
            language: {length: encode(tokenizer, texts[:COMPARED_PIECES]) for length, texts in lengths.items()}
            for language, lengths in pieces.items()
        }
        return {
            name: accuracy_by_length(router.probabilities, self.languages, some)
            for name, router in routers.items()
            if not isinstance(router, TextRouter)
        }

    def _timing(self, routers: Mapping[str, Router], test: TokenBlocks, out: Path) -> dict[str, dict[str, Any]]:
        """Microseconds of a block and of a text, in a batch and alone, and bytes on disk, by classifier."""
        language = self.languages[0]
        blocks = list(_inputs(test, language, np.arange(min(TIMED, _count(test, language)))))
        found: dict[str, dict[str, Any]] = {}
        for name, router in routers.items():
            size = sum((out / f"{name}.{suffix}").stat().st_size for suffix in ("safetensors", "json"))
            found[name] = _microseconds(router.probabilities, blocks) | {"bytes": float(size)}
            if isinstance(router, TextRouter):
                texts = [router.tokens.text(block)[:TIMED_CHARACTERS] for block in blocks]
                found[name]["text"] = _microseconds(router.route, texts)
        return found

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


def _microseconds(ask: Callable[[Any], Any], documents: list[Any]) -> dict[str, float]:
    """Of one document: "microseconds" where all are asked for at once, "alone" where one is."""

    def seconds(batches: list[list[Any]]) -> float:
        begin = time.perf_counter()
        for batch in batches:
            ask(batch)
        return (time.perf_counter() - begin) / sum(map(len, batches))

    ask(documents)  # what is computed once is not counted
    alone = [[document] for document in documents[:TIMED_ALONE]]
    return {"microseconds": 1e6 * seconds([documents]), "alone": 1e6 * seconds(alone)}
