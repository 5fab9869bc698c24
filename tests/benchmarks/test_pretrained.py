"""The bench of a pretrained teacher, end to end at a tiny size: its rows, and that they mean what they say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks._rows import Row
from orchestrator import load_run
from orchestrator.exports import Source
from orchestrator.exports._measured import measured
from orchestrator.plugins import create
from tests.end_to_end.tiny import write_text
from tests.unit.models.own_tokenizers import write

RECIPE = """
name: taught
corpus:
  languages:
    en: {{source: {{type: files, path: {texts}/en.jsonl}}}}
    es: {{source: {{type: files, path: {texts}/es.jsonl}}}}
  deduplication: {{near: null}}
  splits: {{validation: 0.2, test: 0.2}}
blocks: {{context: 16}}
teacher: {{model: {{type: pretrained, name: somewhere}}, train: false}}
experts:
  model: {{type: gpt2, layers: 1, width: 16, heads: 2}}
  vocabulary: {{keep: 0.99}}
  training:
    {{tokens: 640, batch_tokens: 160, micro_batch: 10, eval_every: 2, eval_blocks: 2, precision: fp32,
     optimizer: {{type: adamw, lr: 1.0e-2}}}}
  distillation: {{teacher: hidden_cache}}
router: {{type: paper, sequences_per_language: 60}}
evaluation: {{bootstrap: 100}}
"""


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[tuple[str, str], Row]]:
    root = tmp_path_factory.mktemp("bench")
    for language in ("en", "es"):
        write_text(root / f"{language}.jsonl", language)
    teacher = write("gpt2", root / "teacher", padding=8)
    (root / "recipe.yaml").write_text(RECIPE.format(texts=root))
    options = {"recipe": str(root / "recipe.yaml"), "teacher": str(teacher), "seeds": 2, "work": str(root / "work")}
    found = list(create("benchmarks", "pretrained", options).rows())
    return root / "work", {(row.case, row.metric): row for row in found}


@pytest.mark.parametrize("language", ["en", "es"])
def test_bits_per_byte_are_those_of_the_run(rows: tuple[Path, dict[tuple[str, str], Row]], language: str) -> None:
    work, found = rows
    run = load_run("taught", work)
    figures = measured(Source.of(run.folder))
    beside = found[f"{language}: beside the teacher", "bits per byte"]
    assert beside.baseline == figures["teacher", language].bits_per_byte
    assert beside.ours == figures[language, language].bits_per_byte
    low, high = figures[language, language].bits_interval or (0, 0)
    row = found[f"{language}: expert of the run, interval over documents", "bits per byte, low and high"]
    assert (row.ours, row.baseline) == (low, high)


def test_peers_learn_by_cross_entropy_alone_from_the_same_weights(
    rows: tuple[Path, dict[tuple[str, str], Row]],
) -> None:
    work, found = rows
    same = found["en: beside cross-entropy alone, equal tokens", "bits per byte"]
    assert same.ours != same.baseline
    assert same.ours == pytest.approx(same.baseline, rel=0.2)
    tokens = found["es: tokens, beside cross-entropy alone in equal time", "tokens"]
    assert tokens.ours == 640
    manifests = (work / "taught-students/stages/expert-es").glob("*/manifest.json")
    configs = [json.loads(path.read_text())["config"]["experts"] for path in manifests]
    assert sum(config["distillation"].get("soft", "") is None for config in configs) == 4
    assert sum(config["training"]["tokens"] == tokens.baseline for config in configs) == 2
    assert len(configs) == 6


def test_the_run_says_what_it_took(rows: tuple[Path, dict[tuple[str, str], Row]]) -> None:
    _, found = rows
    whole = found["the whole run, beside its caches", "wall time"]
    assert whole.ours > whole.baseline > 0
    assert next(row for (case, _), row in found.items() if case.startswith("largest step, ")).ratio > 1
