from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.corpus.sources.github_code import GithubCode
from orchestrator.errors import CorpusError

ROWS = [
    {"code": f"print({i})", "repo_name": "a/b", "path": f"f{i}", "language": language, "license": licence, "size": 9}
    for i, (language, licence) in enumerate(
        [("Python", "mit"), ("Java", "mit"), ("Python", "gpl-3.0"), ("Python", "isc")]
    )
]


def test_language_and_licences(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    source = GithubCode(path=str(tmp_path))
    assert [(d.id, d.text, d.licence) for d in source.documents("py")] == [
        ("a/b#f0", "print(0)", "mit"),
        ("a/b#f3", "print(3)", "isc"),
    ]
    assert [d.id for d in GithubCode(path=str(tmp_path), licences=()).documents("py")] == ["a/b#f0", "a/b#f2", "a/b#f3"]
    assert [d.id for d in GithubCode(path=str(tmp_path), language="Java").documents("java")] == ["a/b#f1"]


def test_streams_the_repository_s_parquet_files(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def load_dataset(path: str, **options: Any) -> list[dict[str, Any]]:
        asked.update(options, path=path)
        return ROWS

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    assert len(list(GithubCode(revision="abc").documents("py"))) == 2
    assert asked["path"] == "parquet"
    assert asked["data_files"] == "hf://datasets/codeparrot/github-code-clean@abc/data/*.parquet"


def test_other_parquet(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"language": ["Python"], "license": ["mit"], "repo_name": ["a"], "path": ["b"]}),
        tmp_path / "a.parquet",
    )
    with pytest.raises(CorpusError, match="no field 'code'"):
        list(GithubCode(path=str(tmp_path)).documents("py"))


def test_rows_without_code_or_licence(tmp_path: Path) -> None:
    rows = [{**ROWS[0], "code": None}, {**ROWS[0], "repo_name": None}, {**ROWS[0], "license": None}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    lost: list[CorpusError] = []
    found = list(GithubCode(path=str(tmp_path), licences=()).documents("py", lost.append))
    assert [(d.id, d.work, d.licence) for d in found] == [("a/b#f0", "a/b", "")]
    assert [error.what for error in lost] == ["field 'code' is null", "field 'repo_name' is null"]
    assert lost[1].where == f"{tmp_path / 'a.parquet'}, row 2"
