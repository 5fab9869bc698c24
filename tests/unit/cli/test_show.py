"""Commands on runs that aren't there, or have made nothing yet."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.cli.show import show_report


@pytest.mark.parametrize("command", [["show", "third"], ["report", "third"], ["generate", "third", "Hello"]], ids=str)
def test_unknown_run_is_answered_with_the_known_ones(mome, runs: Path, command: list[str]) -> None:
    ended = mome(*command, "--runs", runs)
    assert ended.code == 2
    assert "there is no run 'third'" in ended.err
    assert "first, second" in ended.err
    assert "Traceback" not in ended.err


def test_no_runs_at_all(mome, tmp_path: Path) -> None:
    ended = mome("show", "third", "--runs", tmp_path / "none")
    assert ended.code == 2
    assert "mome run RECIPE" in ended.err


@pytest.mark.parametrize("command", [["show"], ["report"], ["route"], ["export", "--to", "hf", "--out", "x"]], ids=str)
def test_a_run_that_was_stopped_is_not_called_missing(mome, runs: Path, command: list[str]) -> None:
    (runs / "third" / "stages").mkdir(parents=True)
    name, *options = command
    ended = mome(name, "third", *(["text"] if name == "route" else []), *options, "--runs", runs)
    assert ended.code == 2
    assert "the run 'third' is not finished" in ended.err
    assert "goes on" in ended.err


def test_run_without_report(mome, runs: Path) -> None:
    ended = mome("report", "first", "--runs", runs)
    assert ended.code == 2
    assert "no report yet" in ended.err


def test_a_report_as_text_has_no_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "one" / "report"
    folder.mkdir(parents=True)
    (tmp_path / "one" / "artifacts.json").write_text('{"steps": {}}')
    (folder / "index.html").touch()
    (folder / "report.md").write_text("Before.\n\n![Expert en: 3.](figures/a.svg)\n\n*Perplexity.*\n")
    show_report("one", tmp_path)
    said = capsys.readouterr().out
    assert "Expert en: 3." not in said
    assert "Before." in said
    assert "Perplexity." in said
