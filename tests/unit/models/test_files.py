"""Folders of models, their digest, and what is said of damaged ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from orchestrator.config.base import PluginSpec
from orchestrator.errors import ArtifactError, ModelError, TokenizerError
from orchestrator.models import build_model, initialise_from_teacher, load_model, save_model, weights_digest
from orchestrator.models.zoo.gpt2 import GPT2
from orchestrator.tokens.tokenizer import save_tokenizer, train_tokenizer

NANO = PluginSpec(type="gpt2-nano")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tokenizer = tmp_path / "tokenizer"
    tokenizer.mkdir()
    (tokenizer / "tokenizer.json").write_text("{}")
    save_model(build_model(NANO, 64, 16, 0), tokenizer, tmp_path / "model")
    return tmp_path / "model"


def test_writing_twice_gives_the_same_bytes(folder: Path) -> None:
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    save_model(build_model(NANO, 64, 16, 0), folder, folder.parent / "again")
    assert {p.name: p.read_bytes() for p in (folder.parent / "again").iterdir()} == before


def test_tokenizer_without_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"no tokenizer\.json"):
        save_model(build_model(NANO, 64, 16, 0), tmp_path, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_encoding_yields_what_the_models_take(tmp_path: Path) -> None:
    """Transformers 4 adds token_type_ids otherwise, and GPT-2 the embedding of token 0 to every position."""
    from transformers import AutoTokenizer

    save_tokenizer(train_tokenizer([["la casa junto al agua"] * 9], 262), tmp_path / "tokenizer")
    old = tmp_path / "tokenizer" / "tokenizer_config.json"
    for config in (json.loads(old.read_text()), {"tokenizer_class": "PreTrainedTokenizerFast"}):  # and an earlier one
        old.write_text(json.dumps(config))
        save_model(build_model(NANO, 262, 16, 0), tmp_path / "tokenizer", tmp_path / "model")
        written = json.loads((tmp_path / "model" / "tokenizer_config.json").read_text())
        assert written == {**config, "model_input_names": ["input_ids", "attention_mask"]}
        tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
        assert set(tokenizer("la casa")) == {"input_ids", "attention_mask"}
        assert tokenizer.model_input_names == ["input_ids", "attention_mask"]


def test_a_tokenizer_configuration_that_is_none(tmp_path: Path) -> None:
    save_tokenizer(train_tokenizer([["la casa junto al agua"] * 9], 262), tmp_path / "tokenizer")
    (tmp_path / "tokenizer" / "tokenizer_config.json").write_text("{")
    with pytest.raises(TokenizerError, match=r"configuration can't be read[\s\S]*--force tokenizer"):
        save_model(build_model(NANO, 262, 16, 0), tmp_path / "tokenizer", tmp_path / "model")


@pytest.mark.parametrize("damage", ["missing", "truncated", "config"])
def test_damaged_folder(folder: Path, damage: str) -> None:
    weights = folder / "model.safetensors"
    if damage == "missing":
        weights.unlink()
    elif damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:-1000])
    else:
        (folder / "config.json").write_text("{")
    with pytest.raises(ArtifactError, match="can't be opened"):
        load_model(folder)


def test_weights_of_another_shape_are_not_taken_silently(folder: Path) -> None:
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"n_embd": 32', '"n_embd": 64'))
    with pytest.raises(ArtifactError):
        load_model(folder)


def test_missing_weights_are_not_made_up(folder: Path) -> None:
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"n_layer": 2', '"n_layer": 3'))
    with pytest.raises(ArtifactError, match=r"transformer\.h\.2"):
        load_model(folder)


def test_digest_counts_tied_weights_once_and_sees_one_bit() -> None:
    model = build_model(NANO, 64, 16, 0)
    state = dict(model.state_dict())
    assert weights_digest(state) == weights_digest(model)
    untied = {**state, "lm_head.weight": state["lm_head.weight"].clone()}
    assert weights_digest(untied) != weights_digest(model)
    with torch.no_grad():
        model.transformer.wpe.weight[0, 0] += 1e-6
    assert weights_digest(
        state | {"transformer.wpe.weight": state["transformer.wpe.weight"].clone()}
    ) == weights_digest(model)
    assert weights_digest(model) != weights_digest(build_model(NANO, 64, 16, 0))


def test_student_begins_as_every_second_layer_of_its_teacher() -> None:
    teacher = build_model(GPT2(layers=4, width=16, heads=2), 64, 16, 0)
    student = build_model(GPT2(layers=2, width=16, heads=2), 64, 16, 1)
    initialise_from_teacher(student, teacher)
    for ours, theirs in ((0, 0), (1, 2)):
        a, b = student.transformer.h[ours].state_dict(), teacher.transformer.h[theirs].state_dict()
        assert all(torch.equal(a[name], b[name]) for name in a)
    assert torch.equal(student.transformer.wte.weight, teacher.transformer.wte.weight)
    assert student.lm_head.weight is student.transformer.wte.weight


@pytest.mark.parametrize(
    "student", [GPT2(layers=2, width=32, heads=2), GPT2(layers=5, width=16, heads=2)], ids=["wider", "deeper"]
)
def test_student_that_does_not_fit_its_teacher(student: GPT2) -> None:
    teacher = build_model(GPT2(layers=4, width=16, heads=2), 64, 16, 0)
    with pytest.raises(ModelError):
        initialise_from_teacher(build_model(student, 64, 16, 1), teacher)
