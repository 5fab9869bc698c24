"""A long text has the tokens that it has when it is encoded at once, whatever the tokenizer."""

from __future__ import annotations

import random

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from orchestrator.tokens import tokenizer as room
from orchestrator.tokens import windows
from orchestrator.tokens.tokenizer import encode, train_tokenizer
from orchestrator.tokens.windows import encode_long

WORDS = [
    "the",
    "quick",
    "brown",
    "fox",
    "l'été",
    "là-bas",
    "naît",
    "Brücke",
    "führt",
    "東京の天気は",
    "🙂🙂",
    "x=1;",
    "\n\n\t",
    "12345",
    "नमस्ते",
]
RANDOM = random.Random(1)
TEXT = " ".join(RANDOM.choices(WORDS, k=6000))


def unigram() -> Tokenizer:
    """SentencePiece's way: ▁ for spaces and one in front, words by probability."""
    made = Tokenizer(models.Unigram())
    made.normalizer = normalizers.NFKC()
    made.pre_tokenizer, made.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    made.train_from_iterator(
        [TEXT], trainers.UnigramTrainer(vocab_size=400, unk_token="<unk>", special_tokens=["<unk>"])
    )
    return made


def whole_text() -> Tokenizer:
    """Llama 2's way: nothing cuts the text before its pairs are joined."""
    made = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    pieces = [TEXT[begin : begin + 40] for begin in range(0, 8000, 40)]
    made.train_from_iterator(pieces, trainers.BpeTrainer(vocab_size=400, special_tokens=["<unk>"], show_progress=False))
    return made


TOKENIZERS = {"bytes": lambda: train_tokenizer([[TEXT]], 330), "unigram": unigram, "whole text": whole_text}


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("size", [1001, 4000, len(TEXT)])
def test_its_tokens_are_those_of_the_whole(kind: str, size: int) -> None:
    tokenizer = TOKENIZERS[kind]()
    found = encode_long(tokenizer, TEXT[:size], window=1000, overlap=300)
    assert found.tolist() == tokenizer.encode(TEXT[:size], add_special_tokens=False).ids


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("run", ["a" * 5000, "ab" * 2500, " " * 5000, "é" * 3000])
def test_a_run_without_end_is_encoded_at_once(kind: str, run: str) -> None:
    tokenizer, text = TOKENIZERS[kind](), f"{TEXT[:1500]}{run}{TEXT[:1500]}"
    found = encode_long(tokenizer, text, window=1000, overlap=300)
    assert found.tolist() == tokenizer.encode(text, add_special_tokens=False).ids


def test_long_and_short_texts_keep_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer, texts = TOKENIZERS["bytes"](), [TEXT[:50], TEXT[:3000], "", TEXT[50:90], TEXT[:2500]]
    expected = encode(tokenizer, texts, np.dtype(np.uint16))
    monkeypatch.setattr(room, "LONG", 2000)
    seen = []
    monkeypatch.setattr(room, "encode_long", lambda *a: seen.append(len(a[1])) or encode_long(*a, 1000, 300))
    found = encode(tokenizer, texts, np.dtype(np.uint16))
    assert seen == [3000, 2500]
    assert [each.tolist() for each in found] == [each.tolist() for each in expected]
    assert {each.dtype for each in found} == {np.dtype(np.uint16)}
    assert windows.LONG > windows.WINDOW > 10 * windows.OVERLAP
