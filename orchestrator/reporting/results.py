"""From artifact folders to one plain dictionary of results: the only place of this room that reads artifacts.

The dictionary is `results.json`. Where a number is one of the paper's it has the name and shape of the paper's tables
(`table3_router`, `table4_perplexity`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.errors import ArtifactError
from orchestrator.reporting.figures import thin

Json = dict[str, Any]


def collect(inputs: Mapping[str, Path], recipe: Json) -> Json:
    """Every number of the report, from the artifacts `inputs` (role -> folder) of one run.

    Args:
        inputs: corpus, tokenizer, tokens, blocks, teacher, expert-<language>…, router, evaluation.
        recipe: the recipe as plain data, without resources and tracking.

    Raises:
        ArtifactError: an artifact, a file of it, or a value in it is missing.
    """
    blocks = read_json(folder(inputs, "blocks") / "blocks.json")
    languages = [str(language) for language in blocks["languages"]]
    models = {"teacher": folder(inputs, "teacher")} | {lang: folder(inputs, f"expert-{lang}") for lang in languages}
    manifests = {role: read_json(path / "manifest.json") for role, path in inputs.items()}
    results: Json = {"name": recipe.get("name", ""), "languages": languages, "recipe": recipe}
    results |= _corpus(read_json(folder(inputs, "corpus") / "corpus.json"), blocks, languages)
    results["blocks"] = {key: blocks[key] for key in ("context", "dtype", "vocab_size")}
    results["tokenizer"] = _tokenizer(folder(inputs, "tokenizer"), blocks, languages)
    results["models"] = {name: read_json(path / "training.json") for name, path in models.items()}
    results["learning_curves"] = {name: learning_curves(path / "metrics.jsonl") for name, path in models.items()}
    results |= _router(folder(inputs, "router"))
    results |= _evaluation(read_json(folder(inputs, "evaluation") / "evaluation.json"))
    return results | _lineage(manifests)


def folder(inputs: Mapping[str, Path], role: str) -> Path:
    """The artifact of a role.

    Raises:
        ArtifactError: the run has none.
    """
    if role not in inputs:
        raise ArtifactError(f"the report needs the {role} step, which this run does not have", where=", ".join(inputs))
    return inputs[role]


def read_json(path: Path) -> Json:
    """A JSON object from a file of an artifact.

    Raises:
        ArtifactError: the file is missing or is not a JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(path, str(error)) from None
    if not isinstance(value, dict):
        raise _damaged(path, "not a JSON object")
    return value


def learning_curves(path: Path) -> Json:
    """Curves over the optimizer step from a training's `metrics.jsonl`, thinned for plots; a missing file has none.

    Returns:
        "train" (cross-entropy where it was logged, otherwise the loss), "validation", "validation_by_language" (language
        -> curve), "alpha", "beta", "soft": lists of [step, value].
    """
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []

    def curve(*keys: str) -> list[list[float]]:
        # A training that was killed and went on logs some steps twice; the later row is the one that counts.
        found = {row["step"]: row[key] for key in reversed(keys) for row in rows if row.get(key) is not None}
        return thin(sorted(found.items()))

    prefix = "validation_loss/"
    languages = sorted({key.removeprefix(prefix) for row in rows for key in row if key.startswith(prefix)})
    return {
        "train": curve("ce", "loss"),
        "soft": curve("soft"),
        "validation": curve("validation_loss"),
        "validation_by_language": {language: curve(prefix + language) for language in languages},
        "alpha": curve("alpha"),
        "beta": curve("beta"),
    }


def _damaged(path: Path, reason: str) -> ArtifactError:
    return ArtifactError(
        f"{path.name} can't be read: {reason}", str(path), f"delete {path.parent} and type the same command: the stage runs again"
    )


def _corpus(corpus: Json, blocks: Json, languages: list[str]) -> Json:
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
    return {"corpus": splits, "removed": {language: counts[language]["removed"] for language in languages}}


def _router(path: Path) -> Json:
    """Table 3, and the confusion matrices (rows: true languages) in the order of the router's languages."""
    chosen, metrics = read_json(path / "router.json"), read_json(path / "metrics.json")
    scores = metrics["classifiers"]
    keys = ("accuracy", "precision", "recall", "f1")
    return {
        "table3_router": {name: {key: float(score[key]) for key in keys} for name, score in scores.items()},
        "router": {
            "used": chosen["classifier"],
            "languages": chosen["languages"],
            "confusion": {name: score["confusion"] for name, score in scores.items()},
        },
    }


def _evaluation(found: Json) -> Json:
    """Perplexities, their intervals, bits per byte and the cost of routing."""
    teacher, experts, routed = found["teacher"], found["experts"], found["routed"]

    def pick(entries: Json, key: str) -> Json:
        return {language: entry[key] for language, entry in entries.items()}

    return {
        "split": found["split"],
        "confidence": found["confidence"],
        "expert_perplexity": {expert: pick(entries, "perplexity") for expert, entries in experts.items()},
        "expert_perplexity_interval": {expert: pick(entries, "interval") for expert, entries in experts.items()},
        "teacher_perplexity": pick(teacher, "perplexity"),
        "teacher_perplexity_interval": pick(teacher, "interval"),
        "table4_perplexity": {"ple": pick(routed, "perplexity")},
        "routed_perplexity": pick(routed, "perplexity"),
        "routed_perplexity_interval": pick(routed, "interval"),
        "routing_cost": found["routing_cost"],
        "bits_per_byte": {
            "teacher": pick(teacher, "bits_per_byte"),
            "own_expert": {language: experts[language][language]["bits_per_byte"] for language in experts},
            "routed": pick(routed, "bits_per_byte"),
        },
    }


def _tokenizer(path: Path, blocks: Json, languages: list[str]) -> Json:
    train = blocks["splits"]["train"]
    config = path / "tokenizer_config.json"
    return {
        "vocab_size": blocks["vocab_size"],
        "class": read_json(config).get("tokenizer_class", "") if config.exists() else "",
        "characters_per_token": {lang: train[lang]["characters"] / max(1, train[lang]["tokens"]) for lang in languages},
        "bytes_per_token": {lang: train[lang]["bytes"] / max(1, train[lang]["tokens"]) for lang in languages},
    }


def _lineage(manifests: Mapping[str, Json]) -> Json:
    """Steps with their fingerprints, the seconds and memory of each, and the versions that made them."""
    keys = ("step", "stage", "fingerprint", "inputs", "seconds", "peak_memory_bytes", "created")
    seconds = {role: float(manifest["seconds"]) for role, manifest in manifests.items()}
    memory = {role: int(manifest["peak_memory_bytes"] or 0) for role, manifest in manifests.items()}
    versions: dict[str, list[str]] = {}
    for manifest in manifests.values():
        for name, version in manifest.get("versions", {}).items():
            if str(version) not in versions.setdefault(name, []):
                versions[name].append(str(version))
    return {
        "steps": [{key: manifest.get(key) for key in keys} | {"step": role} for role, manifest in manifests.items()],
        "seconds": seconds | {"total": sum(seconds.values())},
        "peak_memory_bytes": memory | {"largest": max(memory.values(), default=0)},
        "versions": {name: ", ".join(found) for name, found in sorted(versions.items())},
    }
