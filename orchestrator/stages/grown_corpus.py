"""Stage: the corpus of a mixture that has grown, linked from those of its languages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from orchestrator.corpus.storage import split_file
from orchestrator.disk import disk_errors, link_or_copy
from orchestrator.environment import Environment
from orchestrator.stages.base import Stage
from orchestrator.tokens.storage import SPLITS, read_json


class GrownCorpusStage(Stage):
    """Reads `corpus`, and `corpus-<language>` for a language whose text is new. Writes what
    :class:`orchestrator.stages.corpus.CorpusStage` writes, as links: no document is read.
    """

    languages: tuple[str, ...]
    """Languages of the mixture, in their order."""

    def run(self, inputs: Mapping[str, Path], out: Path, env: Environment) -> None:  # noqa: ARG002 (nothing to compute)
        """See :class:`~orchestrator.stages.base.Stage`.

        Raises:
            ArtifactError: a corpus is damaged. ResourceError: no disk space.
        """
        summary = {}
        with disk_errors(out):
            for language in self.languages:
                folder = inputs.get(f"corpus-{language}", inputs["corpus"])
                summary[language] = read_json(folder / "corpus.json", "corpus")["languages"][language]
                for split in SPLITS:
                    target = split_file(out, split, language)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    link_or_copy(split_file(folder, split, language), target)
            (out / "corpus.json").write_text(json.dumps({"languages": summary}, indent=2) + "\n", encoding="utf-8")
