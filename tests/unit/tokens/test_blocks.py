"""Blocks are windows of the stream; damage is told before it is read."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import ArtifactError
from orchestrator.tokens.blocks import TokenBlocks, block_count

CONTEXT = 8


def write(folder: Path, tokens: dict[str, int], context: int = CONTEXT, dtype: str = "uint16") -> dict[str, np.ndarray]:
    (folder / "train").mkdir(parents=True, exist_ok=True)
    streams = {
        language: np.arange(count).astype(dtype) + index for index, (language, count) in enumerate(tokens.items())
    }
    for language, stream in streams.items():
        (folder / "train" / f"{language}.bin").write_bytes(stream.tobytes())
    counts = {language: {"tokens": count} for language, count in tokens.items()}
    about = {
        "context": context,
        "dtype": dtype,
        "vocab_size": 1000,
        "languages": list(tokens),
        "splits": {"train": counts},
    }
    (folder / "blocks.json").write_text(json.dumps(about))
    return streams


@given(st.integers(0, 60), st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_every_token_is_a_target_once(tmp_path_factory: pytest.TempPathFactory, tokens: int, context: int) -> None:
    folder = tmp_path_factory.mktemp("blocks")
    (stream,) = write(folder, {"en": tokens}, context).values()
    blocks = TokenBlocks.open(folder, "train")
    count = blocks.count("en")
    assert count == block_count(tokens, context)
    targets = np.concatenate([np.empty(0), *(blocks.block("en", index)[1:] for index in range(count))])
    np.testing.assert_array_equal(targets, stream[1 : 1 + count * context])
    assert 0 <= max(tokens - 1, 0) - count * context < context


@pytest.mark.parametrize("dtype", ["uint16", "uint32"])
def test_gather_mixes_languages_in_order(tmp_path: Path, dtype: str) -> None:
    streams = write(tmp_path, {"en": 100, "fr": 50}, dtype=dtype)
    blocks = TokenBlocks.open(tmp_path, "train")
    rows = np.array([[1, 2], [0, 11], [1, 0], [0, 11], [0, 0]])
    gathered = blocks.gather(rows)
    assert gathered.dtype == np.int64
    assert gathered.shape == (5, CONTEXT + 1)
    for (language, block), got in zip(rows, gathered, strict=True):
        stream = streams[blocks.languages[language]]
        np.testing.assert_array_equal(got, stream[block * CONTEXT : (block + 1) * CONTEXT + 1])
        np.testing.assert_array_equal(got, blocks.block(blocks.languages[language], block))
    assert blocks.gather(rows[:0]).shape == (0, CONTEXT + 1)


def test_attributes(tmp_path: Path) -> None:
    write(tmp_path, {"en": 100, "fr": 50})
    blocks = TokenBlocks.open(tmp_path, "train")
    assert (blocks.languages, blocks.context, blocks.vocab_size, blocks.split) == (("en", "fr"), CONTEXT, 1000, "train")


def test_pickles_without_its_data(tmp_path: Path) -> None:
    write(tmp_path, {"en": 50_000})
    blocks = TokenBlocks.open(tmp_path, "train")
    blocks.block("en", 3)
    data = pickle.dumps(blocks)
    assert len(data) < 1000
    np.testing.assert_array_equal(pickle.loads(data).block("en", 3), blocks.block("en", 3))


def test_blocks_are_read_only_and_bounded(tmp_path: Path) -> None:
    write(tmp_path, {"en": 100})
    blocks = TokenBlocks.open(tmp_path, "train")
    with pytest.raises(ValueError, match="read-only"):
        blocks.block("en", 0)[0] = 1
    with pytest.raises(IndexError):
        blocks.gather(np.array([[0, blocks.count("en")]]))
    with pytest.raises(ArtifactError, match="known: en"):
        blocks.count("xx")


def test_truncated_stream(tmp_path: Path) -> None:
    write(tmp_path, {"en": 100})
    (tmp_path / "train" / "en.bin").write_bytes(b"\0" * 150)
    with pytest.raises(ArtifactError, match="150 bytes instead of 200") as caught:
        TokenBlocks.open(tmp_path, "train")
    assert "--force blocks" in caught.value.fix


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"blocks\.json"):
        TokenBlocks.open(tmp_path, "train")
    write(tmp_path, {"en": 100})
    with pytest.raises(ArtifactError, match="known splits: train"):
        TokenBlocks.open(tmp_path, "test")
    (tmp_path / "train" / "en.bin").unlink()
    with pytest.raises(ArtifactError, match=r"en\.bin is missing"):
        TokenBlocks.open(tmp_path, "train")


@pytest.mark.parametrize(
    "content", ["", "[1]", '{"splits": {"train": {}}}', '{"splits": {"train": {}}, "languages": ["en"]']
)
def test_garbled_description(tmp_path: Path, content: str) -> None:
    (tmp_path / "blocks.json").write_text(content)
    with pytest.raises(ArtifactError, match="artifact is damaged"):
        TokenBlocks.open(tmp_path, "train")
