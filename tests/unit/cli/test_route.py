from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.artifacts import Store
from orchestrator.cli.route import route_text
from orchestrator.errors import ArtifactError
from orchestrator.mixtures.versions import Versions
from orchestrator.routers import Policy, TextRouter, save_routers
from orchestrator.routers.paper import Paper
from orchestrator.routers.text.calibration import KNOTS, SIGNALS, Calibration
from orchestrator.routers.text.ngrams import ngram_buckets
from orchestrator.routers.text.router import TokenBytes
from orchestrator.routers.text.vocabulary import Vocabulary
from orchestrator.tokens.tokenizer import encode, save_tokenizer, train_tokenizer

Mome = Callable[..., Any]

BITS = 12
WORDS = {"en": "the house near a river", "fr": "la maison près du fleuve"}


def write_router(folder: Path, policy: Policy | None = None) -> None:
    """A router that knows two sentences, and rejects what shares no n-gram with them."""
    weights = np.zeros((1 << BITS, 4), np.float32)
    for column, text in enumerate(WORDS.values()):
        for buckets in ngram_buckets([text], BITS)[0]:
            weights[buckets, column] = weights[buckets, 3] = 1
    rejection = np.zeros((len(WORDS), len(KNOTS), SIGNALS + 1), np.float32)
    rejection[..., 3], rejection[..., SIGNALS] = -20, 10
    calibration = Calibration(np.full(len(KNOTS), 4, np.float32), rejection)
    router = TextRouter(
        tuple(WORDS), weights, np.zeros(4, np.float32), calibration, Vocabulary.of([], []), TokenBytes.of([])
    )
    save_routers(folder, "prompt", {"prompt": router}, "prompt", policy or Policy("fr", 0.5))


def write_experts(folder: Path) -> None:
    """A mixture's folder as far as its experts' names go."""
    for name in WORDS:
        (folder / "experts" / name).mkdir(parents=True)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    store = Store(tmp_path / "some")
    store.set_current("some", {"router": store.publish("router", "r" * 16, {}, write_router)})
    return tmp_path


def test_label_probabilities_and_reasons(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    route_text("some", "the house near a river", runs)
    shown = capsys.readouterr().out
    assert "label: en" in shown
    assert "what speaks for en" in shown
    assert "spans" not in shown


def test_spans_of_a_text_that_changes(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    route_text("some", "the house near a river\nla maison près du fleuve", runs)
    shown = capsys.readouterr().out
    assert "spans" in shown
    assert "0–23" in shown


@pytest.mark.parametrize("text", ["", "ξένη γλώσσα", "[bold]\ud800"])
def test_rejected_text_names_the_policy(runs: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    route_text("some", text, runs)
    shown = capsys.readouterr().out
    assert "label: none" in shown
    assert "the recipe's policy for that, fr, sends it to fr" in shown


def test_json_of_one_text(mome: Mome, runs: Path) -> None:
    ended = mome("route", "some", "the house near a river\nla maison près du fleuve", "--json", "--runs", runs)
    found = json.loads(ended.out)
    assert found["label"] == found["expert"] in WORDS
    assert sum(found["probabilities"].values()) == pytest.approx(1)
    assert [(span["begin"], span["label"]) for span in found["spans"]] == [(0, "en"), (23, "fr")]
    assert found["reasons"][0][1] > 0


@pytest.mark.parametrize(("reject", "expert"), [("best", "en"), ("common", "common"), ("error", None), ("fr", "fr")])
def test_json_of_rejected_text_has_the_policys_expert(
    runs: Path, capsys: pytest.CaptureFixture[str], reject: str, expert: str | None
) -> None:
    store = Store(runs / "other")
    folder = store.publish("router", "r" * 16, {}, lambda out: write_router(out, Policy(reject)))
    store.set_current("other", {"router": folder})
    route_text("other", "", runs, as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert (found["label"], found["expert"]) == ("none", expert)
    route_text("other", "", runs)
    said = "refuses it" if expert is None else f"sends it to {expert}"
    assert said in capsys.readouterr().out


def test_each_line_of_a_file_has_its_row(mome: Mome, runs: Path, tmp_path: Path) -> None:
    lines = ["the house near a river", "", "la maison pr\u00e8s du fleuve", "\0 \u202e \ufeff"]
    (tmp_path / "prompts.txt").write_bytes("\r\n".join(lines).encode() + b"\r\n\xff\xfe")
    rows = [
        json.loads(row)
        for row in mome("route", "some", "--file", tmp_path / "prompts.txt", "--runs", runs).out.splitlines()
    ]
    assert [row["text"] for row in rows] == [*lines, "\ufffd\ufffd"]
    assert [row["label"] for row in rows] == ["en", "none", "fr", "none", "none"]
    assert {tuple(row) for row in rows} == {("label", "expert", "probabilities", "text")}


def test_text_comes_from_the_standard_input(mome: Mome, runs: Path, tmp_path: Path) -> None:
    text = tmp_path / "typed.txt"
    text.write_bytes(b"the house near a river")
    with text.open("rb") as typed:
        command = [sys.executable, "-m", "orchestrator.cli.main", "route", "some", "--file", "-", "--runs", str(runs)]
        ended = subprocess.run(command, stdin=typed, capture_output=True, check=True)
        assert json.loads(ended.stdout)["label"] == "en"
        typed.seek(0)
        before = os.dup(0)
        os.dup2(typed.fileno(), 0)
        try:
            assert json.loads(mome("route", "some", "-", "--json", "--runs", runs).out)["label"] == "en"
        finally:
            os.dup2(before, 0)
            os.close(before)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "give a text, or --file"),
        (("text", "--file", "prompts.txt"), "give a text, or --file"),
        (("--file", "nowhere.txt"), "can't be read: No such file"),
    ],
)
def test_bad_arguments_end_with_exit_code_2(mome: Mome, runs: Path, arguments: tuple[str, ...], said: str) -> None:
    ended = mome("route", "some", *arguments, "--runs", runs)
    assert ended.code == 2
    assert said in ended.err


def test_the_papers_router_has_a_label_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(tmp_path / "some")
    tokenizer = train_tokenizer([["the house", "la maison"]], 259)
    words = {"en": "the house near", "fr": "la maison des"}
    sequences = {name: [row.astype(np.int64) for row in encode(tokenizer, [text] * 4)] for name, text in words.items()}
    routers = Paper().train(sequences, 1, 1)
    store.set_current(
        "some",
        {
            "tokenizer": store.publish("tokenizer", "t" * 16, {}, lambda out: save_tokenizer(tokenizer, out)),
            "router": store.publish(
                "router", "r" * 16, {}, lambda out: save_routers(out, "paper", routers, "logistic_regression")
            ),
        },
    )
    route_text("some", "la maison", tmp_path)
    assert "label: fr" in capsys.readouterr().out
    route_text("some", "\ud800", tmp_path, as_json=True)
    assert json.loads(capsys.readouterr().out)["expert"] in words


def test_the_current_version_of_a_mixture_routes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not the artifacts of the run, which are the same whatever version is in use."""
    root = tmp_path / "some"
    store = Store(root)
    store.set_current("some", {"router": store.publish("router", "r" * 16, {}, write_router)})
    older = {
        name: store.publish(name, "o" * 16, {}, lambda out: write_router(out, Policy("error")))
        for name in ("router", "tokenizer")
    }
    older["mixture"] = store.publish("mixture", "o" * 16, {}, write_experts)
    Versions(root).publish("trained", None, {"corpus": {"languages": {"en": {}, "fr": {}}}}, older)
    route_text("some", "", tmp_path)
    assert "policy for that, error, refuses it" in capsys.readouterr().out


def test_a_run_without_a_router(tmp_path: Path) -> None:
    store = Store(tmp_path / "some")
    store.set_current("some", {"other": store.publish("other", "o" * 16, {}, lambda out: None)})
    with pytest.raises(ArtifactError, match="no router"):
        route_text("some", "text", tmp_path)


def test_a_file_in_utf16_is_refused(mome: Mome, runs: Path, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_bytes("the house".encode("utf-16"))
    ended = mome("route", "some", "--file", tmp_path / "prompts.txt", "--runs", runs)
    assert (ended.code, "iconv -f UTF-16" in ended.err) == (2, True)
