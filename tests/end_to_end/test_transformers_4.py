"""Folders that are published, opened by the last transformers before 5: the same tokens, logits and loss."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from orchestrator.api.exporting import Wish, export_run
from orchestrator.config.base import PluginSpec
from orchestrator.models import build_model, save_model
from orchestrator.models.mixture_files import save_mixture
from orchestrator.models.setups.moe_ce import MoECE
from orchestrator.tokens.tokenizer import save_tokenizer, train_tokenizer
from tests.unit.exports.conftest import World

TEXT = "La casa está junto al agua; the house is by the river."
PACKAGES = ("transformers==4.57.6", "huggingface-hub==0.36.2", "tokenizers==0.22.2")
OLDEST = ("transformers==4.44.2", "huggingface-hub==0.36.2", "tokenizers==0.19.1")
"""The oldest that `mome export --to hf` writes for."""
MODELS = {
    "gpt2": PluginSpec(type="gpt2-nano"),
    "mistral": PluginSpec(type="mistral", layers=2, width=32, heads=4, kv_heads=2),
    "phi": PluginSpec(type="phi", layers=2, width=32, heads=4),
}
OPEN = """
import json, sys, torch, transformers
from transformers import AutoModelForCausalLM, AutoTokenizer
found = {"version": transformers.__version__}
for folder in sys.argv[2:]:
    inputs = AutoTokenizer.from_pretrained(folder)(sys.argv[1], return_tensors="pt")
    with torch.no_grad():
        output = AutoModelForCausalLM.from_pretrained(folder).eval()(**inputs, labels=inputs["input_ids"])
    found[folder] = {"ids": inputs["input_ids"].tolist(), "loss": float(output.loss), "logits": output.logits.tolist()}
print(json.dumps(found))
"""


def opened(folders: list[Path], first: Path | None) -> dict[str, object]:
    """What transformers, that of the folder `first` or the installed one, makes of the text with each model."""
    path = {"PYTHONPATH": str(first)} if first else {}
    done = subprocess.run(
        [sys.executable, "-c", OPEN, TEXT, *map(str, folders)],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", **path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def installed(packages: tuple[str, ...], folder: Path) -> Path:
    """A folder with transformers 4 and what it needs, to be put before this environment, whose torch it uses."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), *packages]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{' '.join(packages)} can't be installed here: {done.stderr[-500:]}")
    return folder


@pytest.fixture(scope="module")
def before_5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installed(PACKAGES, tmp_path_factory.mktemp("transformers-4"))


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A folder of every architecture, and the experts of a mixture."""
    root = tmp_path_factory.mktemp("published")
    tokenizer = train_tokenizer([[TEXT] * 9], 290)
    save_tokenizer(tokenizer, root / "tokenizer")
    size = tokenizer.get_vocab_size()
    for name, spec in MODELS.items():
        save_model(_far_apart(build_model(spec, size, 64, 1)), root / "tokenizer", root / name)
    experts = {name: build_model(MODELS["gpt2"], size, 64, seed) for seed, name in enumerate(("en", "es"))}
    mixture = MoECE().assemble(experts, build_model(MODELS["gpt2"], size, 64, 5))
    save_mixture(mixture, PluginSpec(type="moe_ce"), root / "tokenizer", root / "mixture")
    return [*(root / name for name in MODELS), *(root / "mixture" / name for name in ("experts/es", "common"))]


def _far_apart(model: torch.nn.Module) -> torch.nn.Module:
    """Weights large enough that a wrong position or type is seen in the loss."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(7))
    return model


@pytest.mark.slow
def test_logits_are_those_of_transformers_5(published: list[Path], before_5: Path) -> None:
    now, then = opened(published, None), opened(published, before_5)
    assert str(now.pop("version")).startswith("5.")
    assert str(then.pop("version")).startswith("4.57.")
    same(now, then)


@pytest.mark.slow
@pytest.mark.parametrize("packages", [OLDEST, PACKAGES], ids=lambda packages: packages[0])
def test_an_exported_expert_is_the_same_in_older_versions(packages: tuple[str, ...], tmp_path: Path) -> None:
    world = World(tmp_path / "world")
    folders = [export_run(world.run(n, n), Wish("hf", "es"), tmp_path / n).folder for n in ("gpt2", "mistral", "phi")]
    now, then = opened(folders, None), opened(folders, installed(packages, tmp_path / "packages"))
    assert now.pop("version") != then.pop("version")
    same(now, then)


def same(now: dict[str, object], then: dict[str, object]) -> None:
    """The same tokens, losses and logits of every folder."""
    for folder, ours in now.items():
        theirs = then[folder]
        assert theirs["ids"] == ours["ids"], folder
        assert theirs["loss"] == pytest.approx(ours["loss"], abs=1e-5), folder
        torch.testing.assert_close(
            torch.tensor(theirs["logits"]), torch.tensor(ours["logits"]), rtol=1e-4, atol=1e-4, msg=folder
        )
