"""Artifact folders of a made-up run, in the shapes that the stages write; numbers are fixed, nothing is trained."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

LANGUAGES = ("en", "fr", "de", "py")
CONTEXT = 128
SPLITS = {"train": 100, "validation": 8, "test": 12}
RECIPE: dict[str, Any] = {
    "name": "made-up",
    "description": "Four languages, <script>alert(1)</script> & a | pipe.",
    "seed": 17,
    "corpus": {"languages": {lang: {"source": {"type": "miniwiki"}} for lang in LANGUAGES}},
    "blocks": {"context": CONTEXT},
}
PERPLEXITY = {  # expert -> language
    "en": {"en": 210.0, "fr": 900.0, "de": 1100.0, "py": 800.0},
    "fr": {"en": 700.0, "fr": 150.0, "de": 1000.0, "py": 870.0},
    "de": {"en": 720.0, "fr": 880.0, "de": 190.0, "py": 910.0},
    "py": {"en": 950.0, "fr": 1300.0, "de": 1400.0, "py": 95.0},
}
TEACHER = {"en": 190.0, "fr": 160.0, "de": 180.0, "py": 100.0}
FREQUENCIES = {"en": 640.0, "fr": 450.0, "de": 720.0, "py": 300.0}
CONFUSION = [[60, 1, 0, 0], [0, 61, 0, 0], [0, 2, 59, 0], [0, 0, 0, 61]]


def write_run(root: Path) -> dict[str, Path]:
    """Every artifact of a run below `root`: role -> folder."""
    files = {
        "corpus": {"corpus.json": corpus()},
        "tokenizer": {"tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast"}},
        "tokens": {"tokens.json": {}},
        "blocks": {"blocks.json": blocks()},
        "teacher": {"training.json": training(2_600_000, 5.2)},
        **{
            f"expert-{lang}": {"training.json": training(900_000, math.log(PERPLEXITY[lang][lang]))}
            for lang in LANGUAGES
        },
        "router": {
            "router.json": {"classifier": "logistic_regression", "languages": LANGUAGES},
            "metrics.json": router(),
        },
        "mixture": {"mixture.json": {"format": 1, "setup": {"type": "ple"}, "languages": LANGUAGES}},
        "evaluation": {"evaluation.json": evaluation(), "samples.json": samples()},
    }
    inputs = {role: root / role for role in files}
    for role, contents in files.items():
        inputs[role].mkdir(parents=True)
        for name, value in {**contents, "manifest.json": manifest(role)}.items():
            (inputs[role] / name).write_text(json.dumps(value))
        if "training.json" in contents:
            (inputs[role] / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in metrics(role)))
    save_file(block_losses(), inputs["evaluation"] / "block_losses.safetensors")
    return inputs


def corpus() -> dict[str, Any]:
    counts = {split: {"documents": n, "characters": n * 4000, "bytes": n * 4100} for split, n in SPLITS.items()}
    removed = {"exact_duplicates": 1, "near_duplicates": 2, "filtered": 3, "not_common": 0}
    return {"languages": {lang: {"splits": counts, "removed": removed} for lang in LANGUAGES}}


def blocks() -> dict[str, Any]:
    def counts(n: int) -> dict[str, int]:
        return {
            "documents": n,
            "tokens": n * 1000,
            "blocks": n * 1000 // CONTEXT,
            "characters": n * 4000,
            "bytes": n * 4100,
        }

    splits = {split: {lang: counts(n) for lang in LANGUAGES} for split, n in SPLITS.items()}
    return {"context": CONTEXT, "dtype": "uint16", "vocab_size": 4096, "languages": list(LANGUAGES), "splits": splits}


def training(parameters: int, loss: float) -> dict[str, Any]:
    return {
        "parameters": parameters, "steps": 300, "tokens": 300 * 1024, "seconds": 61.5, "tokens_per_second": 4995.1,
        "best_step": 300, "best_validation_loss": loss, "final_validation_loss": loss, "published_step": 300,
        "peak_memory_bytes": 1_200_000_000, "weights_sha256": "0" * 64, "strategy": "single", "world_size": 1,
    }  # fmt: skip


def metrics(role: str) -> list[dict[str, Any]]:
    """300 steps of a falling loss with an evaluation every 50; step 120 twice, as after a kill."""
    rows: list[dict[str, Any]] = []
    languages = LANGUAGES if role == "teacher" else (role.removeprefix("expert-"),)
    for step in [*range(1, 121), *range(120, 301)]:
        ce = 8.3 - 0.5 * math.log(step) + 0.1 * math.sin(step)
        row = {
            "step": step,
            "steps": 300,
            "tokens": step * 1024,
            "loss": ce,
            "lr": 1e-3,
            "grad_norm": 1.0,
            "tokens_per_second": 5e3,
        }
        rows.append(row if role == "teacher" else {**row, "ce": ce, "soft": ce / 2, "alpha": 0.5, "beta": 0.5})
        if step % 50 == 0:
            by_language = {f"validation_loss/{lang}": ce + 0.1 * i for i, lang in enumerate(languages)}
            rows.append({"step": step, "validation_loss": sum(by_language.values()) / len(by_language), **by_language})
    return rows


def router() -> dict[str, Any]:
    score = {"accuracy": 241 / 244, "precision": 0.988, "recall": 0.9877, "f1": 0.9878}
    details = {
        **score,
        "accuracy_interval": [0.96, 0.99],
        "count": 244,
        "correct": 241,
        "confusion": CONFUSION,
    }
    names = ("logistic_regression", "sgd", "random_forest")
    return {
        "languages": list(LANGUAGES), "averaging": "macro", "confidence": 0.95, "sequence_tokens": CONTEXT,
        "training_sequences": dict.fromkeys(LANGUAGES, 700), "table3_router": dict.fromkeys(names, score),
        "classifiers": {name: details | {"lengths": {"16": details, "64": details}, "name": name} for name in names},
        "prompt": prompt(),
    }  # fmt: skip


def prompt() -> dict[str, Any]:
    lengths = ("1 word", "2 words", "20 characters", "50 characters", "100 characters", "256 characters")
    score = {"accuracy": 0.9712, "accuracy_interval": [0.9689, 0.9741]}
    bucket = {**score, "count": 8000, "ece": 0.0123, "rejected": 0.04, "confusion": CONFUSION}
    kinds = [f"{seen}/{code}" for seen in ("seen", "unseen") for code in ("ab", "cd", ".ef", ".gh")]
    return {
        "languages": list(LANGUAGES), "threshold": 0.5, "buckets": dict.fromkeys(lengths, bucket),
        "reliability": [{"confidence": c, "accuracy": c - 0.01, "count": 900} for c in (0.4, 0.6, 0.8, 0.99)],
        "coverage": [
            {"coverage": c, "error": 0.01, "outside_rejected": 0.9, "threshold": 0.4} for c in (1.0, 0.95, 0.5)
        ],
        "outside": {kind: {"count": 500, "rejected": 0.9} for kind in [*kinds, "generated/noise"]},
        "classifiers": {"sgd": dict.fromkeys(lengths, score)},
        "learned_outside": ["code/sql", "generated/noise", "phrases/es"],
        "shipped": {"en": {"kinds": ["phrases/en"], "learned": 2, "with": []}},
    }  # fmt: skip


def _score(perplexity: float) -> dict[str, Any]:
    loss = math.log(perplexity)
    interval = [perplexity * 0.95, perplexity * 1.05]
    return {
        "loss": loss, "perplexity": perplexity, "bits_per_byte": loss / math.log(2) / 4.1, "interval": interval,
    }  # fmt: skip


def evaluation() -> dict[str, Any]:
    experts = {expert: {lang: _score(value) for lang, value in row.items()} for expert, row in PERPLEXITY.items()}
    routing = {"accuracy": 59 / 60, "accuracy_interval": [0.9, 1.0], "routes": {}}
    return {
        "split": "test", "context": CONTEXT, "confidence": 0.95, "bootstrap": 1000,
        "blocks": dict.fromkeys(LANGUAGES, 60), "tokens": {}, "bytes": {}, "means": {},
        "teacher": {lang: _score(value) for lang, value in TEACHER.items()},
        "experts": experts,
        "true_language": {lang: experts[lang][lang] for lang in LANGUAGES},
        "routed": {lang: _score(PERPLEXITY[lang][lang] * 1.002) | routing for lang in LANGUAGES},
        "routing_cost": {lang: {"ratio": 1.002, "interval": [0.999, 1.005]} for lang in LANGUAGES},
    }  # fmt: skip


def samples() -> dict[str, Any]:
    made = {"teacher": " and goes on", "expert": " | <b>and on</b>"}
    return {lang: [{"prompt": f"{lang} begins", **made}] for lang in LANGUAGES}


def block_losses() -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
    """Sixty blocks a language, whose difficulty the models share; one English block goes to the French expert."""
    rng = np.random.default_rng(0)
    tensors: dict[str, np.ndarray[Any, np.dtype[Any]]] = {}
    for index, language in enumerate(LANGUAGES):
        difficulty = rng.normal(0, 0.2, 60)
        for model, row in {**PERPLEXITY, "teacher": TEACHER, "frequencies": FREQUENCIES}.items():
            tensors[f"loss/{model}/{language}"] = CONTEXT * (
                math.log(row[language]) + difficulty + rng.normal(0, 0.02, 60)
            )
        tensors[f"route/{language}"] = np.full(60, index)
        tensors[f"works/{language}"] = np.arange(60)
    tensors["route/en"][7] = 1
    return tensors


def manifest(role: str) -> dict[str, Any]:
    return {
        "step": role, "stage": role.title(), "fingerprint": role.encode().hex().ljust(64, "0"), "code": "c" * 64,
        "inputs": {} if role == "corpus" else {"blocks": "b" * 64, "tokenizer": "d" * 64}, "files": {}, "config": {},
        "seconds": 12.25, "peak_memory_bytes": 800_000_000, "versions": {"python": "3.11.2", "torch": "2.13.0"},
        "created": "2026-11-22T00:10:00+00:00",
    }  # fmt: skip
