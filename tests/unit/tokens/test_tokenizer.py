"""No text is lost, special tokens in text stay text, and bytes are counted exactly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from orchestrator.errors import TokenizerError
from orchestrator.tokens.special import OUR_NAMES
from orchestrator.tokens.tokenizer import (
    byte_lengths,
    character_lengths,
    decode,
    encode,
    load_tokenizer,
    loses_text,
    prefix_bytes,
    save_tokenizer,
    token_bytes,
    train_tokenizer,
)

TEXTS = [
    "The quick brown fox jumps over the lazy dog, and the dog sleeps.",
    "Où est passé l'été ? L'été est passé là-bas, où naît la rivière.",
    "Über den Fluß führt eine Brücke; über die Brücke führt der Weg.",
    "def add(a, b):\n    return a + b\n\n\ndef sub(a, b):\n    return a - b\n",
] * 3
PAPER = Path(__file__).resolve().parents[4] / "shared" / "paper" / "tokenizer"
any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer([TEXTS], 320)


@pytest.fixture(scope="module")
def byte_fallback() -> Tokenizer:
    """A Llama-style tokenizer: ▁ for spaces, one put in front, single bytes for what the vocabulary lacks."""
    tokens = [*OUR_NAMES, *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "b", "é", "ab", "▁ab"]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    merges = [("a", "b"), ("▁", "ab")]
    built = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    built.add_special_tokens(list(OUR_NAMES))
    built.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    built.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    built.encode_special_tokens = True
    return built


@given(any_text)
@settings(max_examples=200, deadline=None)
@example("  leading and trailing  \t\r\n")
@example("\u00a0\u2003\u3000\u200b\ufeff\x00\x1f\x7f\u0085\u2028")
@example("👩‍👩‍👧‍👦🏳️‍🌈 e\u0301 \U0010ffff ▁ Ġ")
@example("<s>a</s><unk> <s> </s>")
@example("")
def test_any_text_comes_back_and_its_bytes_add_up(tokenizer: Tokenizer, text: str) -> None:
    (ids,) = encode(tokenizer, [text])
    assert decode(tokenizer, ids) == text
    assert byte_lengths(tokenizer)[ids].sum() == len(text.encode())
    assert character_lengths(tokenizer)[ids].sum() == len(text)
    assert not np.isin(ids, [0, 1, 2]).any()


@given(any_text.filter(lambda text: "▁" not in text))
@settings(max_examples=100, deadline=None)
@example(" ab  ab👍é\n")
def test_bytes_add_up_with_byte_fallback_but_for_the_prefix(byte_fallback: Tokenizer, text: str) -> None:
    (ids,) = encode(byte_fallback, [text])
    prefix = prefix_bytes(byte_fallback) * bool(text)
    assert decode(byte_fallback, ids) == text
    assert byte_lengths(byte_fallback)[ids].sum() == len(text.encode()) + prefix
    assert character_lengths(byte_fallback)[ids].sum() == len(text) + prefix


def test_special_tokens_come_first_and_stand_for_nothing(tokenizer: Tokenizer) -> None:
    assert [tokenizer.id_to_token(index) for index in range(3)] == list(OUR_NAMES)
    assert byte_lengths(tokenizer)[:3].tolist() == [0, 0, 0]
    assert decode(tokenizer, [1, *encode(tokenizer, ["ab"])[0], 2]) == "ab"


def test_vocabulary_holds_every_byte(tokenizer: Tokenizer) -> None:
    assert {bytes([byte]) for byte in range(256)} <= set(token_bytes(tokenizer))
    assert not loses_text(tokenizer)
    assert len(byte_lengths(tokenizer)) == tokenizer.get_vocab_size() == 320


def test_ids_take_the_smallest_type(tokenizer: Tokenizer) -> None:
    assert [each.dtype for each in encode(tokenizer, ["a", ""])] == [np.uint16, np.uint16]


def test_auto_tokenizer_opens_the_folder(tokenizer: Tokenizer, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    save_tokenizer(tokenizer, tmp_path)
    opened = AutoTokenizer.from_pretrained(tmp_path)
    text = "  Où </s> est\n\n  def f(): <s>"
    assert opened(text)["input_ids"] == [1, *encode(tokenizer, [text])[0].tolist()]
    assert opened.decode(opened(text)["input_ids"], skip_special_tokens=True) == text
    assert (opened.unk_token_id, opened.bos_token_id, opened.eos_token_id, len(opened)) == (0, 1, 2, 320)
    assert load_tokenizer(tmp_path).encode_special_tokens


def test_training_is_the_same_on_any_number_of_threads(tmp_path: Path) -> None:
    program = (
        "import sys, json, hashlib; from orchestrator.tokens.tokenizer import train_tokenizer as t;"
        "print(hashlib.sha256(t([json.loads(sys.argv[1])], 320).to_str().encode()).hexdigest())"
    )
    command = [sys.executable, "-c", program, json.dumps(TEXTS)]
    runs = [
        subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, check=True).stdout
        for variables in ({"RAYON_NUM_THREADS": "1"}, {"RAYON_NUM_THREADS": "4"}, {"TOKENIZERS_PARALLELISM": "false"})
    ]
    assert len(set(runs)) == 1


def test_vocabulary_larger_than_the_text_supports_says_what_to_set() -> None:
    with pytest.raises(TokenizerError) as caught:
        train_tokenizer([["ab ab abc", "abc abc"]], 5000)
    assert caught.value.where == "tokenizer.vocab_size"
    reached = int(caught.value.fix.split("tokenizer.vocab_size=")[1].split()[0])
    assert train_tokenizer([["ab ab abc", "abc abc"]], reached).get_vocab_size() == reached


@pytest.mark.parametrize("content", [None, "{", json.dumps({"model": {"type": "nonsense"}})])
def test_missing_or_garbled_tokenizer(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(TokenizerError, match=str(tmp_path)):
        load_tokenizer(tmp_path)


def test_unknown_kind_of_tokenizer_has_no_byte_lengths() -> None:
    words = Tokenizer(models.WordLevel({"<unk>": 0}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    with pytest.raises(TokenizerError, match="which bytes"):
        byte_lengths(words)


@pytest.mark.skipif(not PAPER.is_dir(), reason="the paper's tokenizer is not here")
@pytest.mark.parametrize(
    "text", ["Hello world", " Où est l'été ?\n\tIci.", "Über die Brücke  </s>", "def f(x):\n    return x"]
)
def test_the_papers_tokenizer(text: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    paper = load_tokenizer(PAPER)
    (ids,) = encode(paper, [text])
    assert paper.get_vocab_size() == 32_000
    assert loses_text(paper)
    assert prefix_bytes(paper) == 1
    assert decode(paper, ids) == text
    assert byte_lengths(paper)[ids].sum() == len(text.encode()) + 1
    save_tokenizer(paper, tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path)(text)["input_ids"] == [1, *ids.tolist()]
