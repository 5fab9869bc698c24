"""Counts of a blocks artifact as plain data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.errors import ArtifactError
from orchestrator.tokens.inspect import block_counts, imbalance_percent, token_counts


def counts(tokens: int) -> dict[str, int]:
    return {"documents": 2, "tokens": tokens, "blocks": 3, "characters": 100, "bytes": 120}


def test_a_row_a_split_and_language(tmp_path: Path) -> None:
    splits = {"train": {"en": counts(40), "fr": counts(38)}, "test": {"en": counts(0)}}
    (tmp_path / "blocks.json").write_text(json.dumps({"splits": splits}))
    rows = block_counts(tmp_path)
    assert [(row["split"], row["language"], row["tokens"]) for row in rows] == [
        ("train", "en", 40),
        ("train", "fr", 38),
        ("test", "en", 0),
    ]
    assert [row["bytes_per_token"] for row in rows] == [3.0, 120 / 38, 0.0]
    assert imbalance_percent(tmp_path) == pytest.approx(5.0)


def test_tokens_before_balancing(tmp_path: Path) -> None:
    splits = {"train": {"en": counts(40), "fr": counts(38)}, "test": {"en": counts(0)}}
    (tmp_path / "tokens.json").write_text(json.dumps({"splits": splits}))
    assert token_counts(tmp_path) == {("en", "train"): 40, ("fr", "train"): 38, ("en", "test"): 0}
    (tmp_path / "tokens.json").write_text('{"splits": {"train": {"en": {}}}}')
    with pytest.raises(ArtifactError, match="tokens"):
        token_counts(tmp_path)


def test_damage(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError):
        block_counts(tmp_path)
    (tmp_path / "blocks.json").write_text('{"splits": {"train": {"en": {}}}}')
    with pytest.raises(ArtifactError, match="documents"):
        block_counts(tmp_path)
