"""How a sweep shows itself: a table on a terminal, lines in a log."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from rich.console import Console

from orchestrator.api.plans import RunPlan
from orchestrator.cli import sweep as command
from orchestrator.cli.sweep import TrialLines, TrialTable, sweep_display
from orchestrator.errors import ResourceError, StoppedEarlyError, TrainingError

RECIPES = Path(__file__).resolve().parents[3] / "jobs" / "recipes"


def trials(*names: str) -> dict[str, Any]:
    return {
        f"trial-{n}-en": SimpleNamespace(configuration=SimpleNamespace(name=c), seed=n) for n, c in enumerate(names)
    }


def shown(table: TrialTable) -> list[list[str]]:
    """The cells of the table's rows but for the time, which is in the last but one."""
    columns = [list(column.cells) for column in table.table().columns]
    return [[str(cell) for n, cell in enumerate(row) if n != 6] for row in zip(*columns, strict=True)]


def test_the_table_holds_every_trial_those_at_work_first() -> None:
    out = io.StringIO()
    known = trials("fixed 0.5", "CE only", "KD only", "diverges")
    table = sweep_display(known, Console(file=out, force_terminal=True, width=160))
    assert isinstance(table, TrialTable)
    table.started("teacher")
    table.finished("teacher", {}, Path())
    table.started("trial-1-en")
    table.metrics("trial-1-en", [{"step": 10, "steps": 40, "tokens_per_second": 4321.5}, {"message": "hello"}])
    table.metrics("trial-1-en", [{"step": 20, "steps": 40, "validation_loss": 5.4321}])
    table.failed("trial-2-en", StoppedEarlyError("stopped early by ASHA at step 8"))
    table.failed("trial-3-en", TrainingError("not finite"))
    assert shown(table) == [
        ["trial-1-en", "CE only", "1", "20/40", "5.4321", "4,322", "running"],
        ["trial-3-en", "diverges", "3", "", "", "", "failed"],
        ["trial-2-en", "KD only", "2", "", "", "", "stopped"],
        ["trial-0-en", "fixed 0.5", "0", "", "", "", "waiting"],
        ["teacher", "", "", "", "", "", "finished"],
    ]
    known["trial-4-en"] = known["trial-0-en"]  # a control, decided on later
    assert len(shown(table)) == 6
    table.close(None)
    text = out.getvalue()
    assert "2 of 5 trainings" in text
    assert "trial-1-en: hello" in text
    assert "trial-3-en: not finite" in text
    assert "stopped early by ASHA at step 8" in text


def test_a_plan_has_the_steps_of_all_trials_and_says_what_results_will_add(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[RunPlan] = []
    monkeypatch.setattr(command, "show_plan", shown.append)
    file = tmp_path / "tiny.yaml"
    tree = {"name": "tiny", "base": str(RECIPES / "smoke.yaml"), "seeds": [1, 2]}
    soft = "experts.distillation.soft"
    file.write_text(
        yaml.safe_dump({**tree, "configurations": {"KD": {}, "CE": {soft: None}}, "equal_time": {"CE": "KD"}})
    )
    command.print_sweep_plan(file, (), tmp_path, force=["trials"])
    names = [step.name for step in shown[0].missing]
    assert {f"trial-0{n}-en" for n in range(1, 5)} == {name for name in names if name.startswith("trial")}
    assert names.count("teacher") == 1
    assert not (tmp_path / "tiny").exists()
    search = {"type": "optuna", "samples": 3, "space": {soft: {"choices": [None, "reverse_kl"]}}}
    file.write_text(yaml.safe_dump({**tree, "search": search}))
    command.print_sweep_plan(file, (), tmp_path)
    assert capsys.readouterr().out.splitlines() == [
        "then, with as many tokens as results tell: CE, equal time",
        "then 3 configurations that Optuna suggests, with each seed",
    ]


def test_a_plan_finds_a_sweep_by_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[RunPlan] = []
    monkeypatch.setattr(command, "show_plan", shown.append)
    command.print_sweep_plan(Path("sweep"), ["seeds=[1]"], tmp_path)
    assert shown[0].name == "sweep"


def test_what_ray_tune_does_needs_ray(tmp_path: Path) -> None:
    file = tmp_path / "tiny.yaml"
    tree = {"name": "tiny", "base": str(RECIPES / "smoke.yaml"), "configurations": {"one": {}}}
    file.write_text(yaml.safe_dump({**tree, "asha": {"grace_steps": 4}}))
    with pytest.raises(ResourceError, match="early stopping needs Ray Tune") as caught:
        command.sweep(file, (), tmp_path, local=True)
    assert caught.value.fix == "leave out --local, or asha"


def test_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    lines = sweep_display(trials("fixed 0.5"), Console(file=io.StringIO()))
    assert isinstance(lines, TrialLines)
    lines.started("trial-0-en")
    lines.metrics("trial-0-en", [{"step": 4, "steps": 8, "loss": 6.0}, {"step": 4, "steps": 8, "validation_loss": 5.5}])
    lines.finished("trial-0-en", {}, Path())
    lines.failed("trial-1-en", TrainingError("not finite"))
    assert capsys.readouterr().out.splitlines() == [
        "trial-0-en: started, fixed 0.5, seed 0",
        "trial-0-en: step 4/8, validation loss 5.5000",
        "trial-0-en: done in 0 s",
        "trial-1-en: failed: not finite",
    ]
