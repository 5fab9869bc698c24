"""What the stages that train a model share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from orchestrator.artifacts import MANIFEST, digest
from orchestrator.config.base import PluginSpec, build
from orchestrator.config.recipe import TrainingConfig
from orchestrator.contents import content_digests
from orchestrator.environment import Environment
from orchestrator.stages.base import Cost, Expected, Stage

WEIGHT_BYTES = 16
"""Of a parameter in training: weight, gradient and AdamW's two moments, fp32."""
PROCESS_BYTES = 600_000_000
"""Of a process that has imported torch and transformers."""


def fingerprint(stage: Stage, inputs: Mapping[str, Path]) -> str:
    """Identity of a training run, for its checkpoints: the stage, its fields, its inputs."""
    read = {role: _artifact_fingerprint(folder) for role, folder in inputs.items()}
    return digest({**stage.identity(), "inputs": read})


def pretrained_files(model: PluginSpec) -> dict[str, str]:
    """Identity of the files that a pretrained model is read from, if they lie here: their names and content."""
    files: list[Path] = getattr(build("models.zoo", model), "files", [])
    if not files:
        return {}
    return {"model": digest(list(zip([path.name for path in files], content_digests(files), strict=True)))}


def check_tokens(model: PluginSpec, tokenizer: Path, env: Environment) -> None:
    """Make sure that a pretrained model knows the run's tokens; say so where that can't be told.

    Raises:
        ModelError: it knows others. ResourceError: the hub can't be reached.
    """
    from orchestrator.models.vocabulary import check_vocabulary

    if not check_vocabulary(model, tokenizer) and env.rank == 0:
        name = model.options.get("name", model.type)
        env.log({"message": f"{name} has no tokenizer.json: that its tokens are the run's is not checked"})


def training_cost(
    model: PluginSpec,
    config: TrainingConfig,
    blocks: Path | None,
    expected: Expected,
    languages: tuple[str, ...] | None = None,
    teacher_parameters: int = 0,
    rows: int | None = None,
) -> Cost:
    """FLOPs = 6 · N · tokens (+ 2 · N of a live teacher · tokens), after Kaplan et al. (arXiv:2001.08361, section 2.1).

    Args:
        model: architecture.
        config: of the run.
        blocks: the blocks artifact; None: it doesn't exist yet.
        expected: what is known of it then.
        languages: to train on; None: all.
        teacher_parameters: of the part of a teacher that runs beside it.
        rows: of the model's vocabulary, where it is not that of the blocks.

    Raises:
        ModelError: the model does not fit the vocabulary or context.
        TrainingError: the batch does not fit the context, the micro-batch or the data.
        ArtifactError: the blocks are damaged.
    """
    from orchestrator.models import parameter_count
    from orchestrator.training.batches import plan_batches

    vocab_size, context, available = training_data(blocks, expected, languages)
    plan_batches(config, context, available // context or config.batch_tokens, world_size=1)
    about = available or expected.blocks.get("train", 0) * context * (len(languages or ()) or expected.languages)
    tokens = config.tokens if config.tokens is not None else int(config.epochs * about)
    parameters = parameter_count(model, rows or vocab_size, context)
    return Cost(
        parameters=parameters,
        tokens=tokens,
        flops=float(6 * parameters + 2 * teacher_parameters) * tokens,
        memory_bytes=PROCESS_BYTES + WEIGHT_BYTES * parameters + 4 * teacher_parameters,
        training=config,
    )


def training_data(blocks: Path | None, expected: Expected, languages: tuple[str, ...] | None) -> tuple[int, int, int]:
    """Vocabulary, context and tokens to train on: of the blocks, or as expected (0 tokens: not known)."""
    from orchestrator.tokens.blocks import TokenBlocks

    if blocks is None:
        count = len(languages) if languages else expected.languages
        return expected.vocab_size, expected.context, (expected.tokens_per_language or 0) * count
    data = TokenBlocks.open(blocks, "train")
    available = data.context * sum(data.count(language) for language in languages or data.languages)
    return data.vocab_size, data.context, available


def _artifact_fingerprint(folder: Path) -> str:
    try:
        return str(json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["fingerprint"])
    except (OSError, ValueError, KeyError):
        return ""  # not an artifact of a run: made by hand, as in tests
