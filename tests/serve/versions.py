"""A run in miniature with two versions of its mixture, for endpoints that change what they serve."""

from __future__ import annotations

from pathlib import Path

from orchestrator.artifacts import Artifact, Store
from orchestrator.mixtures.versions import Versions
from tests.serve.conftest import LANGUAGES, write_model, write_router, write_tokenizer


def write_versions(folder: Path) -> tuple[Path, Path]:
    """Write the run and an expert beside it; version 1 is current, and version 2 has another "fr".

    Returns:
        The run's folder, the expert's.
    """
    root, extra = folder / "fake", folder / "extra"
    store = Store(root)
    parts = {"tokenizer": store.publish("tokenizer", "a" * 16, {}, write_tokenizer)}
    tokenizer = parts["tokenizer"].folder
    parts["router"] = store.publish("router", "a" * 16, {}, lambda out: write_router(out, tokenizer))
    for name in ("corpus", "blocks", "teacher"):
        parts[name] = store.publish(name, "a" * 16, {}, lambda out: (out / "none").write_text("none"))
    first = {f"expert-{each}": _expert(store, each, seed) for seed, each in enumerate(LANGUAGES)}
    second = {**first, "expert-fr": _expert(store, "fr", 7)}
    recipe = {"corpus": {"languages": list(LANGUAGES)}}
    store.set_current("fake", {**parts, **first})
    versions = Versions(root)
    versions.publish("trained", None, recipe, {**parts, **first})
    versions.publish("add fr", 1, recipe, {**parts, **second})
    versions.use(1)
    write_model(extra, 9)
    return root, extra


def _expert(store: Store, language: str, seed: int) -> Artifact:
    return store.publish(f"expert-{language}", f"{seed:016}", {}, lambda out: write_model(out / "model", seed))
