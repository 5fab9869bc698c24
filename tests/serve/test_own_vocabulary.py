"""Experts with vocabularies of their own: outside of them token ids are the run's."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient

from orchestrator.models import keep_rows, load_model, save_model
from orchestrator.tokens.kept import Kept
from orchestrator.tokens.trimming import Trimming
from serve.api import create_app
from serve.engine import Engine
from serve.errors import RequestError
from serve.files import MixtureFiles
from serve.local import LocalBackend
from serve.messages import GenerationRequest, Sampling
from serve.mixture import Mixture
from serve.text import Tokenizer

TEXT = "la maison était près du fleuve"


@pytest.fixture(scope="module")
def files(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> MixtureFiles:
    """A mixture whose French expert lacks half of the tokens of a French text, among others."""
    root = tmp_path_factory.mktemp("own")
    files = MixtureFiles.of(run_folder)
    whole, trimming = Tokenizer(files.tokenizer), Trimming(files.tokenizer)
    counts = np.bincount(whole.encode(TEXT)[::2], minlength=trimming.size)
    kept = trimming.chosen(counts, 1.0)
    starts, spelled = trimming.write(kept, root / "tokenizer")
    model = load_model(files.experts["fr"])
    keep_rows(model, torch.from_numpy(kept))
    save_model(model, root / "tokenizer", root / "fr")
    Kept(kept, starts, spelled, {"tokenizer": "", "of": trimming.size}).save(root / "fr")
    (root / "en").mkdir()
    shutil.copytree(files.experts["en"], root / "en", dirs_exist_ok=True)
    return MixtureFiles(files.tokenizer, files.router, {"en": root / "en", "fr": root / "fr"}, files.version)


@pytest.fixture(scope="module")
def client(files: MixtureFiles) -> Iterator[TestClient]:
    backend = LocalBackend(Mixture(files))
    backend.load()
    with TestClient(create_app(backend)) as client:
        yield client


def test_the_runs_ids_are_spelled_in_the_experts_own(files: MixtureFiles) -> None:
    run, own = Tokenizer(files.tokenizer), Tokenizer(files.experts["fr"])
    ids = run.encode(TEXT, begin=True)
    spelled = own.own(ids)
    assert own.decode(spelled) == TEXT
    assert len(spelled) > len(ids)
    assert run.own(ids) == ids
    with pytest.raises(RequestError, match="not of this model's vocabulary: it has 0 to"):
        own.own([10**6], "prompt")


def test_an_expert_reads_the_runs_ids_as_it_reads_their_text(client: TestClient) -> None:
    ids = client.post("/tokenize", json={"model": "fr", "prompt": TEXT}).json()["tokens"]
    assert client.post("/detokenize", json={"tokens": ids}).json() == {"prompt": TEXT}
    for model in ("fr", "auto"):
        body = {"model": model, "max_tokens": 5, "temperature": 0, "echo": True}
        said = [client.post("/v1/completions", json={**body, "prompt": prompt}).json() for prompt in (ids, TEXT)]
        assert said[0]["choices"][0]["text"].startswith(TEXT)
        assert said[0]["choices"] == said[1]["choices"]


def test_biases_and_stops_are_of_the_runs_ids(files: MixtureFiles) -> None:
    engine, run = Engine.load(files.experts["fr"]), Tokenizer(files.tokenizer)
    (wanted,) = run.encode("m")
    lost = next(token for token in run.encode(TEXT) if not engine.tokenizer.owned([token]))

    def written(**how: object) -> str:
        sampling = Sampling(max_tokens=4, temperature=0.0, **how)  # type: ignore[arg-type]
        return engine.generate([GenerationRequest(TEXT, sampling)])[0].text

    assert written(logit_bias={wanted: 100.0}) == "mmmm"
    assert written(logit_bias={wanted: 100.0}, stop_tokens=(wanted,)) == ""
    assert written(logit_bias={wanted: 100.0, lost: 100.0}, stop_tokens=(lost, 10**6)) == "mmmm"
    with pytest.raises(RequestError, match="not of this model's vocabulary"):
        written(logit_bias={10**6: 1.0})
