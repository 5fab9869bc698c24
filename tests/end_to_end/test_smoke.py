"""The whole main line at its smallest size, as a user types it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end import machine
from tests.end_to_end.command import mome

ROOT = Path(__file__).resolve().parents[2]
SMOKE = str(ROOT / "jobs" / "recipes" / "smoke.yaml")
LESS = ("teacher.training.tokens=20_480", "experts.training.tokens=16_384", "router.sequences_per_language=100")
"""Half as many steps: losses are compared, and no figure of them."""
FEW = "evaluation.max_blocks=8"
"""Where it is not the figures that are looked at."""
LANGUAGES = ["en", "fr", "de", "py"]


# As on a machine where the optional packages are not installed.
BARE = "import sys; sys.modules.update(dict.fromkeys(['ray', 'deepspeed', 'mlflow', 'datasets'])); "
MAIN = "from orchestrator.cli.main import main; main()"


def bare(*arguments, runs):
    """Run a command in a process of its own."""
    command = [sys.executable, "-c", BARE + MAIN, *arguments, "--runs", str(runs)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    print(done.stdout[-4000:], done.stderr[-4000:])
    return done


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    runs = tmp_path_factory.mktemp("local")
    done = bare("run", SMOKE, *LESS, "--local", runs=runs)
    assert done.returncode == 0, done.stderr
    assert "MLflow is not installed" in done.stdout
    return runs, done.stdout


def results(runs):
    return json.loads((runs / "smoke" / "report" / "results.json").read_text())


def validation_losses(runs):
    current = json.loads((runs / "smoke" / "artifacts.json").read_text())["steps"]
    trained = ["teacher", *(f"expert-{language}" for language in LANGUAGES)]
    return {
        step: json.loads((runs / "smoke" / current[step] / "training.json").read_text())["final_validation_loss"]
        for step in trained
    }


def test_local_run_ends_with_a_report(local):
    runs, output = local
    assert output.rstrip().endswith("index.html")
    found = results(runs)
    assert set(found["teacher_perplexity"]) == set(LANGUAGES)
    assert {e: set(row) for e, row in found["expert_perplexity"].items()} == {e: set(LANGUAGES) for e in LANGUAGES}
    for language in LANGUAGES:
        own = found["expert_perplexity"][language][language]
        assert own == min(found["expert_perplexity"][expert][language] for expert in LANGUAGES)
    assert set(found["table3_router"]) >= {"logistic_regression", "sgd", "random_forest"}
    page = (runs / "smoke" / "report" / "index.html").read_text()
    assert "<script src" not in page
    assert 'src="http' not in page


@pytest.mark.slow
def test_another_machine_makes_the_same(local, tmp_path):
    """One thing at a time: test_machine.py. The next test changes the local run."""
    core = {min(os.sched_getaffinity(0))}
    there = machine.run(tmp_path, recipe=LESS, umask="077", cores=core, **machine.elsewhere(tmp_path / "other"))
    machine.assert_same(machine.made(local[0] / "smoke"), there)


def test_second_run_does_nothing_and_a_change_reruns_what_depends_on_it(local):
    runs, _ = local
    assert "nothing to do" in mome("run", SMOKE, *LESS, "--local", "tracking.type=none", runs=runs).stdout
    changed = mome("run", SMOKE, *LESS, "--local", "tracking.type=none", FEW, runs=runs)
    assert changed.returncode == 0
    started = [line.split("] ")[1].split(":")[0] for line in changed.stdout.splitlines() if line.endswith(": started")]
    assert started == ["evaluation", "report"]


def test_without_ray_the_way_to_it_is_told(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.startswith(("ray.", "orchestrator.cluster."))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ray", None)
    done = mome("run", SMOKE, "tracking.type=none", runs=tmp_path)
    assert done.returncode == 2
    assert "--local" in done.stderr


def test_show_report_inspect_and_generate(local):
    runs, _ = local
    assert "expert-fr" in mome("show", "smoke", runs=runs).stdout
    assert "erplexity" in mome("report", "smoke", runs=runs).stdout
    assert "train" in mome("data", "inspect", SMOKE, runs=runs).stdout
    generated = mome("generate", "smoke", "The history of", "--max-tokens", "5", runs=runs)
    assert generated.returncode == 0
    assert "The history of" in generated.stdout


def test_plan_starts_nothing(tmp_path):
    done = mome("run", SMOKE, "--plan", runs=tmp_path)
    assert done.returncode == 0
    assert "expected in all" in done.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.ray
def test_ray_gives_the_losses_of_a_local_run(local, tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    done = mome("run", SMOKE, *LESS, FEW, "resources.slots=1", runs=tmp_path)
    assert done.returncode == 0, done.text
    here, there = validation_losses(local[0]), validation_losses(tmp_path)
    assert here == pytest.approx(there, rel=2e-3)
    assert (tmp_path / "smoke" / "mlflow.db").exists()


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["corpus.languages.xx.source=miniwiki"], "xx"),
        (["corpus.languages.en.source={type: files, path: no/such/file.txt}"], "no/such/file.txt"),
        (["corpus.splits.tset=0.1"], 'did you mean "test"?'),
        (
            [f"{part}.training.batch_tokens=1600000" for part in ("teacher", "experts")] + ["blocks.context=100000"],
            "context",
        ),
        (["tokenizer.vocab_size=900000"], "vocab"),
        (["experts.training.batch_tokens=1000"], "batch"),
        (["resources.device=cuda"], "GPU"),
    ],
)
def test_bad_input_ends_with_a_message_and_exit_code_2(tmp_path, monkeypatch, overrides, said):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)  # wherever the test runs
    done = mome("run", SMOKE, "--local", "tracking.type=none", *overrides, runs=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("smoke/stages/*/.*"))
