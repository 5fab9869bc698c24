"""A tiny training task: two languages of random tokens, one layer of width 32."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from orchestrator.config.base import PluginSpec
from orchestrator.config.recipe import TrainingConfig
from orchestrator.environment import Environment
from orchestrator.models import build_model
from orchestrator.tokens.blocks import TokenBlocks
from orchestrator.training.loop import Task
from orchestrator.training.objective import CrossEntropyObjective

CONTEXT, VOCABULARY = 16, 300
MODEL = PluginSpec(type="gpt2", layers=1, width=32, heads=2, dropout=0.1)
CONFIG = TrainingConfig(
    tokens=CONTEXT * 8 * 12,
    batch_tokens=CONTEXT * 8,
    micro_batch=4,
    eval_every=4,
    eval_blocks=6,
    checkpoint_every=3,
    precision="fp32",
)


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def blocks_folder(tmp_path_factory) -> Path:
    """A blocks artifact of two languages whose tokens differ in range, so that there is something to learn."""
    folder = tmp_path_factory.mktemp("blocks")
    rng = np.random.default_rng(0)
    splits: dict[str, Any] = {}
    for split, tokens in (("train", 3000), ("validation", 400), ("test", 400)):
        (folder / split).mkdir()
        splits[split] = {}
        for language, words in (("en", 40), ("fr", 80)):
            rng.integers(3, words, tokens).astype(np.uint16).tofile(folder / split / f"{language}.bin")
            counts = {"documents": 1, "tokens": tokens, "characters": tokens, "bytes": tokens}
            splits[split][language] = {**counts, "blocks": (tokens - 1) // CONTEXT}
    about = {"context": CONTEXT, "dtype": "uint16", "vocab_size": VOCABULARY, "languages": ["en", "fr"]}
    (folder / "blocks.json").write_text(json.dumps({**about, "splits": splits}))
    return folder


@pytest.fixture
def make_task(blocks_folder) -> Callable[..., Task]:
    """A cross-entropy task on both languages; keywords change its fields, `config` those of its configuration."""

    def make(config: dict[str, Any] | None = None, **changes: Any) -> Task:
        task = Task(
            new_model=lambda: build_model(MODEL, VOCABULARY, CONTEXT, seed=1),
            objective=CrossEntropyObjective(),
            config=CONFIG.model_copy(update=config or {}),
            train=TokenBlocks.open(blocks_folder, "train"),
            validation=TokenBlocks.open(blocks_folder, "validation"),
            languages=("en", "fr"),
            seed=1,
            fingerprint="f",
        )
        return dataclasses.replace(task, **changes)

    return make


@pytest.fixture
def env(tmp_path) -> Environment:
    return Environment(work=tmp_path / "work")


@pytest.fixture
def rows_of() -> Callable[[Environment], list[dict[str, Any]]]:
    """Rows of an environment's metrics.jsonl."""
    return lambda env: [json.loads(line) for line in (env.work / "metrics.jsonl").read_text().splitlines()]
