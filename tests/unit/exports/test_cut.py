"""Experts that have the tokens of their language alone, in every tool."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.api.exporting import Wish, export_run
from orchestrator.errors import MomeError

TOOLS = {"hf": "transformers", "gguf": "xllamacpp", "ctranslate2": "ctranslate2", "onnx": "onnxruntime"}


@pytest.mark.parametrize("kind", TOOLS)
@pytest.mark.parametrize("model", ["gpt2", "mistral"])
def test_its_tool_reads_and_continues_alike(world: Any, tmp_path: Path, model: str, kind: str) -> None:
    pytest.importorskip("gguf" if kind == "gguf" else "transformers")
    pytest.importorskip(TOOLS[kind])
    run = world.run(f"cut-{model}", model, keep=0.9)
    found = export_run(run, Wish(kind, "es", check=120), tmp_path / "out")
    assert found.checked["es"]["texts"] >= 80
    assert found.checked["es"]["prompts"] == 6


def test_a_folder_for_transformers_has_the_tokens_of_its_language(world: Any, tmp_path: Path) -> None:
    folder = export_run(world.run("cut-small", keep=0.9), Wish("hf", "es"), tmp_path / "out").folder
    size = json.loads((folder / "config.json").read_text())["vocab_size"]
    assert size < world.tokenizer.get_vocab_size()


def test_the_reader_of_a_mixture_has_one_tokenizer(world: Any, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    with pytest.raises(MomeError, match="has tokens of its own"):
        export_run(world.run("cut-mixed", keep=0.9), Wish("mixture", None), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
