"""Text to tokens: byte-pair encoding trained here, or the tokenizer of a pretrained model.

Tokenizers trained here work on bytes, so ``decode(encode(x)) == x`` for any text, and have `<unk> <s> </s>` = 0, 1, 2;
what others have says :mod:`orchestrator.tokens.special`. Text that spells a special token ("</s>" in a web page or a
prompt) is encoded as text: only the packing of documents writes special ids.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Encoding, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from orchestrator.artifacts import check_files, write_json
from orchestrator.errors import TokenizerError
from orchestrator.tokens.special import GENERATION, OUR_NAMES
from orchestrator.tokens.storage import token_dtype
from orchestrator.tokens.windows import LONG, encode_long

FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")
"""Of a tokenizer's folder."""
MODEL_INPUTS = ("input_ids", "attention_mask")
"""What encoding a text yields. Where `model_input_names` doesn't say so, transformers 4 adds token_type_ids of 0, and
models that take them, GPT-2 among them, add the embedding of token 0 to every position."""
_UNK, _BOS, _ = OUR_NAMES
_CONFIG = FILES[1]


def train_tokenizer(texts: Iterable[list[str]], vocab_size: int) -> Tokenizer:
    """Train byte-level BPE on lists of texts; the same texts give the same tokenizer on any number of threads.

    Args:
        texts: lists of documents; consumed once.
        vocab_size: tokens in all: 3 special ones, the 256 bytes, and merges seen at least twice.

    Raises:
        TokenizerError: the text does not support that many tokens.
    """
    tokenizer = Tokenizer(models.BPE(unk_token=_UNK))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=list(OUR_NAMES),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[(_BOS, OUR_NAMES.index(_BOS))]
    )
    reached = tokenizer.get_vocab_size()
    if reached < vocab_size:
        raise TokenizerError(
            f"the text supports a vocabulary of {reached:,} tokens, fewer than the {vocab_size:,} asked for",
            where="tokenizer.vocab_size",
            fix=f"set tokenizer.vocab_size={reached} or less, or give the corpus more text",
        )
    tokenizer.encode_special_tokens = True
    return tokenizer


def load_tokenizer(folder: Path) -> Tokenizer:
    """Open a folder's `tokenizer.json`, ours or another one's.

    Special tokens that occur in text are encoded as text, and no text is cut or padded.

    Raises:
        TokenizerError: there is none, or it can't be read.
        ArtifactError: it is an artifact's, and has changed since that was published.
    """
    path = tokenizer_file(folder)
    check_files(path)
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises bare Exception
        raise TokenizerError(f"the tokenizer can't be read: {error}", where=str(path), fix="copy it again") from None
    tokenizer.encode_special_tokens = True
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def tokenizer_file(folder: Path) -> Path:
    """The `tokenizer.json` of a folder.

    Raises:
        TokenizerError: there is none.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise TokenizerError(
            "there is no tokenizer.json",
            where=str(folder),
            fix="name a folder that holds a Hugging Face fast tokenizer",
        )
    return path


def save_tokenizer(tokenizer: Tokenizer, out: Path) -> None:
    """Write a folder that `AutoTokenizer.from_pretrained` opens, encoding as here but with `<s>` put in front."""
    out.mkdir(parents=True, exist_ok=True)
    # Not Tokenizer.save: it reports a full disk as a bare Exception.
    (out / "tokenizer.json").write_text(tokenizer.to_str(pretty=True), encoding="utf-8")
    names = dict(zip(("unk_token", "bos_token", "eos_token"), OUR_NAMES, strict=True))
    write_json(out / "special_tokens_map.json", names)
    config = {"clean_up_tokenization_spaces": False, "split_special_tokens": True, "model_input_names": MODEL_INPUTS}
    write_json(out / _CONFIG, {"tokenizer_class": "PreTrainedTokenizerFast", **names, **config})


def take_tokenizer(folder: Path, out: Path) -> None:
    """Copy the files of a tokenizer that was made elsewhere, as they are; the pipeline's are :func:`copy_tokenizer`'s.

    Raises:
        TokenizerError: there is none.
    """
    tokenizer_file(folder)
    out.mkdir(parents=True, exist_ok=True)
    for name in (*FILES, GENERATION):
        if (folder / name).is_file():
            shutil.copyfile(folder / name, out / name)


def copy_tokenizer(folder: Path, out: Path) -> None:
    """Put a tokenizer's files beside a model; those of earlier versions learn what encoding yields on the way.

    Raises:
        TokenizerError: there is none, or its configuration can't be read.
    """
    tokenizer_file(folder)
    for name in FILES:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, out / name)
    if (folder / _CONFIG).is_file():
        try:
            config = dict(json.loads((folder / _CONFIG).read_text(encoding="utf-8")))
        except (ValueError, TypeError):
            fix = "build the tokenizer again (--force tokenizer)"
            raise TokenizerError("the tokenizer's configuration can't be read", str(folder / _CONFIG), fix) from None
        if config.get("model_input_names") != list(MODEL_INPUTS):
            write_json(out / _CONFIG, {**config, "model_input_names": MODEL_INPUTS})


def vocabulary_size(tokenizer: Tokenizer) -> int:
    """Rows that a model of this tokenizer needs: its largest id and one, where ids without a token count too."""
    return max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1


def encode(tokenizer: Tokenizer, texts: Sequence[str], dtype: np.dtype[Any] | None = None) -> list[np.ndarray]:
    """Token ids of each text, without special tokens.

    Args:
        tokenizer: opened by :func:`load_tokenizer`.
        texts: any.
        dtype: of the ids, uint16 or uint32; None: by the vocabulary.

    Returns:
        A list of arrays [tokens].
    """
    if dtype is None:
        dtype = token_dtype(max(tokenizer.get_vocab_size(), *tokenizer.get_added_tokens_decoder(), 0))
    short = [text for text in texts if len(text) <= LONG]
    encodings = iter(tokenizer.encode_batch_fast(short, add_special_tokens=False))
    return [
        encode_long(tokenizer, text).astype(dtype) if len(text) > LONG else _ids(next(encodings), dtype)
        for text in texts
    ]


def _ids(encoding: Encoding, dtype: np.dtype[Any]) -> np.ndarray:
    return np.fromiter(encoding.ids, dtype, count=len(encoding))


def decode(tokenizer: Tokenizer, ids: Sequence[int] | np.ndarray) -> str:
    """The text of token ids; special tokens stand for nothing."""
    text: str = tokenizer.decode([int(token) for token in ids], skip_special_tokens=True)
    return text


def token_bytes(tokenizer: Tokenizer) -> list[bytes]:
    """UTF-8 bytes that each token id stands for, [V]; special tokens and unused ids stand for none.

    Raises:
        TokenizerError: the tokens are neither bytes (byte-level BPE) nor text with ▁ for a space (SentencePiece's BPE
            and Unigram).
    """
    description = json.loads(tokenizer.to_str())
    decoder = json.dumps(description.get("decoder"), ensure_ascii=False)
    if '"ByteLevel"' in decoder:
        to_bytes = _byte_level_bytes
    elif "▁" in decoder:
        to_bytes = partial(_metaspace_bytes, falls_back='"ByteFallback"' in decoder)
    else:
        raise TokenizerError(
            f"can't tell which bytes the tokens of this tokenizer ({description['model'].get('type')}) stand for",
            where="tokenizer.path",
            fix="use a byte-level BPE or SentencePiece-style (BPE or Unigram) tokenizer, or a teacher that has one",
        )
    added = {entry["id"]: entry for entry in description.get("added_tokens", [])}
    table = [b""] * vocabulary_size(tokenizer)
    for token, index in tokenizer.get_vocab(with_added_tokens=True).items():
        if index not in added:
            table[index] = to_bytes(token)
        elif not added[index]["special"]:
            table[index] = token.encode()
    return table


def byte_lengths(tokenizer: Tokenizer) -> np.ndarray:
    """Number of UTF-8 bytes each token id stands for, int64 [V], special tokens 0: for bits per byte.

    Over the ids of a text they add up to its bytes exactly, plus :func:`prefix_bytes`.
    """
    return np.array([len(each) for each in token_bytes(tokenizer)], dtype=np.int64)


def character_lengths(tokenizer: Tokenizer) -> np.ndarray:
    """Number of characters that begin in each token id, int64 [V]; they add up to a text's characters as bytes do."""
    begins = [sum((byte & 0xC0) != 0x80 for byte in each) for each in token_bytes(tokenizer)]
    return np.array(begins, dtype=np.int64)


def prefix_bytes(tokenizer: Tokenizer) -> int:
    """Bytes that encoding puts in front of a text that is not empty: 1 (a space) for Llama-style tokenizers, else 0."""
    normalizer: Any = json.loads(tokenizer.to_str()).get("normalizer") or {}
    steps = normalizer.get("normalizers", [normalizer])
    return sum(len(step["prepend"].replace("▁", " ").encode()) for step in steps if step.get("type") == "Prepend")


def loses_text(tokenizer: Tokenizer) -> bool:
    """Whether some characters become `<unk>`: the vocabulary lacks single bytes (as the paper's released one does).

    Bytes that no text in UTF-8 has (0xC0, 0xC1, 0xF5 and more) may be missing.
    """
    table = token_bytes(tokenizer)
    return not {bytes([byte]) for byte in (*range(0xC0), *range(0xC2, 0xF5))} <= set(table)


def _byte_level_bytes(token: str) -> bytes:
    try:
        return bytes(_BYTE_OF[character] for character in token)
    except KeyError:  # in some vocabularies a few tokens are spelled as text; decoders take them so
        return token.encode()


def _metaspace_bytes(token: str, falls_back: bool) -> bytes:
    if falls_back and len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
        return bytes([int(token[3:5], 16)])
    return token.replace("▁", " ").encode()


def _byte_of_characters() -> dict[str, int]:
    """Byte-level BPE writes a byte as its Latin-1 character where that is visible, else as the next from U+0100 on."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = sorted(set(range(256)) - set(visible))
    return {chr(byte): byte for byte in visible} | {chr(256 + rank): byte for rank, byte in enumerate(hidden)}


_BYTE_OF = _byte_of_characters()
