"""Stage: the balanced set, packed into blocks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.artifacts import write_json
from orchestrator.config.recipe import BlocksConfig
from orchestrator.disk import disk_errors
from orchestrator.environment import Environment
from orchestrator.errors import CorpusError
from orchestrator.stages.base import Cost, Expected, Stage
from orchestrator.tokens.balance import Selection, balance, packed_tokens
from orchestrator.tokens.blocks import block_count
from orchestrator.tokens.encoding import EncodedCorpus
from orchestrator.tokens.packing import PackJob, pack
from orchestrator.tokens.storage import SPLITS, read_json, write_array
from orchestrator.tokens.targets import targets
from orchestrator.tokens.works import block_works

SHORTEST_CONTEXT = 8  # that a recipe may ask for


class BlocksStage(Stage):
    """Writes what :class:`~orchestrator.tokens.blocks.TokenBlocks` reads: `<split>/<language>.bin` and `blocks.json`;
    `<split>/<language>.works.npy`, uint64, the work that each block is of; and `selected/<split>/<language>.npy`, the
    rows of the corpus that were chosen, in packed order.

    Every split is balanced: training as the recipe asks, validation and test capped at the smallest language, so that
    all languages are measured on equally many tokens.
    """

    blocks: BlocksConfig
    """Context and balance."""
    languages: tuple[str, ...]
    """Languages of the balanced set."""
    seed: int
    """Seed of the choice and order of documents."""

    def run(self, inputs: Mapping[str, Path], out: Path, env: Environment) -> None:
        """See :class:`~orchestrator.stages.base.Stage`.

        Raises:
            CorpusError: a language has too little text to balance, or for one block.
            ArtifactError: the token ids are damaged.
            ResourceError: no disk space.
        """
        corpus = EncodedCorpus(inputs["tokens"])
        jobs = []
        for split in SPLITS:
            for language, selection in self._select(corpus, split).items():
                with disk_errors(out):
                    write_array(out / "selected" / split / f"{language}.npy", selection.rows)
                path = out / split / f"{language}.bin"
                jobs.append(PackJob(inputs["tokens"], split, language, selection, path))
        splits: dict[str, dict[str, Any]] = {split: {} for split in SPLITS}
        for done, (job, counts) in enumerate(zip(jobs, env.map(pack, jobs), strict=True), start=1):
            blocks = block_count(counts["tokens"], self.blocks.context)
            splits[job.split][job.language] = {**counts, "blocks": blocks, "cut": _cut(job.selection)}
            works = block_works(corpus.works(job.split, job.language), job.selection, self.blocks.context, blocks)
            with disk_errors(out):
                write_array(job.path.with_suffix(".works.npy"), works)
            env.log({"step": done, "steps": len(jobs), "tokens": counts["tokens"]})
        about = {"context": self.blocks.context, "dtype": corpus.dtype.name, "vocab_size": corpus.vocab_size}
        with disk_errors(out):
            write_json(out / "blocks.json", {**about, "languages": self.languages, "splits": splits})

    def cost(self, inputs: Mapping[str, Path | None], expected: Expected) -> Cost:  # noqa: ARG002
        """Tokens of the corpus, once they are counted."""
        folder = inputs.get("tokens")
        if folder is None:
            return Cost()
        splits = read_json(folder / "tokens.json", "tokens")["splits"]
        return Cost(tokens=sum(counts["tokens"] for split in splits.values() for counts in split.values()))

    def _select(self, corpus: EncodedCorpus, split: str) -> dict[str, Selection]:
        lengths = {language: corpus.lengths(split, language) for language in self.languages}
        config, repeat = self.blocks.balance, False
        target: int | Mapping[str, int] | None = self._target(split, lengths, corpus.delimiters)
        if split == "train" and (config.unit != "tokens" or config.temperature is not None):
            target, repeat = targets(corpus, split, lengths, config), config.temperature is not None
        chosen = balance(
            lengths, split, self.seed, config.max_diff_percent, target, repeat=repeat, delimiters=corpus.delimiters
        )
        shortest = min(selection.tokens for selection in chosen.values())
        if block_count(shortest, self.blocks.context) < 1:
            raise self._too_short(split, lengths, shortest)
        return chosen

    def _target(self, split: str, lengths: Mapping[str, np.ndarray], delimiters: int) -> int | None:  # noqa: ARG002 (for those below)
        """Tokens of each language; None: as many as the smallest has."""
        return self.blocks.balance.tokens_per_language if split == "train" else None

    def _too_short(self, split: str, lengths: Mapping[str, np.ndarray], shortest: int) -> CorpusError:
        """The error for streams shorter than a block; all are as short as the smallest language, or as asked for."""
        available = {language: packed_tokens(each) for language, each in lengths.items()}
        least, context = min(available, key=lambda language: available[language]), self.blocks.context
        fixes = [f"give {least} more text" if split == "train" else f"raise corpus.splits.{split}"]
        if split == "train" and (self.blocks.balance.tokens_per_language or math.inf) <= context:
            fixes = [f"set blocks.balance.tokens_per_language={2 * context} or more"]
        if shortest > SHORTEST_CONTEXT:
            fixes.append(f"set blocks.context={shortest - 1} or less")
        return CorpusError(
            f"a {split} stream has {shortest:,} tokens, a block of context {context:,} takes {context + 1:,} "
            f"(the least text is {least}'s: {available[least]:,} tokens)",
            where="blocks.context",
            fix=", or ".join(fixes),
        )


def _cut(selection: Selection) -> dict[str, int] | None:
    """What blocks.json says of a document that was cut to balance: its row, its tokens and how many were kept."""
    if selection.cut_from is None:
        return None
    return {"row": int(selection.rows[-1]), "tokens": selection.cut_from, "kept": int(selection.lengths[-1])}
