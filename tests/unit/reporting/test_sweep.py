import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from orchestrator.config.sweep import Reference
from orchestrator.reporting.comparison import Estimate, Trial, group
from orchestrator.reporting.sweep import write_sweep_report


def trial(name: str, seed: int, loss: float | None, status: str = "finished", error: str = "") -> Trial:
    found: Trial = {
        "name": name,
        "config": {"experts.distillation.schedule": name},
        "seed": seed,
        "curve": [(step, loss + 3 / step) for step in (10, 20, 30)] if loss else [],
        "final_loss": loss,
        "status": status,
        "error": error,
    }
    if status == "finished":
        found |= {"weights": [(10, 0.5, 0.5), (20, 0.25, 0.75)], "tokens": 3000, "seconds": 7.0 + seed}
        found |= {"tokens_per_second": 400.0}
    return found


FIXED, ADAPTIVE = "fixed 0.5", "adaptive_paper"
TRIALS = [
    trial(FIXED, 1, 5.00), trial(FIXED, 2, 5.20), trial(FIXED, 3, 5.10),
    trial(ADAPTIVE, 1, 4.99), trial(ADAPTIVE, 2, 5.21), trial(ADAPTIVE, 3, None, "failed", "out of memory <b>"),
    trial("alternating", 1, 5.50), trial("alternating", 2, 5.71), trial("alternating", 3, 5.60),
]  # fmt: skip


def test_trials_are_grouped_by_configuration() -> None:
    assert [(c.label, len(c.trials), len(c.losses)) for c in group(TRIALS)] == [
        ("fixed 0.5", 3, 3),
        ("adaptive_paper", 3, 2),
        ("alternating", 3, 3),
    ]


def test_differences_by_step_are_paired() -> None:
    fixed, adaptive, _ = group(TRIALS)
    found = adaptive.minus_by_step(fixed, 0.95)
    assert list(found) == [10, 20, 30]
    assert found[20].n == 2
    assert found[20].mean == pytest.approx(0.0)


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
    assert verdicts[0].startswith("adaptive_paper against fixed 0.5: no difference seen at this scale: ")
    assert "(2 paired seeds" in verdicts[0]
    assert "higher loss at this scale: +0.503 ± 0.014" in verdicts[1]
    results = json.loads((tmp_path / "results.json").read_text())
    adaptive = results["configurations"][1]
    assert adaptive["losses"] == {"1": 4.99, "2": 5.21}
    assert adaptive["difference"] == pytest.approx(0.0)
    assert adaptive["pairs"] == 2
    page = (tmp_path / "index.html").read_text()
    assert "out of memory &lt;b&gt;" in page
    names = {path.stem for path in (tmp_path / "figures").glob("*.svg")}
    assert names == {"validation-loss", "difference", "loss-weights"}
    assert "| fixed 0.5 | 3,000 | 9 | 400 |" in (tmp_path / "report.md").read_text()


def test_the_papers_numbers_stand_beside_ours(tmp_path: Path) -> None:
    what = "adaptive less fixed"
    reference = Reference(what=what, paper=-0.01, ours=("adaptive_paper", "fixed 0.5"), source="section 4.2")
    write_sweep_report(TRIALS, tmp_path, "Alpha", references=(reference,))
    found = json.loads((tmp_path / "results.json").read_text())["references"][0]
    assert (found["paper"], found["pairs"]) == (-0.01, 2)
    text = (tmp_path / "report.md").read_text()
    assert "adaptive less fixed | −0.010 |" in text
    assert "no difference seen at this scale" in text


def test_many_configurations_are_drawn_in_panels(tmp_path: Path) -> None:
    trials = [trial(f"configuration {n}", seed, 5.0 + n / 100 + seed / 10) for seed in (1, 2) for n in range(12)]
    write_sweep_report(trials, tmp_path, "Many")
    assert (tmp_path / "figures" / "validation-loss.svg").read_text().count("configuration 0") >= 3


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
