"""A pretrained teacher with its tokenizer, and experts with one that the run has trained, to the report."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator import run
from orchestrator.config.recipe import Recipe
from tests.unit.models.own_tokenizers import write

pytestmark = pytest.mark.long


def test_a_run_from_text_to_its_report(tmp_path: Path) -> None:
    model = {"type": "gpt2", "layers": 1, "width": 16, "heads": 2}
    training = {"tokens": 2048, "batch_tokens": 256, "micro_batch": 4, "precision": "fp32", "eval_every": 4}
    recipe = Recipe.model_validate(
        {
            "name": "aligned",
            "corpus": {
                "max_documents": 20,
                "languages": {name: {"source": "miniwiki"} for name in ("en", "fr")},
                "splits": {"validation": 0.2, "test": 0.2},
            },
            "tokenizer": {"vocab_size": 400},
            "blocks": {"context": 16},
            "teacher": {
                "model": {"type": "pretrained", "name": str(write("gpt2", tmp_path / "teacher"))},
                "train": False,
            },
            "experts": {
                "model": model,
                "training": training,
                "distillation": {"soft": "jsd", "teacher": "hidden_cache", "alignment": "spans"},
            },
            "router": {"type": {"type": "prompt", "bits": 12, "pieces": 100, "calibration_pieces": 50}},
            "evaluation": {"bootstrap": 100, "max_blocks": 4},
            "tracking": {"type": "none"},
        }
    )
    made = run(recipe, runs=tmp_path / "runs", local=True, quiet=True)
    results = made.results
    assert set(results.experts) == {"en", "fr"}
    assert "Tokens of the teacher beside those of the experts" in made.report.read_text(encoding="utf-8")
    again = run(recipe, runs=tmp_path / "runs", local=True, quiet=True)
    assert {name: each.fingerprint for name, each in again.artifacts.items()} == {
        name: each.fingerprint for name, each in made.artifacts.items()
    }
