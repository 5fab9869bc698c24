"""From artifact folders to one record of results: the only place of this room that reads artifacts of a run.

The record is `results.json`, see :class:`orchestrator.reporting.run_results.RunResults`. Where a number is one of the
paper's it has the name and shape of the paper's tables (`table3_router`, `table4_perplexity`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.errors import ArtifactError
from orchestrator.provenance import drift, told
from orchestrator.records import Evaluation, Measured, TrainingFacts
from orchestrator.reporting.facts import damaged, parse, plain, read_json, read_tensors
from orchestrator.reporting.figures import thin
from orchestrator.reporting.paired import comparisons
from orchestrator.reporting.run_results import (
    ByLanguage,
    Corpus,
    Curves,
    Evaluated,
    Intervals,
    Lineage,
    Router,
    RouterFacts,
    RunResults,
)
from orchestrator.routers.text import shipped

Json = dict[str, Any]


def collect(inputs: Mapping[str, Path], recipe: Json) -> RunResults:
    """Every number of the report, from the artifacts `inputs` (role -> folder) of one run.

    Args:
        inputs: corpus, tokenizer, tokens, blocks, teacher, expert-<language>…, router, evaluation.
        recipe: the recipe as plain data, without resources and tracking.

    Raises:
        ArtifactError: an artifact, a file of it, or a value in it is missing.
    """
    found: RunResults = plain(_collect(inputs, recipe))
    if facts := _alignments(inputs, found["languages"]):
        found["alignments"] = facts
    return found


def _collect(inputs: Mapping[str, Path], recipe: Json) -> RunResults:
    blocks = read_json(folder(inputs, "blocks") / "blocks.json")
    languages = [str(language) for language in blocks["languages"]]
    joint = inputs.get("joint")  # one training of all experts
    experts = {lang: joint or folder(inputs, f"expert-{lang}") for lang in languages}
    models = {"teacher": folder(inputs, "teacher"), **experts}
    manifests = {role: read_json(path / "manifest.json") for role, path in inputs.items()}
    setup = read_json(folder(inputs, "mixture") / "mixture.json")["setup"]["type"]
    went_in = _corpus(read_json(folder(inputs, "corpus") / "corpus.json"), blocks, languages)
    measured = _evaluation(folder(inputs, "evaluation"), languages, setup)
    return {
        "name": recipe.get("name", ""),
        "languages": languages,
        "recipe": recipe,
        **went_in,
        "blocks": {"context": blocks["context"], "dtype": blocks["dtype"], "vocab_size": blocks["vocab_size"]},
        "tokenizer": _tokenizer(folder(inputs, "tokenizer"), blocks, languages),
        "models": {name: _training(path / "training.json") for name, path in models.items()},
        "learning_curves": {name: learning_curves(path / "metrics.jsonl", languages) for name, path in models.items()},
        **_router(folder(inputs, "router")),
        **measured,
        "bits_per_character": _per_character(measured, blocks["splits"]),
        **_lineage(manifests),  # type: ignore[typeddict-item]  # `alignments` comes later, where there are any
    }


def _alignments(inputs: Mapping[str, Path], languages: Sequence[str]) -> dict[str, Json]:
    """What was counted where the teacher has another tokenizer, by language; nothing where it has the run's."""
    found = {language: path for language in languages if (path := inputs.get(f"alignment-{language}"))}
    return {language: read_json(path / "alignment.json") for language, path in found.items()}


def _training(path: Path) -> TrainingFacts:
    """Facts of a training; where experts were trained together, `parameters` are those of one."""
    facts = read_json(path)
    found: Any = facts | {"parameters": facts.get("expert_parameters", facts["parameters"])}
    training: TrainingFacts = found
    return training


def folder(inputs: Mapping[str, Path], role: str) -> Path:
    """The artifact of a role.

    Raises:
        ArtifactError: the run has none.
    """
    if role not in inputs:
        raise ArtifactError(f"the report needs the {role} step, which this run does not have", where=", ".join(inputs))
    return inputs[role]


def learning_curves(path: Path, languages: Sequence[str], most: int = 200) -> Curves:
    """Curves over the optimizer step from a training's `metrics.jsonl`; a missing file has none.

    Args:
        path: the file.
        languages: in the order to show them.
        most: points of a curve; longer ones are thinned.

    Returns:
        "train" (cross-entropy where it was logged, otherwise the loss), "validation", "validation_by_language"
        (language -> curve), "alpha", "beta", "soft": lists of [step, value].

    Raises:
        ArtifactError: a row is not JSON.
    """
    rows = _read_lines(path) if path.exists() else []

    def curve(*keys: str) -> list[list[float]]:
        # A training that was killed and went on logs some steps twice; the later row is the one that counts.
        found = {row["step"]: row[key] for key in reversed(keys) for row in rows if is_number(row.get(key))}
        return thin(sorted(found.items()), most)

    by_language = {language: curve(f"validation_loss/{language}") for language in languages}
    return {
        "train": curve("ce", "loss"),
        "soft": curve("soft"),
        "validation": curve("validation_loss"),
        "validation_by_language": {language: points for language, points in by_language.items() if points},
        "alpha": curve("alpha"),
        "beta": curve("beta"),
    }


def is_number(value: Any) -> bool:
    """Whether a figure of a row is there: it is null where it was not computed, or not finite."""
    return isinstance(value, int | float) and math.isfinite(value)


def _read_lines(path: Path) -> list[Json]:
    try:
        return [parse(path, line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise damaged(path, str(error)) from None


def _corpus(corpus: Json, blocks: Json, languages: list[str]) -> Corpus:
    """Language -> split -> counts: the cleaned corpus, and the balanced tokens and blocks of it that models see."""
    counts = corpus["languages"]
    splits = {
        language: {
            split: {key: counts[language]["splits"][split][key] for key in ("documents", "characters", "bytes")}
            | {key: by_language[language][key] for key in ("tokens", "blocks")}
            for split, by_language in blocks["splits"].items()
        }
        for language in languages
    }
    filters = {language: found for language in languages if (found := counts[language].get("filters"))}
    removed = {language: counts[language]["removed"] for language in languages}
    return {"corpus": splits, "removed": removed, "filters": filters}


def _per_character(measured: Evaluated, splits: Mapping[str, Mapping[str, Json]]) -> dict[str, ByLanguage]:
    """Bits per byte times the bytes that a character of the balanced text has, in the split that was evaluated."""
    counts = splits[measured["split"]]
    return {
        who: {
            lang: bits * counts[lang]["bytes"] / counts[lang]["characters"]
            for lang, bits in by_language.items()
            if lang in counts
        }
        for who, by_language in measured["bits_per_byte"].items()
    }


def _router(path: Path) -> Router:
    """Table 3 on whole blocks; by length of the text, metrics with confusion matrices (rows: truth)."""
    chosen, metrics = read_json(path / "router.json"), read_json(path / "metrics.json")
    timing = path / "timing.json"
    facts: RouterFacts = {
        "used": chosen["classifier"],
        "languages": metrics["languages"],
        "averaging": metrics["averaging"],
        "confidence": metrics["confidence"],
        "sequence_tokens": metrics["sequence_tokens"],
        "training_sequences": metrics["training_sequences"],
        "classifiers": {name: _by_length(found) for name, found in metrics["classifiers"].items()},
        "prompt": metrics.get("prompt"),
        "text": shipped.about() if metrics.get("prompt") and shipped.installed() else None,
        "timing": read_json(timing) if timing.exists() else None,
    }
    return {"table3_router": metrics["table3_router"], "router": facts}


def _by_length(metrics: Json) -> Json:
    """Length of the text in tokens -> metrics; "full" is a whole block."""
    whole = {key: value for key, value in metrics.items() if key != "lengths"}
    return {**metrics.get("lengths", {}), "full": whole}


def _evaluation(path: Path, languages: Sequence[str], setup: str) -> Evaluated:
    """Perplexities with their intervals, bits per byte, and the paired comparisons."""
    read: Any = read_json(path / "evaluation.json")
    found: Evaluation = read
    tensors = read_tensors(path / "block_losses.safetensors")
    teacher, experts, routed = found["teacher"], found["experts"], found["routed"]
    return {
        "setup": setup,
        "split": found["split"],
        "confidence": found["confidence"],
        "evaluated_blocks": found["blocks"],
        "expert_perplexity": {expert: _perplexity(entries) for expert, entries in experts.items()},
        "expert_perplexity_interval": {expert: _interval(entries) for expert, entries in experts.items()},
        "teacher_perplexity": _perplexity(teacher),
        "teacher_perplexity_interval": _interval(teacher),
        "table4_perplexity": {setup: _perplexity(routed)},
        "table4_perplexity_interval": {setup: _interval(routed)},
        "bits_per_byte": {
            "teacher": {language: entry["bits_per_byte"] for language, entry in teacher.items()},
            "own_expert": {language: experts[language][language]["bits_per_byte"] for language in experts},
            "routed": {language: entry["bits_per_byte"] for language, entry in routed.items()},
        },
        "routed_right": {language: entry["accuracy"] for language, entry in routed.items()},
        "mean_perplexity": found["means"],
        "routing_cost": found["routing_cost"],
        "comparisons": comparisons(tensors, languages, found["context"], found["confidence"]),
        "samples": dict(read_json(path / "samples.json")),
    }


def _perplexity(entries: Mapping[str, Measured]) -> ByLanguage:
    return {language: entry["perplexity"] for language, entry in entries.items()}


def _interval(entries: Mapping[str, Measured]) -> Intervals:
    return {language: entry["interval"] for language, entry in entries.items()}


def _tokenizer(path: Path, blocks: Json, languages: list[str]) -> Json:
    train = blocks["splits"]["train"]
    config = path / "tokenizer_config.json"
    return {
        "vocab_size": blocks["vocab_size"],
        "class": read_json(config).get("tokenizer_class", "") if config.exists() else "",
        "characters_per_token": {lang: train[lang]["characters"] / max(1, train[lang]["tokens"]) for lang in languages},
        "bytes_per_token": {lang: train[lang]["bytes"] / max(1, train[lang]["tokens"]) for lang in languages},
    }


def _lineage(manifests: Mapping[str, Json]) -> Lineage:
    """Steps with their fingerprints, the seconds and memory of each, and the versions that made them."""
    keys = ("step", "stage", "fingerprint", "inputs", "seconds", "peak_memory_bytes", "created")
    whole = max((int(manifest.get("run_peak_memory_bytes") or 0) for manifest in manifests.values()), default=0)
    seconds = {role: float(manifest["seconds"]) for role, manifest in manifests.items()}
    memory = {role: int(m["peak_memory_bytes"] or 0) for role, m in manifests.items()}
    versions: dict[str, list[str]] = {}
    for manifest in manifests.values():
        for name, version in manifest.get("versions", {}).items():
            if str(version) not in versions.setdefault(name, []):
                versions[name].append(str(version))
    return {
        "steps": [{key: manifest.get(key) for key in keys} | {"step": role} for role, manifest in manifests.items()],
        "seconds": seconds | {"total": sum(seconds.values())},
        "peak_memory_bytes": {**memory, "largest": max(memory.values(), default=0), "run": whole or None},
        "versions": {name: ", ".join(found) for name, found in sorted(versions.items())},
        "drift": told({role: drift(manifest) for role, manifest in manifests.items()}),
    }
