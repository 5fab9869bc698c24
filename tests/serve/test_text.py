from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as FastTokenizer
from tokenizers import decoders, models, normalizers, trainers

from orchestrator.errors import TokenizerError
from serve.text import Detokenizer, Tokenizer

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\u2581"), min_size=1, max_size=30)


def byte_fallback(folder: Path) -> Path:
    """As Llama's: spaces as U+2581, one prepended, unknown characters as <0xXX>."""
    fast = FastTokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    fast.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    fast.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    special = ["<unk>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=special, show_progress=False)
    fast.train_from_iterator(["the house by the river"], trainer)
    vocabulary = '"vocab":{' + "".join(f'"<0x{byte:02X}>":{byte + 300},' for byte in range(256))
    (folder / "tokenizer.json").write_text(fast.to_str().replace('"vocab":{', vocabulary, 1), encoding="utf-8")
    return folder


def decode(tokenizer: Tokenizer, ids: list[int]) -> str:
    detokenizer = Detokenizer(tokenizer.bytes)
    return "".join(detokenizer.push(token) for token in ids)


@pytest.fixture(scope="module", params=["byte_level", "byte_fallback"])
def tokenizer(
    request: pytest.FixtureRequest, tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Tokenizer:
    return Tokenizer(
        tokenizer_folder if request.param == "byte_level" else byte_fallback(tmp_path_factory.mktemp("llama"))
    )


@settings(max_examples=60, deadline=None)
@given(text=TEXT)
def test_what_is_encoded_decodes_to_itself(tokenizer: Tokenizer, text: str) -> None:
    assert decode(tokenizer, tokenizer.encode(text)) in (text, " " + text)


@settings(max_examples=30, deadline=None)
@given(text=TEXT, cut=st.integers(0, 100))
def test_a_cut_anywhere_leaves_a_beginning_of_the_text_and_no_half_character(
    tokenizer: Tokenizer, text: str, cut: int
) -> None:
    ids = tokenizer.encode(text)
    whole, part = decode(tokenizer, ids), decode(tokenizer, ids[:cut])
    assert whole.startswith(part)


def test_bytes_that_are_no_character_are_replaced_and_what_follows_is_kept(tokenizer: Tokenizer) -> None:
    broken = [tokenizer.bytes.index(b"\xc3"), tokenizer.bytes.index(b"e"), tokenizer.bytes.index(b"\xff")]
    assert decode(tokenizer, [*broken, tokenizer.bytes.index(b"r")]) == "\ufffde\ufffdr"


def test_special_tokens_in_a_prompt_are_text(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode_prompt("a</s>b<s>")
    assert ids[0] == 1
    assert not {0, 1, 2} & set(ids[1:])
    assert decode(tokenizer, ids).strip() == "a</s>b<s>"


def test_a_missing_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError):
        Tokenizer(tmp_path)
