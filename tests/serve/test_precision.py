"""`mome precision`: perplexity as the evaluation measures it, and what may be chosen."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from orchestrator.artifacts import Store
from orchestrator.cli.precision import precision
from orchestrator.errors import ArtifactError, ServingError
from orchestrator.evaluation.perplexity import block_losses
from orchestrator.models import load_model
from orchestrator.tokens.blocks import TokenBlocks
from serve.files import MixtureFiles
from serve.messages import Sampling
from serve.mixture import Mixture
from serve.precision import Precision, fastest, measure_precisions

CONTEXT, BLOCKS = 32, 5


def write_blocks(out: Path) -> None:
    """Random tokens of two languages, as the stage packs them."""
    draw, languages = np.random.default_rng(0), ("en", "fr")
    sizes = {language: {"tokens": BLOCKS * CONTEXT + 1} for language in languages}
    about = {
        "languages": languages,
        "context": CONTEXT,
        "vocab_size": 400,
        "dtype": "uint16",
        "splits": {"test": sizes},
    }
    (out / "blocks.json").write_text(json.dumps(about))
    for language in languages:
        tokens = draw.integers(3, 400, BLOCKS * CONTEXT + 1).astype(np.uint16)
        path = out / "test" / f"{language}.bin"
        path.parent.mkdir(exist_ok=True)
        tokens.tofile(path)


@pytest.fixture(scope="module")
def root(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = Store(shutil.copytree(run_folder, tmp_path_factory.mktemp("runs") / "fake"))
    made = store.current()
    store.set_current("fake", {**made, "blocks": store.publish("blocks", "b" * 16, {}, write_blocks)})
    return store.root


def test_perplexity_is_that_of_the_evaluation_and_int8_loses_little(root: Path) -> None:
    found = list(measure_precisions(root))
    assert [(row.expert, row.precision) for row in found] == [
        (expert, name) for expert in ("en", "fr") for name in ("fp32", "bf16", "int8")
    ]
    blocks = TokenBlocks.open(Store(root).current()["blocks"].folder, "test")
    for row in found:
        losses = block_losses(load_model(MixtureFiles.of(root).expert(row.expert)), blocks, row.expert, BLOCKS)
        exact = float(np.exp(losses.mean() / CONTEXT))
        assert row.perplexity == pytest.approx(exact, rel=1e-4 if row.precision == "fp32" else 0.05)
        assert row.loss == pytest.approx(row.perplexity / exact - 1, abs=1e-4)
        assert all(speed > 0 for speed in row.speeds.values())


def test_the_fastest_of_those_that_lose_little_is_named() -> None:
    def rows(**figures: tuple[float, float]) -> list[Precision]:
        return [Precision("en", name, 9.0, loss, {1: speed, 8: speed}) for name, (loss, speed) in figures.items()]

    assert fastest(rows(fp32=(0.0, 10.0), bf16=(0.001, 30.0), int8=(0.002, 90.0))) == "int8"
    assert fastest(rows(fp32=(0.0, 10.0), bf16=(0.001, 30.0), int8=(0.02, 90.0))) == "bf16"
    assert fastest(rows(fp32=(0.0, 50.0), bf16=(float("nan"), 90.0), int8=(0.02, 90.0))) == "fp32"


def test_the_command_prints_and_writes(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    precision("fake", "en", 2, tmp_path / "found.json", root.parent)
    out = capsys.readouterr().out
    assert "int8" in out
    assert "fastest here" in out
    written = json.loads((tmp_path / "found.json").read_text())
    assert [row["precision"] for row in written["rows"]] == ["fp32", "bf16", "int8"]
    assert written["fastest"] in ("fp32", "bf16", "int8")


def test_a_run_without_blocks_says_what_makes_them(run_folder: Path) -> None:
    with pytest.raises(ArtifactError, match="no held-out blocks"):
        list(measure_precisions(run_folder))


def test_a_mixture_answers_in_the_precision_asked_for(run_folder: Path) -> None:
    greedy = Sampling(max_tokens=8, temperature=0.0)
    for name in ("bf16", "int8"):
        mixture = Mixture.open(run_folder, precision=name)
        assert mixture.generate("the house near a river", sampling=greedy).completion_tokens > 0
        assert mixture.engine("en")._options.precision == name
    with pytest.raises(ServingError, match="precision must be one of"):
        Mixture.open(run_folder, precision="int3")
