"""Two small languages as packed blocks, and a teacher of both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from orchestrator.config.recipe import TeacherConfig
from orchestrator.environment import Environment
from orchestrator.stages.teacher import TeacherStage

CONTEXT, VOCABULARY = 16, 60


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> dict[str, Path]:
    """Artifacts of blocks and tokenizer."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    splits: dict[str, Any] = {}
    for split, tokens in (("train", 1200), ("validation", 200)):
        (folder / "blocks" / split).mkdir(parents=True)
        splits[split] = {}
        for language, words in (("en", 20), ("fr", 40)):
            rng.integers(3, words, tokens).astype(np.uint16).tofile(folder / "blocks" / split / f"{language}.bin")
            works = np.arange((tokens - 1) // CONTEXT, dtype=np.uint64)
            np.save(folder / "blocks" / split / f"{language}.works.npy", works)
            counts = {"documents": 1, "tokens": tokens, "characters": tokens, "bytes": tokens}
            splits[split][language] = {**counts, "blocks": (tokens - 1) // CONTEXT}
    about = {"context": CONTEXT, "dtype": "uint16", "vocab_size": VOCABULARY, "languages": ["en", "fr"]}
    (folder / "blocks" / "blocks.json").write_text(json.dumps({**about, "splits": splits}))
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer" / "tokenizer.json").write_text("{}")
    return {"blocks": folder / "blocks", "tokenizer": folder / "tokenizer"}


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory) -> dict[str, Path]:
    """The data with a trained teacher."""
    training = {
        "tokens": CONTEXT * 80,
        "batch_tokens": CONTEXT * 8,
        "micro_batch": 4,
        "eval_every": 5,
        "eval_blocks": 4,
    }
    config = {
        "model": {"type": "gpt2", "layers": 1, "width": 16, "heads": 2},
        "training": {**training, "optimizer": {"type": "adamw", "lr": 0.01}},
    }
    folder = tmp_path_factory.mktemp("teacher")
    (folder / "out").mkdir()
    stage = TeacherStage(teacher=TeacherConfig.model_validate(config), seed=1)
    stage.run(data, folder / "out", Environment(work=folder / "work"))
    return {**data, "teacher": folder / "out"}
