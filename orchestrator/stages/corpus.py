"""Stage: sources to documents, cleaned, free of repeats and split."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from orchestrator.config.recipe import CorpusConfig
from orchestrator.corpus.build import build_corpus, source_fingerprints
from orchestrator.environment import Environment
from orchestrator.stages.base import Stage


class CorpusStage(Stage):
    """Writes ``<split>/<language>.parquet`` and ``corpus.json`` (see :mod:`orchestrator.corpus.build`)."""

    corpus: CorpusConfig
    """Sources and what to do with them."""
    seed: int
    """Seed of the splits."""

    def run(self, inputs: Mapping[str, Path], out: Path, env: Environment) -> None:  # noqa: ARG002 (the first stage)
        """Build the corpus.

        Raises:
            CorpusError: a source can't be read, or a language has too little text.
            ResourceError: a source needs a package or a hub that can't be reached.
        """
        build_corpus(self.corpus, self.seed, out, env.work / "staged", env.map, env.log)

    def external(self) -> Mapping[str, str]:
        """Identity of the sources' text, so that a changed file is noticed.

        Raises:
            CorpusError: a source is missing.
        """
        return source_fingerprints(self.corpus)
