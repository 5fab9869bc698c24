"""What the stages that listen to a teacher share: its model, and which caches are of it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.config.base import PluginSpec
from orchestrator.records import TrainingFacts
from orchestrator.tokens.blocks import TokenBlocks
from orchestrator.tokens.storage import read_json

if TYPE_CHECKING:
    import torch

    from orchestrator.teacher import Cache, TeacherModel


def teacher_model(
    folder: Path, device: str | torch.device, vocab_size: int, caches: Mapping[int, Cache] | None = None
) -> TeacherModel:
    """The teacher in the artifact `folder`, not loaded yet, for students of `vocab_size` tokens."""
    from orchestrator.models import head, hidden_states, load_model
    from orchestrator.teacher import TeacherModel

    return TeacherModel(partial(load_model, folder / "model", device), hidden_states, head, vocab_size, caches or {})


def teacher_facts(folder: Path) -> TrainingFacts:
    """`training.json` of the teacher's artifact.

    Raises:
        ArtifactError: it is damaged.
    """
    found: Any = read_json(folder / "training.json", "teacher")
    facts: TrainingFacts = found
    return facts


def cache_identity(source: PluginSpec, teacher: Path, blocks: TokenBlocks, language: str) -> dict[str, Any]:
    """What a cache of a language has to be of: its source with its options, the teacher's weights, the tokens."""
    return {
        "source": source.model_dump(mode="json"),
        "teacher": teacher_facts(teacher)["weights_sha256"],
        "vocabulary": blocks.vocab_size,
        "context": blocks.context,
        "text": blocks.digest(language),
    }
