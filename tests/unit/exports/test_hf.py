"""Experts for transformers: the same logits, a tokenizer that needs nothing more, and a card with the run's figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from orchestrator.api.exporting import Wish, export_run
from orchestrator.errors import ArtifactError, ModelError
from orchestrator.models import load_model

TEXT = "La casa está junto al río </s>"


def exported(run: Path, out: Path, expert: str = "es", **wish: object) -> Path:
    return export_run(run, Wish("hf", expert, **wish), out).folder


def test_what_is_written_gives_the_same_logits(run: Path, tmp_path: Path) -> None:
    folder = exported(run, tmp_path / "out")
    inputs = AutoTokenizer.from_pretrained(folder)(TEXT, return_tensors="pt")
    assert set(inputs) == {"input_ids", "attention_mask"}
    ours = load_model(run / "stages/mixture/mixturemixturemi/experts/es")
    with torch.inference_mode():
        theirs = AutoModelForCausalLM.from_pretrained(folder)(**inputs).logits
        assert torch.equal(theirs, ours(**inputs).logits)


def test_it_is_checked_in_the_tool(run: Path, tmp_path: Path) -> None:
    found = export_run(run, Wish("hf", "es", check=40), tmp_path / "out").checked["es"]
    assert found["texts"] >= 12
    assert found["prompts"] == 2
    assert found["ties"] == 0
    assert json.loads((tmp_path / "out/export.json").read_text())["checked"] == found


def test_the_tokenizer_pads_and_knows_the_context(run: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(exported(run, tmp_path / "out"))
    assert tokenizer.model_max_length == 64
    assert tokenizer.pad_token == "<unk>"
    rows = tokenizer(["La", "La casa"], padding=True)["input_ids"]
    assert rows[0][0] == tokenizer.pad_token_id
    assert rows[0][-1] == rows[1][1]


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        ("gpt2", {"n_ctx": 64}),
        ("mistral", {"rope_theta": 10000.0}),
        ("gpt_neox", {"rotary_pct": 0.25, "rotary_emb_base": 10000.0}),
        ("gemma3", {"rope_theta": 1_000_000.0, "rope_local_base_freq": 10_000.0}),
        ("bloom", {"max_position_embeddings": 64}),
    ],
)
def test_fields_that_version_4_reads_are_written(world, tmp_path: Path, model: str, fields: dict) -> None:
    folder = exported(world.run(f"for-4-{model}", model), tmp_path / "out")
    config = json.loads((folder / "config.json").read_text())
    assert fields.items() <= config.items()
    assert config["torch_dtype"] == config["dtype"] == "float32"
    assert all(
        isinstance(merge, str) for merge in json.loads((folder / "tokenizer.json").read_text())["model"]["merges"]
    )


def test_rows_without_a_token_are_cut(world, tmp_path: Path) -> None:
    folder = exported(world.run("padded", rows=20), tmp_path / "out")
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert len(model.get_output_embeddings().weight) == world.tokenizer.get_vocab_size()


def test_the_card_names_data_licences_teacher_and_loss_but_no_path(run: Path, tmp_path: Path) -> None:
    card = (exported(run, tmp_path / "out") / "README.md").read_text()
    assert 'language: ["es"]' in card
    for said in (
        "CC0-1.0 (6)",
        "reverse_kl",
        "files (path texts)",
        "## How to load it",
        "## Limits",
        "64 tokens at once",
    ):
        assert said in card, said
    assert "somewhere" not in card


def test_all_is_a_folder_for_each(run: Path, tmp_path: Path) -> None:
    export_run(run, Wish("hf", every=True), tmp_path / "out")
    for language in ("en", "es"):
        assert AutoModelForCausalLM.from_pretrained(tmp_path / "out" / language).config.n_embd == 32


def test_which_one_must_be_said(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="--expert en or es"):
        export_run(run, Wish("hf"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_combined_expert_is_refused_but_not_alone(combined: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="common expert"):
        exported(combined, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    exported(combined, tmp_path / "out", common=False, check=12)


def test_nothing_else_is_replaced(run: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(ArtifactError, match="something else"):
        exported(run, tmp_path / "out")
    assert (tmp_path / "out" / "mine.txt").read_text() == "mine"
    (tmp_path / "out" / "mine.txt").unlink()
    first = exported(run, tmp_path / "out")
    assert exported(run, first, "en") == first
    assert json.loads((first / "export.json").read_text())["experts"] == ["en"]
