"""What the stages that listen to a teacher share: its model, and which caches are of it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.config.base import PluginSpec
from orchestrator.disk import file_digest
from orchestrator.records import TrainingFacts
from orchestrator.stages._aligned import aligned_tokens
from orchestrator.stages._kept import kept_tokens
from orchestrator.tokens.aligned import AlignedBlocks
from orchestrator.tokens.blocks import TokenBlocks
from orchestrator.tokens.kept import KeptBlocks
from orchestrator.tokens.storage import read_json

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from orchestrator.teacher import Cache, TeacherModel


def teacher_model(
    folder: Path,
    device: str | torch.device,
    blocks: TokenBlocks,
    caches: Mapping[int, Cache] | None = None,
    model: nn.Module | None = None,
) -> TeacherModel:
    """The teacher in the artifact `folder`, for students of the tokens of `blocks`: `model`, or loaded later."""
    import torch

    from orchestrator.models import head, hidden_states, load_head, load_model
    from orchestrator.models.quick import narrow, quicken, run_ahead
    from orchestrator.teacher import TeacherModel

    @cache  # each way through all modules is taken once, not in each batch
    def prepare(model: nn.Module, context: int, device: str, low: torch.dtype | None) -> None:
        if low is not None and getattr(model, "stream", None) is None:
            narrow(model, low)
        if device == "cpu":
            quicken(model, context, bf16=low is not None)
        else:
            run_ahead(model, context)

    def states(model: nn.Module, ids_BT: Tensor) -> Tensor:
        device = ids_BT.device.type
        low = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
        prepare(model, ids_BT.shape[1], device, low)
        return hidden_states(model, ids_BT)

    return TeacherModel(
        load=partial(load_model, folder / "model", device) if model is None else lambda: model,
        hidden_states=states,
        head=head,
        vocab_size=blocks.vocab_size,
        caches=caches or {},
        kept=kept_tokens(blocks),
        aligned=aligned_tokens(blocks),
        load_head=partial(load_head, folder / "model", device) if model is None else None,
    )


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
    own = {"kept": file_digest(blocks.vocabulary / "kept.npy")} if isinstance(blocks, KeptBlocks) else {}
    if isinstance(blocks, AlignedBlocks):
        own["alignment"] = blocks.alignment.digest
    return {
        **own,
        "source": source.model_dump(mode="json"),
        "teacher": teacher_facts(teacher)["weights_sha256"],
        "vocabulary": blocks.vocab_size,
        "context": blocks.context,
        "text": blocks.digest(language),
    }
