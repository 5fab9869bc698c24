"""`mome bench`: options of a bench are typed as a recipe's fields are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks._rows import Row, single
from orchestrator import plugins
from orchestrator.cli.bench import run_bench


class Interrupted:
    """A bench that comes to one row."""

    def rows(self) -> Iterator[Row]:
        yield single("a case", "speed", "tokens/s", 3, 2)
        raise KeyboardInterrupt


def test_what_was_measured_is_told_and_kept_as_it_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(plugins, "create", lambda *_: Interrupted())
    with pytest.raises(KeyboardInterrupt):
        run_bench("any", (), tmp_path / "bench.json")
    (row,) = json.loads((tmp_path / "bench.json").read_text("utf-8"))["rows"]
    assert (row["case"], row["ratio"]) == ("a case", 1.5)
    told = capsys.readouterr()
    assert "a case: speed: 3 2 1.500" in told.err
    assert "a case" in told.out


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["overhead", "step=3"], 'did you mean "steps"?'),
        (["overhead", "steps=1"], "option 'steps' of 'overhead': Input should be greater than or equal to 2"),
        (["overhead", "steps"], "an override is KEY=VALUE, not 'steps'"),
        (["overhead", "against=/"], "there is no checkout of MoME"),
        (["overheads"], "overhead"),
    ],
    ids=["unknown", "too small", "no value", "no checkout", "no bench"],
)
def test_what_can_not_be_measured_is_said(mome, typed: list[str], said: str) -> None:
    ended = mome("bench", *typed)
    assert ended.code == 2
    assert said in ended.out + ended.err
