"""A tokenizer cut to a language: the same tokens where they are kept, and no text lost where they are not."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from orchestrator.corpus.sources.miniwiki import Miniwiki
from orchestrator.errors import ArtifactError, TokenizerError
from orchestrator.tokens.kept import Kept
from orchestrator.tokens.special import special_tokens
from orchestrator.tokens.tokenizer import (
    decode,
    encode,
    load_tokenizer,
    save_tokenizer,
    token_bytes,
    train_tokenizer,
    vocabulary_size,
)
from orchestrator.tokens.trimming import Trimming

BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
SPECIAL = ["<unk>", "<s>", "</s>"]
WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+"
TEXTS = [
    "",
    "a",
    "Der Fluß fließt — schnell.\n\n\tx = f(1)",
    "日本語と Привет 🙂👩‍👩‍👧",
    "  two  spaces ",
    "</s> <s>",
    "\x00\x7f",
]


def texts(language: str, count: int) -> list[str]:
    return [document.text[:4000] for document in islice(Miniwiki().documents(language), count)]


def ours(folder: Path, known: list[str]) -> None:
    save_tokenizer(train_tokenizer([known], 2000), folder)


def byte_level(folder: Path, known: list[str]) -> None:
    """As Llama 3's and Qwen's: words by an expression, whole words looked up first, special tokens at the end."""
    built = Tokenizer(models.BPE(ignore_merges=True))
    split = pre_tokenizers.Split(Regex(WORDS), "isolated")
    built.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    built.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    built.train_from_iterator(
        known, trainers.BpeTrainer(vocab_size=2000, initial_alphabet=alphabet, show_progress=False)
    )
    built.add_special_tokens(["<|begin|>", "<|end|>"])
    begin = built.token_to_id("<|begin|>")
    built.post_processor = processors.TemplateProcessing(single="<|begin|> $A", special_tokens=[("<|begin|>", begin)])
    written(built, folder, bos_token="<|begin|>", eos_token="<|end|>")


def pieces(folder: Path, known: list[str]) -> None:
    """As Llama 2's and Gemma's: ▁ for a space, every pair that makes a token is a merge, bytes for the rest."""
    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    trained.normalizer = normalizers.Replace(" ", "▁")
    trained.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    trained.train_from_iterator(
        known, trainers.BpeTrainer(vocab_size=2000, special_tokens=SPECIAL, show_progress=False)
    )
    learned = [token for token, _ in sorted(trained.get_vocab().items(), key=lambda item: item[1])][len(SPECIAL) :]
    vocabulary = {token: index for index, token in enumerate([*SPECIAL, *BYTES, *learned])}
    merges = [
        (token[:at], token[at:])
        for token in learned
        for at in range(1, len(token))
        if token[:at] in vocabulary and token[at:] in vocabulary
    ]
    built = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    metaspace(built, folder)


def unigram(folder: Path, known: list[str]) -> None:
    """As T5's and ALBERT's, with bytes for the rest."""
    trained = Tokenizer(models.Unigram())
    trained.normalizer = normalizers.Replace(" ", "▁")
    trained.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    trainer = trainers.UnigramTrainer(vocab_size=1500, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False)
    trained.train_from_iterator(known, trainer)
    found = json.loads(trained.to_str())["model"]["vocab"]
    entries = [*found[: len(SPECIAL)], *([name, -20.0] for name in BYTES), *found[len(SPECIAL) :]]
    metaspace(Tokenizer(models.Unigram([tuple(entry) for entry in entries], unk_id=0, byte_fallback=True)), folder)


def metaspace(built: Tokenizer, folder: Path) -> None:
    built.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    built.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    built.add_special_tokens(SPECIAL)
    built.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    written(built, folder, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def written(built: Tokenizer, folder: Path, **names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    built.save(str(folder / "tokenizer.json"))
    added = {str(index): {"content": token.content} for index, token in built.get_added_tokens_decoder().items()}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "added_tokens_decoder": added, **names}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


@pytest.fixture(scope="module", params=[ours, byte_level, pieces, unigram], ids=lambda build: build.__name__)
def cut(request, tmp_path_factory) -> tuple[Path, Path, Kept, Tokenizer, Tokenizer]:
    """Folder and tokenizer, whole and cut to what nine tenths of the English text are made of."""
    whole, out = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("cut")
    request.param(whole, [*texts("en", 30), *texts("fr", 30)])
    trimming = Trimming(whole)
    counts = np.bincount(np.concatenate(encode(trimming.tokenizer, texts("en", 20))), minlength=trimming.size)
    kept = trimming.chosen(counts, 0.9)
    starts, spelled = trimming.write(kept, out)
    return whole, out, Kept(kept, starts, spelled, {}), load_tokenizer(whole), load_tokenizer(out)


def test_fewer_tokens_that_cover_what_was_asked(cut):
    _, _, kept, whole, own = cut
    ids = np.concatenate(encode(whole, texts("en", 20)))
    assert np.isin(ids, kept.kept).mean() >= 0.9
    assert len(kept.kept) < 0.8 * vocabulary_size(whole)
    assert vocabulary_size(own) == len(kept.kept)


def test_text_of_kept_tokens_is_encoded_to_the_same_tokens(cut):
    _, _, kept, whole, own = cut
    words = [word for text in texts("en", 60) for word in (text.split(" ")[:200])]
    phrases = [" ".join(words[at : at + 3]) for at in range(0, len(words), 3)]
    same = 0
    for phrase, ids in zip(phrases, encode(whole, phrases), strict=True):
        if np.isin(ids, kept.kept).all():
            same += 1
            assert encode(own, [phrase])[0].tolist() == kept.places[ids].tolist(), phrase
    assert same > 300


def test_any_text_is_kept_as_the_whole_tokenizer_keeps_it(cut):
    _, _, _, whole, own = cut
    for text in [*TEXTS, *texts("fr", 5)]:
        assert decode(own, encode(own, [text])[0]) == decode(whole, encode(whole, [text])[0]), text


def test_every_token_is_spelled_in_kept_ones(cut):
    _, _, kept, whole, own = cut
    bytes_whole, bytes_own = token_bytes(whole), token_bytes(own)
    for token, stands_for in enumerate(bytes_whole):
        spelled, sources = kept.spell(np.array([token]))
        assert b"".join(bytes_own[each] for each in spelled) == stands_for
        assert (sources == 0).all()
    assert all(kept.spell(kept.kept[[place]])[0].tolist() == [place] for place in range(0, len(kept.kept), 50))


def test_a_spelled_stream_is_the_tokenizers_own_where_words_are_apart(cut):
    """Where a dropped token has neighbours in its word, merges may cross its edges: rare, and of the same text."""
    _, _, kept, whole, own = cut
    (text,) = texts("fr", 1)
    ids = encode(whole, [text])[0]
    spelled, _ = kept.spell(ids)
    assert decode(own, spelled) == decode(own, encode(own, [text])[0])
    assert len(spelled) == pytest.approx(len(encode(own, [text])[0]), rel=0.1)


def test_special_tokens_keep_their_roles(cut):
    folder, out, kept, whole, own = cut
    before, after = special_tokens(folder, whole), special_tokens(out, own)
    for role in ("begin", "end", "eos"):
        assert tuple(kept.kept[list(getattr(after, role))]) == getattr(before, role)
    for name in ("bos", "unk"):
        ids = [getattr(special, name) for special in (before, after)]
        assert ids == [None, None] or kept.kept[ids[1]] == ids[0]


def test_transformers_opens_it(cut):
    from transformers import AutoTokenizer

    _, out, _, _, own = cut
    opened = AutoTokenizer.from_pretrained(out, trust_remote_code=False)
    text = "The river flows through Strasbourg."
    assert opened(text, add_special_tokens=False)["input_ids"] == own.encode(text, add_special_tokens=False).ids


def test_what_is_kept_of_nothing_is_what_every_text_needs(tmp_path):
    ours(tmp_path / "whole", [*texts("en", 30), *texts("fr", 30)])
    trimming = Trimming(tmp_path / "whole")
    kept = trimming.chosen(np.zeros(trimming.size, np.int64), 0.999)
    assert len(kept) == 3 + 256


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}, "it is WordLevel"),
        ({"end_of_word_suffix": "</w>"}, "end_of_word_suffix"),
    ],
)
def test_what_cannot_be_cut_is_refused_by_name(tmp_path, change, message):
    ours(tmp_path, [*texts("en", 30), *texts("fr", 30)])
    path = tmp_path / "tokenizer.json"
    described = json.loads(path.read_text())
    described["model"] = change if "type" in change else {**described["model"], **change}
    path.write_text(json.dumps(described))
    with pytest.raises(TokenizerError, match=message):
        Trimming(tmp_path)


def test_files_that_do_not_fit_together_are_told(tmp_path):
    Kept(np.array([0, 3]), np.array([0, 1, 2, 3, 4]), np.array([0, 0, 1, 1]), {"tokenizer": ""}).save(tmp_path)
    assert Kept.load(tmp_path).spell(np.array([3, 1]))[0].tolist() == [1, 0]
    np.save(tmp_path / "kept.npy", np.array([0, 9]))
    with pytest.raises(ArtifactError, match="don't fit together"):
        Kept.load(tmp_path)
