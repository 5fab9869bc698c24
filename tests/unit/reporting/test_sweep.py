import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from orchestrator.reporting.sweep import Estimate, Trial, group, write_sweep_report

FIELD = "experts.distillation.schedule"


def trial(schedule: object, seed: int, loss: float | None, status: str = "finished", error: str = "") -> Trial:
    curve = [(step, loss + 3 / step) for step in (10, 20, 30)] if loss else []
    config = {FIELD: schedule, "seed_of_nothing": 1}
    return {"config": config, "seed": seed, "curve": curve, "final_loss": loss, "status": status, "error": error}


FIXED, ADAPTIVE = {"type": "fixed", "alpha": 0.5}, "adaptive_paper"
TRIALS = [
    trial(FIXED, 1, 5.00), trial(FIXED, 2, 5.20), trial(FIXED, 3, 5.10),
    trial(ADAPTIVE, 1, 4.99), trial(ADAPTIVE, 2, 5.21), trial(ADAPTIVE, 3, None, "failed", "out of memory <b>"),
    trial("alternating", 1, 5.50), trial("alternating", 2, 5.71), trial("alternating", 3, 5.60),
]  # fmt: skip


def test_configurations_are_labelled_by_what_varies() -> None:
    assert [c.label for c in group(TRIALS)] == [
        "schedule=fixed(alpha=0.5)",
        "schedule=adaptive_paper",
        "schedule=alternating",
    ]


def test_fields_of_equal_last_names_keep_their_full_names() -> None:
    trials = [{**trial("x", 1, 5.0), "config": {"teacher.lr": a, "experts.lr": b}} for a, b in ((1, 2), (2, 1))]
    assert [c.label for c in group(trials)] == ["teacher.lr=1, experts.lr=2", "teacher.lr=2, experts.lr=1"]


def test_estimate_is_a_t_interval() -> None:
    values = [5.0, 5.2, 5.1]
    low, high = stats.t.interval(0.9, 2, loc=np.mean(values), scale=stats.sem(values))
    found = Estimate.of(values, 0.9)
    assert (found.mean - found.margin, found.mean + found.margin) == pytest.approx((low, high))
    assert math.isnan(Estimate.of([1.0], 0.9).margin)
    assert f"{Estimate.of([], 0.9)}" == "–"
    assert f"{Estimate.of([-0.5], 0.9):+}" == "−0.5000"


def test_report(tmp_path: Path) -> None:
    verdicts = write_sweep_report(TRIALS, tmp_path, "Alpha").splitlines()
    assert verdicts[0].startswith(
        "schedule=adaptive_paper against schedule=fixed(alpha=0.5): no difference seen at this scale: "
    )
    assert "(2 paired seeds" in verdicts[0]
    assert "higher loss at this scale: +0.503 ± 0.014" in verdicts[1]
    results = json.loads((tmp_path / "results.json").read_text())
    adaptive = results["configurations"][1]
    assert adaptive["losses"] == {"1": 4.99, "2": 5.21}
    assert adaptive["difference"] == pytest.approx(0.0)
    assert adaptive["pairs"] == 2
    page = (tmp_path / "index.html").read_text()
    assert "out of memory &lt;b&gt;" in page
    assert (tmp_path / "figures" / "validation-loss.svg").exists()


def test_equal_losses_are_no_difference(tmp_path: Path) -> None:
    assert "no difference seen" in write_sweep_report([trial(a, s, 5.0) for a in "ab" for s in (1, 2)], tmp_path, "t")


def test_a_sweep_in_which_all_failed_still_reports(tmp_path: Path) -> None:
    trials = [trial(a, 1, None, "failed", "nan") for a in "ab"]
    assert "no seed finished in both" in write_sweep_report(trials, tmp_path, "t")
    assert json.loads((tmp_path / "results.json").read_text())["configurations"][0]["mean"] is None
    assert not (tmp_path / "figures").exists()


def test_no_trials() -> None:
    with pytest.raises(ValueError, match="at least one trial"):
        group([])
