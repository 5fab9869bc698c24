"""A damaged router is refused; nothing in its files can run code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from orchestrator.errors import ArtifactError
from orchestrator.routers import _files, load_router, save_routers
from orchestrator.routers.paper import Paper


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    data = {"en": list(rng.integers(10, 60, (12, 20))), "fr": list(rng.integers(40, 90, (12, 20)))}
    save_routers(tmp_path, "paper", Paper().train(data, seed=0, threads=1), "sgd")
    return tmp_path


def test_files_and_summary(folder: Path) -> None:
    names = ("logistic_regression", "sgd", "random_forest")
    assert {p.name for p in folder.iterdir()} == {
        "router.json",
        *(f"{n}.{e}" for n in names for e in ("json", "safetensors")),
    }
    summary = json.loads((folder / "router.json").read_text())
    assert (summary["type"], summary["classifier"], summary["languages"]) == ("paper", "sgd", ["en", "fr"])


@pytest.mark.parametrize("name", ["sgd.safetensors", "sgd.json"])
def test_a_changed_byte_is_refused(folder: Path, name: str) -> None:
    path = folder / name
    data = bytearray(path.read_bytes())
    at = data.index(b"softmax") if name.endswith("json") else len(data) - 3
    data[at] ^= 1
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match="damaged"):
        load_router(folder)


@pytest.mark.parametrize("name", ["sgd.safetensors", "sgd.json", "router.json"])
def test_a_cut_or_missing_file_is_refused(folder: Path, name: str) -> None:
    path = folder / name
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ArtifactError, match="damaged"):
        load_router(folder)
    path.unlink()
    with pytest.raises(ArtifactError, match="can't be read") as caught:
        load_router(folder)
    assert name in caught.value.where
    assert caught.value.fix


def test_a_router_of_another_release_is_refused(folder: Path) -> None:
    summary = json.loads((folder / "router.json").read_text())
    metadata = {"reads": "text", "languages": ["en", "fr"]}
    summary["classifiers"]["sgd"] = _files.write(folder, "sgd", {"weights": np.zeros(3, np.float16)}, metadata)
    (folder / "router.json").write_text(json.dumps(summary))
    with pytest.raises(ArtifactError, match="of another release: it has no") as caught:
        load_router(folder)
    assert "--force router" in caught.value.fix


def test_a_classifier_of_another_router_is_refused(folder: Path, tmp_path: Path) -> None:
    other = json.loads((folder / "router.json").read_text())
    other["classifiers"]["sgd"] = "0" * 64
    (folder / "router.json").write_text(json.dumps(other))
    with pytest.raises(ArtifactError, match="damaged"):
        load_router(folder)


def test_unknown_classifier_names_those_stored(folder: Path) -> None:
    with pytest.raises(ArtifactError, match="svm") as caught:
        load_router(folder, "svm")
    assert "random_forest" in caught.value.fix


@pytest.mark.parametrize("content", ["[1]", "{", '"x"', '{"classifiers": 3}', "{}"])
def test_a_summary_that_is_none(folder: Path, content: str) -> None:
    (folder / "router.json").write_text(content)
    with pytest.raises(ArtifactError):
        load_router(folder)
