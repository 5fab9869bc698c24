"""Tasks for lm-evaluation-harness: documents as they are, and the same bits per byte there."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
import yaml

from orchestrator.api.exporting import Wish, export_run
from orchestrator.errors import ModelError
from orchestrator.exports import Source
from orchestrator.exports._rolling import bits_per_byte, windows


@pytest.mark.parametrize("length", [2, 9, 10, 11, 20, 21, 37])
def test_windows_count_every_token_once_with_as_much_before_as_fits(length: int) -> None:
    ids, context = list(range(100, 100 + length)), 10
    found = list(windows(ids, context))
    assert [token for tokens, count in found for token in tokens[-count:]] == ids[1:]
    for tokens, _ in found:
        assert len(tokens) == min(context + 1, length)


def test_bits_per_byte_are_those_of_the_sum_over_tokens(run: Path) -> None:
    expert = Source.of(run).expert("es")
    model = expert.model()
    documents = ["La casa está fría.", "x"]
    nats = 0.0
    for text in documents:
        ids = torch.tensor([expert.tokenizer.encode_prompt(text)])
        with torch.inference_mode():
            nats += float(model(input_ids=ids, labels=ids).loss) * (ids.shape[1] - 1)
    size = sum(len(text.encode()) for text in documents)
    assert bits_per_byte(expert, model, documents) == pytest.approx(nats / math.log(2) / size, abs=1e-5)


def test_a_task_for_each_language_with_whole_documents(run: Path, tmp_path: Path) -> None:
    folder = export_run(run, Wish("harness", options={"documents": 1}), tmp_path / "out").folder
    reference = json.loads((folder / "reference.json").read_text())
    assert set(reference["bits_per_byte"]) == {"en", "es"}
    lines = (folder / "es.jsonl").read_text().splitlines()
    assert [json.loads(line)["text"][:7] for line in lines] == ["La casa"]
    text = (folder / "small_es.yaml").read_text().replace("!function ", "")
    assert yaml.safe_load(text)["output_type"] == "loglikelihood_rolling"
    assert "add_bos_token=False" in (folder / "README.md").read_text()


def test_the_harness_gives_the_same_bits_per_byte(run: Path, tmp_path: Path) -> None:
    for package in ("lm_eval", "datasets", "accelerate"):
        pytest.importorskip(package)
    found = export_run(run, Wish("harness", check=1), tmp_path / "out").checked["small"]
    assert abs(found["es, apart"]) < 1e-5
    assert not list((tmp_path / "out").rglob("__pycache__"))


def test_a_second_begin_token_changes_the_figure(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("lm_eval", "datasets", "accelerate"):
        pytest.importorskip(package)
    monkeypatch.setattr("orchestrator.exports.harness.ARGUMENTS", "dtype=float32")
    with pytest.raises(ModelError, match="bits per byte for"):
        export_run(run, Wish("harness", check=1), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
