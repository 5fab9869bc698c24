"""The text a tokenizer is trained on is balanced to the character, and the same for a seed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import ArtifactError, CorpusError
from orchestrator.tokens.sampling import balanced_text, read_texts


def write(path: Path, texts: list[str], rows: int = 2) -> Path:
    pq.write_table(
        pa.table({"text": pa.array(texts, pa.string()), "id": list(range(len(texts)))}), path, row_group_size=rows
    )
    return path


def sample(files: dict[str, Path], characters: int, seed: int = 0) -> list[str]:
    return [text for batch in balanced_text(files, characters, seed) for text in batch]


@given(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=8), min_size=1, max_size=3), st.integers(1, 60))
@settings(max_examples=25, deadline=None)
def test_every_language_gets_the_same_characters(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[list[int]], limit: int
) -> None:
    folder = tmp_path_factory.mktemp("sample")
    letters = "aé🎉"[: len(lengths)]
    documents = {letter: [letter * length for length in each] for letter, each in zip(letters, lengths, strict=True)}
    files = {letter: write(folder / f"{ord(letter)}.parquet", texts) for letter, texts in documents.items()}
    budget = min(limit, *(sum(each) for each in lengths))
    drawn = sample(files, limit)
    assert Counter("".join(drawn)) == dict.fromkeys(letters, budget)
    for letter, texts in documents.items():
        assert sum(text not in texts for text in drawn if letter in text) <= 1, "only the last one is cut"


def test_seeds_draw_different_documents(tmp_path: Path) -> None:
    files = {"en": write(tmp_path / "en.parquet", [chr(97 + index) * 10 for index in range(26)])}
    assert sample(files, 50, seed=1) == sample(files, 50, seed=1)
    assert sample(files, 50, seed=1) != sample(files, 50, seed=2)


def test_language_without_text(tmp_path: Path) -> None:
    files = {"en": write(tmp_path / "en.parquet", ["text"]), "fr": write(tmp_path / "fr.parquet", [])}
    with pytest.raises(CorpusError, match="'fr'"):
        sample(files, 10)


def test_truncated_parquet(tmp_path: Path) -> None:
    path = write(tmp_path / "en.parquet", ["some text"] * 50)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ArtifactError, match=r"en\.parquet"):
        sample({"en": path}, 10)


def test_row_groups_can_be_read_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "en.parquet", list("abcde"))
    assert list(read_texts(path, [1])) == [["c", "d"]]
    assert [text for batch in read_texts(path) for text in batch] == list("abcde")
