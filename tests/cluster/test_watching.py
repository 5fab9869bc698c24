"""What Ray Tune sees of a training that the sweep's plan runs: without a cluster."""

from __future__ import annotations

import json
import threading
from pathlib import Path

from orchestrator.cluster.watching import validations


def write(path: Path, *rows: dict[str, float | None]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def test_every_validation_is_reported_once_until_the_training_has_ended(tmp_path: Path) -> None:
    work, artifact, ended = tmp_path / "work.jsonl", tmp_path / "artifact.jsonl", tmp_path / "ended"
    rows = [{"step": 1, "loss": 2.0}, {"step": 2, "validation_loss": 1.5}, {"step": 3, "validation_loss": None}]
    last = {"step": 4, "validation_loss": 1.0}
    write(work, *rows)
    seen = validations([work, artifact], ended)
    assert next(seen) == {"step": 2, "validation_loss": 1.5}

    def finish() -> None:  # before anybody has looked: the folder of its work is gone by then
        work.unlink()
        write(artifact, *rows, last)
        ended.touch()

    timer = threading.Timer(0.1, finish)
    timer.start()
    assert list(seen) == [last]
    timer.join()


def test_what_ends_without_a_validation_is_let_go(tmp_path: Path) -> None:
    (tmp_path / "ended").touch()
    assert list(validations([tmp_path / "none.jsonl"], tmp_path / "ended")) == []
