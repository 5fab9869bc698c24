"""What is in the balanced, packed set, as plain data for tables and plots."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orchestrator.tokens.storage import damaged, read_json

COUNTS = ("documents", "tokens", "blocks", "characters", "bytes")


def block_counts(folder: Path) -> list[dict[str, Any]]:
    """One row a split and language of a blocks artifact.

    Returns:
        Rows with `split`, `language`, the counts `documents`, `tokens`, `blocks`, `characters`, `bytes`, and
        `bytes_per_token`.

    Raises:
        ArtifactError: blocks.json is missing or damaged.
    """
    about = read_json(folder / "blocks.json", "blocks")
    rows = []
    try:
        for split, languages in about["splits"].items():
            for language, counts in languages.items():
                row = {"split": split, "language": language, **{name: counts[name] for name in COUNTS}}
                rows.append({**row, "bytes_per_token": counts["bytes"] / counts["tokens"] if counts["tokens"] else 0.0})
    except (KeyError, TypeError, AttributeError) as error:
        raise damaged(folder / "blocks.json", "blocks", f"blocks.json lacks or garbles {error}") from None
    return rows


def token_counts(folder: Path) -> dict[tuple[str, str], int]:
    """Tokens by (language, split) of a tokens artifact: all documents, before balancing.

    Raises:
        ArtifactError: tokens.json is missing or damaged.
    """
    about = read_json(folder / "tokens.json", "tokens")
    try:
        splits = about["splits"].items()
        return {(language, split): int(row["tokens"]) for split, rows in splits for language, row in rows.items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise damaged(folder / "tokens.json", "tokens", f"tokens.json lacks or garbles {error}") from None


def imbalance_percent(folder: Path, split: str = "train") -> float:
    """Largest difference between two languages' tokens in a split, in percent of the larger.

    Raises:
        ArtifactError: blocks.json is missing or damaged.
    """
    tokens = [row["tokens"] for row in block_counts(folder) if row["split"] == split]
    return 100 * (max(tokens) - min(tokens)) / max(tokens) if tokens else 0.0
