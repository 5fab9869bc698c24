"""Experts for llama.cpp: the same tokens and continuations there, and refused where they would not be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.api.exporting import Wish, export_run
from orchestrator.config.base import PluginSpec
from orchestrator.errors import ModelError, ResourceError, TokenizerError
from orchestrator.exports._gguf_tokens import unlike_known

LLAMA = {"type": "Split", "pattern": {"Regex": r"\p{N}{1,3}"}, "behavior": "Isolated"}


def described(world: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(world.tokenizer.to_str())
    return found


def test_our_own_tokenizers_are_taken(world: Any) -> None:
    assert unlike_known(described(world)) == ""


@pytest.mark.parametrize(
    ("part", "other", "said"),
    [
        ("pre_tokenizer", {"type": "ByteLevel", "add_prefix_space": True, "use_regex": True}, "add_prefix_space True"),
        ("pre_tokenizer", {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}, "use_regex False"),
        ("pre_tokenizer", {"type": "Sequence", "pretokenizers": [LLAMA]}, "other rules (Sequence)"),
        ("pre_tokenizer", None, "other rules (none)"),
        ("normalizer", {"type": "NFC"}, "changes texts first (NFC)"),
        ("model", {"type": "Unigram"}, "is Unigram"),
        ("model", {"type": "BPE", "ignore_merges": True}, "looks whole words up first"),
        ("added_tokens", [{"id": 1, "content": "<tool>", "special": False}], "the added token '<tool>'"),
    ],
)
def test_tokenizers_that_llama_cpp_reads_otherwise_are_refused(world: Any, part: str, other: Any, said: str) -> None:
    assert said in unlike_known(described(world) | {part: other})


def test_what_is_missing_is_told_with_the_line_that_installs_it(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ResourceError, match=r"llama.cpp needs gguf[\s\S]*mome-orchestrator\[export\]"):
        export_run(run, Wish("gguf", "es"), tmp_path / "out")


@pytest.fixture
def gguf() -> Any:
    """The package."""
    return pytest.importorskip("gguf")


def test_a_tied_head_is_not_written_twice_and_padding_is_cut(gguf: Any, world: Any, tmp_path: Path) -> None:
    folder = export_run(world.run("padded-gguf", rows=20), Wish("gguf", "es"), tmp_path / "out").folder
    found = gguf.GGUFReader(folder / "model.gguf")
    shapes = {tensor.name: tuple(tensor.shape) for tensor in found.tensors}
    assert "output.weight" not in shapes
    assert shapes["token_embd.weight"] == (32, world.tokenizer.get_vocab_size())
    assert len(found.get_field("tokenizer.ggml.tokens").contents()) == world.tokenizer.get_vocab_size()
    assert found.get_field("tokenizer.ggml.pre").contents() == "gpt-2"
    assert found.get_field("tokenizer.ggml.add_bos_token").contents() is True


def test_a_modelfile_for_ollama(gguf: Any, run: Path, tmp_path: Path) -> None:
    folder = export_run(run, Wish("gguf", "es"), tmp_path / "out").folder
    assert (folder / "Modelfile").read_text() == (
        'FROM ./model.gguf\nTEMPLATE """{{ .Prompt }}"""\nPARAMETER num_ctx 64\n'
    )


def test_a_combined_expert_is_refused(gguf: Any, combined: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"llama.cpp can't hold the expert es[\s\S]*--to mixture"):
        export_run(combined, Wish("gguf", "es"), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_an_architecture_that_is_not_known_is_refused_by_name(
    gguf: Any, world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.unit.exports import conftest

    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    spec = PluginSpec(type="transformers", config={"model_type": "gpt_neox", **sizes})
    monkeypatch.setitem(conftest.MODELS, "neox", spec)
    with pytest.raises(ModelError, match="is a gpt_neox"):
        export_run(world.run("neox", "neox"), Wish("gguf", "es"), tmp_path / "out")


@pytest.mark.parametrize("kind", ["f32", "f16", "q8_0"])
@pytest.mark.parametrize("model", ["gpt2", "mistral", "phi"])
def test_llama_cpp_reads_and_continues_alike(gguf: Any, world: Any, tmp_path: Path, model: str, kind: str) -> None:
    pytest.importorskip("xllamacpp")
    wish = Wish("gguf", "es", check=120, options={"type": kind})
    found = export_run(world.run(f"gguf-{model}", model), wish, tmp_path / "out").checked["es"]
    assert found["texts"] >= 80
    assert found["prompts"] == 6


@pytest.mark.parametrize("pre", ["smollm", "llama-bpe", "qwen2"])
def test_tokenizers_of_known_teachers_are_read_alike(
    gguf: Any, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, pre: str
) -> None:
    pytest.importorskip("xllamacpp")
    from tests.unit.exports.conftest import World

    run = World(tmp_path_factory.mktemp(pre), pre).run("known")
    made = export_run(run, Wish("gguf", "es", check=120), tmp_path / "out")
    assert made.checked["es"]["texts"] >= 80
    assert gguf.GGUFReader(made.folder / "model.gguf").get_field("tokenizer.ggml.pre").contents() == pre


@pytest.mark.parametrize("pre", ["default", "llama-bpe"])
def test_another_pre_tokenizer_is_noticed(
    gguf: Any, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pre: str
) -> None:
    pytest.importorskip("xllamacpp")
    real = gguf.GGUFWriter.add_tokenizer_pre
    monkeypatch.setattr(gguf.GGUFWriter, "add_tokenizer_pre", lambda self, _: real(self, pre))
    with pytest.raises((ModelError, TokenizerError), match="as other tokens"):
        export_run(run, Wish("gguf", "es", check=40), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_special_tokens_in_a_text_prompt_are_read_as_such(gguf: Any, run: Path, tmp_path: Path) -> None:
    """Which is why our own prompts are sent as ids."""
    pytest.importorskip("xllamacpp")
    from orchestrator.exports._llama_cpp import LlamaCpp

    folder = export_run(run, Wish("gguf", "es"), tmp_path / "out").folder
    with LlamaCpp(folder / "model.gguf", {2}) as opened:
        assert 2 not in opened.encode("a </s>")
        parsed = opened._ask("/tokenize", {"content": "a </s>", "add_special": True})
    assert parsed[-1] == 2


def test_llama_cpp_s_server_is_in_a_process_of_its_own_which_ends(gguf: Any, run: Path, tmp_path: Path) -> None:
    """xllamacpp 2026.10.11549: letting the server go waited for ever once in some forty times."""
    pytest.importorskip("xllamacpp")
    from orchestrator.exports._llama_cpp import LlamaCpp

    folder = export_run(run, Wish("gguf", "es"), tmp_path / "out").folder
    with LlamaCpp(folder / "model.gguf", {2}) as opened:
        assert opened._process.poll() is None
    assert opened._process.poll() is not None
    (folder / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelError, match=r"llama\.cpp does not open the file"):
        LlamaCpp(folder / "model.gguf", {2})
