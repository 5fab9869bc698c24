"""Experts that have the tokens of their language alone, in every tool."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.api.exporting import Wish, export_run

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


@pytest.mark.parametrize("router", ["paper", "prompt"])
@pytest.mark.parametrize("digits", [False, True])
def test_the_reader_of_a_mixture_has_a_tokenizer_of_each_expert(
    request: pytest.FixtureRequest, tmp_path: Path, digits: bool, router: str
) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    world = request.getfixturevalue("world_of_digits" if digits else "world")
    run = world.run(f"cut-mixed-{router}", router=router, keep=0.9)
    made = export_run(run, Wish("mixture", check=120), tmp_path / "out")
    assert made.checked[run.name]["prompts"] >= 6
    folders = [made.folder, *(made.folder / "experts" / name for name in ("en", "es"))]
    sizes = [len(json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]) for folder in folders]
    assert max(sizes[1:]) < sizes[0] == world.tokenizer.get_vocab_size()
    command = [sys.executable, "mixture.py", "La casa"]
    done = subprocess.run(command, cwd=made.folder, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(("es: ", "en: "))
