"""Experts with a teacher's tokenizer: several tokens that end an answer, or none, and nothing in front of a text."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.api.exporting import Wish, export_run
from orchestrator.errors import TokenizerError
from orchestrator.exports import Source
from orchestrator.exports._check import Ours
from orchestrator.exports._texts import prompts_of
from tests.unit.exports.conftest import World

SEVERAL = ("<|endoftext|>", "<|im_end|>", "<|of_a_message|>")
TOOLS = {
    "hf": ("transformers",),
    "gguf": ("gguf", "xllamacpp"),
    "ctranslate2": ("ctranslate2",),
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "mixture": ("onnx", "onnxscript", "onnxruntime"),
}


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of experts with three end tokens, which often say the last of them."""
    return World(tmp_path_factory.mktemp("several"), ends=SEVERAL).run("several", loud=2)


@pytest.fixture(scope="module")
def none(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose tokenizer has no special token; experts often say the token 0, which is text there."""
    return World(tmp_path_factory.mktemp("none"), ends=()).run("none", loud=0)


@pytest.mark.parametrize("kind", TOOLS)
def test_the_last_of_several_end_tokens_ends_an_answer_in_every_tool(several: Path, tmp_path: Path, kind: str) -> None:
    for package in TOOLS[kind]:
        pytest.importorskip(package)
    made = export_run(several, Wish(kind, "es", check=120), tmp_path / "out")
    assert made.checked["es"]["prompts"] == 6
    expert = Source.of(several).expert("es")
    ours = Ours(expert)
    assert any(len(ours.greedy(ids[:32], 16)) < 16 for ids in prompts_of(expert, 6))


@pytest.mark.parametrize("kind", TOOLS)
def test_a_tokenizer_without_special_tokens(none: Path, tmp_path: Path, kind: str) -> None:
    for package in TOOLS[kind]:
        pytest.importorskip(package)
    made = export_run(none, Wish(kind, "es", check=120), tmp_path / "out")
    assert made.checked["es"]["prompts"] == 6
    if kind == "mixture":  # the empty text is a line break there, as it is when an expert is served
        subprocess.run([sys.executable, "mixture.py", ""], cwd=made.folder, check=True)


def test_more_end_tokens_than_a_file_can_say_are_refused(
    several: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gguf")
    monkeypatch.setattr("orchestrator.exports.gguf.ENDS", ("eos", "eot"))
    with pytest.raises(TokenizerError, match="ends answers by 3 tokens"):
        export_run(several, Wish("gguf", "es"), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
