"""Stage: the blocks of a mixture that has grown, linked from those of its languages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.artifacts import write_json
from orchestrator.disk import disk_errors, link_or_copy
from orchestrator.environment import Environment
from orchestrator.errors import TokenizerError
from orchestrator.stages.base import Stage
from orchestrator.tokens.storage import SPLITS, read_json

_SHARED = ("context", "dtype", "vocab_size")


class GrownBlocksStage(Stage):
    """Reads `blocks`, and `blocks-<language>` for a language whose text is new. Writes what
    :class:`orchestrator.stages.blocks.BlocksStage` writes, as links: no token is made again.
    """

    languages: tuple[str, ...]
    """Languages of the mixture, in their order."""

    def run(self, inputs: Mapping[str, Path], out: Path, env: Environment) -> None:  # noqa: ARG002 (nothing to compute)
        """See :class:`~orchestrator.stages.base.Stage`.

        Raises:
            ArtifactError: blocks are damaged. TokenizerError: they are of different vocabularies or contexts.
            ResourceError: no disk space.
        """
        abouts = {folder: read_json(folder / "blocks.json", "blocks") for folder in inputs.values()}
        shared = {key: abouts[inputs["blocks"]][key] for key in _SHARED}
        splits: dict[str, dict[str, Any]] = {split: {} for split in SPLITS}
        with disk_errors(out):
            for language in self.languages:
                folder = inputs.get(f"blocks-{language}", inputs["blocks"])
                about = abouts[folder]
                if any(about[key] != value for key, value in shared.items()):
                    raise TokenizerError("the new blocks are of another vocabulary or context", str(folder))
                for split in SPLITS:
                    splits[split][language] = about["splits"][split][language]
                    for name in (
                        f"{split}/{language}.bin",
                        f"{split}/{language}.works.npy",
                        f"selected/{split}/{language}.npy",
                    ):
                        (out / name).parent.mkdir(parents=True, exist_ok=True)
                        link_or_copy(folder / name, out / name)
            write_json(out / "blocks.json", {**shared, "languages": self.languages, "splits": splits})
