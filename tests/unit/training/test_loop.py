from __future__ import annotations

import itertools
import json
import math
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from orchestrator.config.base import PluginSpec
from orchestrator.errors import NodeLeavingError, ResourceError, TrainingError
from orchestrator.models import weights_digest
from orchestrator.training import loop
from orchestrator.training.loop import train
from orchestrator.training.objective import CrossEntropyObjective
from orchestrator.training.publish import publish
from orchestrator.training.step import Clock


def final_weights(outcome) -> str:
    return weights_digest(outcome.checkpoints.weights("step", outcome.progress.step))


def clock_of(args: tuple) -> Clock:
    (clock,) = (each for each in args if isinstance(each, Clock))
    return clock


class Interrupted(BaseException):
    pass


def test_learns_and_tells_what_it_did(make_task, env, rows_of):
    outcome = train(make_task({"tokens": 16 * 8 * 30}), env)
    rows = rows_of(env)
    steps = [row for row in rows if "loss" in row]
    evaluations = [row for row in rows if "validation_loss" in row]
    assert [row["step"] for row in steps] == list(range(1, 31))
    assert steps[-1]["tokens"] == outcome.progress.tokens == 16 * 8 * 30
    assert set(steps[0]) == {
        *("step", "steps", "tokens", "loss", "ce", "soft", "alpha", "beta", "lr", "grad_norm", "tokens_per_second")
    }
    assert [row["step"] for row in evaluations] == [4, 8, 12, 16, 20, 24, 28, 30]
    last = evaluations[-1]
    assert last["validation_loss"] == pytest.approx((last["validation_loss/en"] + last["validation_loss/fr"]) / 2)
    assert last["validation_loss"] < evaluations[0]["validation_loss"] - 0.1
    assert outcome.progress.best_loss == min(row["validation_loss"] for row in evaluations)


@pytest.mark.parametrize("stop", [1, 5, 6, 11])
def test_stopped_and_started_again_it_ends_with_the_same_weights(make_task, env, tmp_path, rows_of, monkeypatch, stop):
    undisturbed = replace(env, work=tmp_path / "other")
    expected = train(make_task(), undisturbed)
    calls = itertools.count(1)

    def interrupted(*args):
        if next(calls) > stop:
            raise Interrupted
        return original(*args)

    original = loop.train_step
    monkeypatch.setattr(loop, "train_step", interrupted)
    with pytest.raises(Interrupted):
        train(make_task(), env)
    steps = []

    def counted(*args):
        steps.append(clock_of(args).step)
        return original(*args)

    monkeypatch.setattr(loop, "train_step", counted)
    outcome = train(make_task(), env)
    checkpoint = stop - stop % 3
    assert steps == list(range(checkpoint, 12)), "it did not go on from its checkpoint"
    assert final_weights(outcome) == final_weights(expected)
    times = {"seconds": 0, "training_seconds": 0}
    assert replace(outcome.progress, **times) == replace(expected.progress, **times)
    timeless = [[{**row, "tokens_per_second": 0} for row in rows_of(place)] for place in (env, undisturbed)]
    assert timeless[0] == timeless[1]


def test_a_finished_run_is_not_trained_again(make_task, env, monkeypatch):
    first = train(make_task(), env)
    monkeypatch.setattr(loop, "train_step", lambda *_: pytest.fail("trained again"))
    assert train(make_task(), env).progress == first.progress


def test_a_row_cut_in_two_and_rows_of_the_future_are_dropped(make_task, env, rows_of):
    train(make_task(), env)
    path = env.work / "metrics.jsonl"
    path.write_text(path.read_text() + '{"message": "hello"}\n{"step": 99, "loss": 1}\n{"step": 3, "lo')
    train(make_task(), env)
    rows = rows_of(env)
    assert rows[-1] == {"message": "hello"}
    assert max(row.get("step", 0) for row in rows) == 12


class _Poisoned(CrossEntropyObjective):
    """Cross-entropy that is not a number at one step."""

    def weights(self, step, steps, history, micro):
        return (math.nan if step == 7 else 1.0), 0.0

    def losses(self, model, batch, alpha, beta):
        sums = super().losses(model, batch, alpha, beta)
        return sums._replace(loss=sums.loss * alpha)


def test_a_loss_that_is_not_finite_names_step_blocks_and_last_checkpoint(make_task, env):
    with pytest.raises(TrainingError, match="not finite at step 7") as error:
        train(make_task(objective=_Poisoned()), env)
    assert error.value.where.startswith("blocks ")
    assert "en:" in error.value.where
    batch = env.work / "bad_batch.json"
    assert f"all of them in {batch};" in error.value.where
    found = json.loads(batch.read_text())
    assert (found["step"], found["split"], len(found["blocks"])) == (7, "train", 8)
    first = found["blocks"][0]
    assert f"blocks {first['language']}:{first['block']} " in error.value.where
    assert error.value.where.endswith(f"last good checkpoint: {env.work / 'checkpoints' / 'step-6'}")
    assert "lr" in error.value.fix


@pytest.mark.parametrize("publish", ["best", "last"])
def test_weights_that_are_not_finite_after_the_last_step_are_not_kept(make_task, env, monkeypatch, publish):
    original = loop.train_step

    def poisoned(handle, *args):
        result = original(handle, *args)
        if clock_of(args).step == 11:
            handle.parameters[0].data.fill_(math.nan)
        return result

    monkeypatch.setattr(loop, "train_step", poisoned)
    with pytest.raises(TrainingError, match="validation loss is not finite after step 12") as error:
        train(make_task({"publish": publish}), env)
    assert error.value.where == f"last good checkpoint: {env.work / 'checkpoints' / 'step-9'}"
    assert not (env.work / "checkpoints" / "step-12").exists()


def test_a_checkpoint_of_another_recipe_is_refused(make_task, env):
    train(make_task(), env)
    with pytest.raises(TrainingError, match="another recipe"):
        train(make_task(fingerprint="g"), env)


def test_a_gpu_that_is_not_there(make_task, env):
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(ResourceError, match="GPU"):
        train(make_task(), replace(env, device="cuda"))


def test_single_refuses_several_workers(make_task, env):
    with pytest.raises(TrainingError, match="one worker"):
        train(make_task(), replace(env, world_size=2))


def test_bf16_trains_too(make_task, env):
    outcome = train(make_task({"precision": "bf16"}), env)
    weights = outcome.checkpoints.weights("step", 12)
    assert {value.dtype for value in weights.values()} == {torch.float32}
    assert outcome.progress.validation_loss < math.log(300)


@pytest.mark.parametrize("which", ["best", "last"])
def test_publishes_what_the_recipe_asks_for(make_task, env, tmp_path, which):
    # A learning rate so high that it gets worse.
    task = make_task({"publish": which, "optimizer": PluginSpec(type="adamw", lr=0.5), "decay": "constant"})
    outcome = train(task, env)
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "tokenizer.json").write_text("{}")
    out = tmp_path / "out"
    publish(task, outcome, tmp_path / "tokenizer", out, env)
    facts = json.loads((out / "training.json").read_text())
    step = outcome.progress.best_step if which == "best" else 12
    expected = outcome.checkpoints.weights("best" if which == "best" else "step", step)
    from orchestrator.models import load_model

    published = dict(load_model(out / "model").named_parameters())
    assert facts["published_step"] == step
    assert facts["steps"] == 12
    assert facts["peak_memory_bytes"] > 1e7
    assert all(torch.equal(published[name], value) for name, value in expected.items())
    assert (out / "metrics.jsonl").read_text() == (env.work / "metrics.jsonl").read_text()


def test_only_rank_0_publishes(make_task, env, tmp_path):
    task = make_task()
    publish(task, train(task, env), tmp_path, tmp_path / "out", replace(env, rank=1, world_size=2))
    assert not (tmp_path / "out").exists()


KILLED = """
import sys, torch
from pathlib import Path
from orchestrator.config.base import PluginSpec
from orchestrator.config.recipe import TrainingConfig
from orchestrator.models import build_model, weights_digest
from orchestrator.environment import Environment
from orchestrator.tokens.blocks import TokenBlocks
from orchestrator.training import loop
from orchestrator.training.loop import Task, train
from orchestrator.training.objective import CrossEntropyObjective

steps, original = [], loop.train_step

def counted(*args):
    steps.append(args[5].step)
    return original(*args)

loop.train_step = counted
torch.set_num_threads(1)
folder, work = Path(sys.argv[1]), Path(sys.argv[2])
batch = 16 * 8
config = TrainingConfig(tokens=150 * batch, batch_tokens=batch, micro_batch=4,
                        eval_every=4, eval_blocks=6, checkpoint_every=3)
model = PluginSpec(type="gpt2", layers=1, width=32, heads=2, dropout=0.1)
task = Task(lambda: build_model(model, 300, 16, 1), CrossEntropyObjective(), config, TokenBlocks.open(folder, "train"),
            TokenBlocks.open(folder, "validation"), ("en", "fr"), 1, "f")
print("started", flush=True)
outcome = train(task, Environment(work=work))
print(weights_digest(outcome.checkpoints.weights("best", outcome.progress.best_step)),
      weights_digest(outcome.checkpoints.weights("step", outcome.progress.step)))
print(*steps[:1])
"""


def run(blocks_folder: Path, work: Path, kill_after: float | None = None) -> str:
    """Output of a training in its own process, killed so many seconds after it began to train."""
    command = [sys.executable, "-c", KILLED, str(blocks_folder), str(work)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        if kill_after is not None:
            time.sleep(kill_after)
            process.send_signal(signal.SIGKILL)
        return process.stdout.read()


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_with_the_same_weights(blocks_folder, tmp_path):
    start = time.perf_counter()
    expected, first = run(blocks_folder, tmp_path / "undisturbed").splitlines()
    assert first == "0"
    seconds = min(time.perf_counter() - start, 4.0)
    rng = random.Random(0)
    killed = [run(blocks_folder, tmp_path / "killed", rng.uniform(0.1, 0.5) * seconds) for _ in range(5)]
    folders = (tmp_path / "killed" / "checkpoints").glob("step-*")
    checkpoint = max((int(folder.name[5:]) for folder in folders), default=0)
    resumed, first = run(blocks_folder, tmp_path / "killed").split("\n")[:2]
    assert resumed == expected
    assert first == ("" if checkpoint == 150 else str(checkpoint)), "it did not go on from its checkpoint"
    assert "" in killed, "no attempt was killed before its end"


def test_before_its_node_is_taken_away_it_writes_a_checkpoint_and_loses_no_step(make_task, env, tmp_path, monkeypatch):
    monkeypatch.setattr("orchestrator.training.leaving._SECONDS", 0)
    expected = train(make_task(), replace(env, work=tmp_path / "other"))
    asked = itertools.count(1)
    task = make_task({"checkpoint_every": 100})
    with pytest.raises(NodeLeavingError, match="a checkpoint of step 4 is written"):
        train(task, replace(env, is_leaving=lambda: next(asked) == 3))  # for the first time after two steps
    assert [path.name for path in (env.work / "checkpoints").glob("step-*")] == ["step-4"]
    assert final_weights(train(task, env)) == final_weights(expected)
