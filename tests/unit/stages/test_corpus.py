from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from orchestrator.config.recipe import CorpusConfig
from orchestrator.corpus.splits import SPLITS
from orchestrator.environment import Environment
from orchestrator.errors import CorpusError
from orchestrator.stages.corpus import CorpusStage


def stage(seed: int = 1, **source: object) -> CorpusStage:
    languages = {
        "en": {"source": source or "miniwiki"},
        "py": {"source": {"type": "python_env", "max_files": 60}, "kind": "code"},
    }
    return CorpusStage(corpus=CorpusConfig.model_validate({"languages": languages}), seed=seed)


def run(folder: Path, which: CorpusStage) -> Path:
    out = folder / "out"
    out.mkdir(parents=True)
    which.run({}, out, Environment(work=folder / "work"))
    return out


def test_files_and_progress(tmp_path: Path) -> None:
    out = run(tmp_path, stage())
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert files == {"corpus.json"} | {f"{split}/{name}.parquet" for split in SPLITS for name in ("en", "py")}
    assert pq.read_schema(out / "train" / "en.parquet").names == ["id", "title", "text", "source", "licence", "work"]
    log = [json.loads(line) for line in (tmp_path / "work" / "metrics.jsonl").read_text().splitlines()]
    steps = [row["step"] for row in log if "step" in row]
    assert steps == sorted(steps)
    assert steps[-1] >= 120 + 55
    assert any("message" in row for row in log)
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["metrics.jsonl"]


def test_deterministic_for_a_seed(tmp_path: Path) -> None:
    contents = []
    for attempt, seed in enumerate((1, 1, 2)):
        out = run(tmp_path / str(attempt), stage(seed))
        contents.append({p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file()})
    assert contents[0] == contents[1]
    assert contents[0]["test/en.parquet"] != contents[2]["test/en.parquet"]


def test_goes_on_after_a_killed_attempt(tmp_path: Path) -> None:
    leftover = tmp_path / "work" / "staged" / "en"
    leftover.mkdir(parents=True)
    (leftover / "signatures.bin").write_bytes(b"half")
    (leftover / "documents.parquet").write_bytes(b"half")
    assert (run(tmp_path, stage()) / "corpus.json").is_file()


def test_user_errors_come_through(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no language"):
        run(tmp_path, stage(type="miniwiki", language="es"))


def test_what_lies_outside_the_recipe() -> None:
    assert set(stage().external()) == {"en.source", "py.source"}
