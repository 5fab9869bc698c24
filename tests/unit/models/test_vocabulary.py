"""A pretrained model's tokens are the run's or it is refused, before text is read where that can be told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, pre_tokenizers

from orchestrator.config.base import PluginSpec
from orchestrator.errors import ModelError, TokenizerError, VocabularyError
from orchestrator.models import build_model, save_model
from orchestrator.models.vocabulary import check_vocabulary
from orchestrator.tokens.tokenizer import load_tokenizer, save_tokenizer, train_tokenizer

SPANISH = [["la casa junto al agua, la casa grande, la nada"] * 9]
ENGLISH = [["the house by the river, the house, a large one"] * 9]
SIZE = 268


def tokenizer(folder: Path, texts: list[list[str]], **changes: Any) -> Path:
    """A folder of a tokenizer trained on texts, with its pre-tokenizer changed or tokens added."""
    made = train_tokenizer(texts, SIZE)
    for name, value in changes.items():
        if name == "added":
            made.add_tokens(value)
        else:
            setattr(made, name, value)
    save_tokenizer(made, folder)
    return folder


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    return tokenizer(tmp_path / "ours", SPANISH)


def model(folder: Path, theirs: Path) -> PluginSpec:
    save_model(build_model(PluginSpec(type="gpt2-nano"), SIZE, 16, 0), theirs, folder)
    return PluginSpec.model_validate({"type": "pretrained", "name": str(folder)})


def test_the_same_tokens_are_taken(ours: Path, tmp_path: Path) -> None:
    spec = model(tmp_path / "model", tokenizer(tmp_path / "theirs", SPANISH))
    assert check_vocabulary(spec, ours)
    assert check_vocabulary(spec, None)
    # the same in another spelling: keys in another order, no padding of JSON
    path = tmp_path / "model" / "tokenizer.json"
    path.write_text(Tokenizer.from_file(str(path)).to_str())
    assert check_vocabulary(spec, ours)


def test_as_many_other_tokens_are_refused_by_name(ours: Path, tmp_path: Path) -> None:
    spec = model(tmp_path / "model", tokenizer(tmp_path / "theirs", ENGLISH))
    with pytest.raises(VocabularyError, match=r"259 is '.+' to it, '.+' here; 26") as caught:
        check_vocabulary(spec, ours)
    assert f"tokenizer.path={tmp_path / 'model'} tokenizer.vocab_size={SIZE}" in caught.value.fix
    assert caught.value.exit_code == 2
    assert check_vocabulary(spec, None)  # one that is trained could still come out like it


def gpt2_like(folder: Path) -> Path:
    """<|endoftext|> comes last, and there is no other special token."""
    made = Tokenizer.from_file(str(tokenizer(folder, SPANISH) / "tokenizer.json"))
    text = made.to_str()
    for old, new in (("<unk>", "<|endoftext|>"), ("<s>", "aa"), ("</s>", "aaa")):
        text = text.replace(f'"{old}"', f'"{new}"')
    (folder / "tokenizer.json").write_text(text)
    return folder


def test_tokens_that_no_training_brings_are_told_before_any(tmp_path: Path) -> None:
    with pytest.raises(VocabularyError, match=r"0 is '<\|endoftext\|>' to it, '<unk>' here; 1 is") as caught:
        check_vocabulary(model(tmp_path / "model", gpt2_like(tmp_path / "gpt2")), None)
    assert "leave `tokenizer` out" in caught.value.fix
    with pytest.raises(VocabularyError, match=r"it has '<pad>' as 268"):
        check_vocabulary(model(tmp_path / "two", tokenizer(tmp_path / "llama", SPANISH, added=["<pad>"])), None)


def test_the_same_tokens_that_split_text_otherwise_are_refused(ours: Path, tmp_path: Path) -> None:
    digits = pre_tokenizers.Sequence([pre_tokenizers.Digits(), pre_tokenizers.ByteLevel(add_prefix_space=True)])
    spec = model(tmp_path / "model", tokenizer(tmp_path / "theirs", SPANISH, pre_tokenizer=digits))
    with pytest.raises(VocabularyError, match=r"split otherwise"):
        check_vocabulary(spec, ours)


def test_where_nothing_can_be_compared(ours: Path, tmp_path: Path) -> None:
    assert check_vocabulary(PluginSpec(type="gpt2-nano"), ours)
    spec = model(tmp_path / "model", ours)
    (tmp_path / "model" / "tokenizer.json").unlink()
    assert not check_vocabulary(spec, ours)
    (tmp_path / "model" / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match="the model's tokenizer can't be read"):
        check_vocabulary(spec, ours)


def test_a_given_tokenizer_that_is_not_there(ours: Path, tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=r"no tokenizer\.json"):
        check_vocabulary(model(tmp_path / "model", ours), tmp_path / "nowhere")


def test_the_runs_tokenizer_is_left_as_it_was(ours: Path, tmp_path: Path) -> None:
    before = (ours / "tokenizer.json").read_bytes()
    check_vocabulary(model(tmp_path / "model", tokenizer(tmp_path / "theirs", SPANISH)), ours)
    assert (ours / "tokenizer.json").read_bytes() == before
    assert load_tokenizer(ours).get_vocab_size() == SIZE
