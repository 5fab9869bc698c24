"""Answers with tokenizers that were not trained here: several tokens end one, and prompts begin as documents did."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from serve.engine.row import Row
from serve.messages import GenerationRequest
from serve.text import Tokenizer
from tests.unit.models.own_tokenizers import KINDS, write


@pytest.mark.parametrize("ending", ["<|end|>", "<|eot|>", "<|begin|>"])
def test_every_end_token_ends_an_answer(ending: str, tmp_path: Path) -> None:
    tokenizer = Tokenizer(write("llama3", tmp_path / "model"))
    fast = KINDS["llama3"]()[0]
    token = fast.token_to_id(ending)
    row = Row(GenerationRequest("La casa"), tokenizer.encode_prompt("La casa"), 8, tokenizer)
    row.push(token, torch.zeros(len(tokenizer.bytes)))
    assert row.ended == (None if ending == "<|begin|>" else "stop")


@pytest.mark.parametrize("kind", KINDS)
def test_prompts_begin_as_documents_do(kind: str, tmp_path: Path) -> None:
    tokenizer = Tokenizer(write(kind, tmp_path / "model"))
    begin = list(tokenizer.special.begin)
    assert len(begin) == 1
    assert tokenizer.encode_prompt("") == begin
    assert tokenizer.encode_prompt("La casa") == begin + tokenizer.encode("La casa")
    assert tokenizer.bytes[begin[0]] == b""
