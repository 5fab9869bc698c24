"""`mome route`, `mome generate` and the endpoint name the same expert for the same text."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.api.routing import RunRouter
from orchestrator.artifacts import Store
from orchestrator.cli.route import route_lines
from orchestrator.config.routing import COMMON
from orchestrator.errors import ArtifactError
from orchestrator.routers import NONE, Chooser, Policy, Router, TextRouter, load_router
from orchestrator.routers.text.router import Routing
from serve.errors import RejectedPromptError, UnknownModelError
from serve.files import MixtureFiles
from serve.mixture import Mixture
from serve.router import PromptRouter, RouterReplica

KNOWN = ("the house near a river", "la maison près du fleuve")
TEXTS = (*KNOWN, "", " ", "ξένη γλώσσα", "maison", "the maison", "a", "e", "\ud800", "SELECT 1;")
Run = Callable[..., Path]
Write = Callable[[Path, Policy], Path]


@pytest.fixture
def run(tmp_path: Path, tokenizer_folder: Path, prompt_router: Write) -> Run:
    """Publishes a run with a policy and the experts' folders."""

    def made(policy: Policy, experts: Sequence[str] = ("en", "fr")) -> Path:
        store = Store(tmp_path / "some")

        def mixture(folder: Path) -> None:
            for name in experts:
                (folder if name == COMMON else folder / "experts").joinpath(name).mkdir(parents=True)

        def tokenizer(folder: Path) -> None:
            (folder / "tokenizer.json").write_bytes((tokenizer_folder / "tokenizer.json").read_bytes())

        number = format(abs(hash((policy, experts))), "016x")[:16]
        parts = {
            "router": store.publish("router", number, {}, lambda out: prompt_router(out, policy)),
            "tokenizer": store.publish("tokenizer", number, {}, tokenizer),
            "mixture": store.publish("mixture", number, {}, mixture),
        }
        store.set_current("some", parts)
        return tmp_path / "some"

    return made


def named(root: Path, texts: Sequence[str], experts: Sequence[str] | None = None) -> dict[str, list[str | None]]:
    """The expert of each text, None where it is refused: by each of the ways to ask."""
    router = Mixture.open(root, experts=experts).router
    assert isinstance(router, PromptRouter)

    def asked(some: Sequence[str]) -> list[str | None]:
        try:
            return [route.expert for route in router.route(some)]
        except RejectedPromptError:
            return [None]

    files = MixtureFiles.of(root)
    files = files if experts is None else files.only(experts)
    endpoint = RouterReplica(files.tokenizer, files.router, tuple(files.experts))

    async def answered(text: str) -> str | None:
        try:
            return (await endpoint.route([text]))[0].expert
        except RejectedPromptError:
            return None

    command = RunRouter(root, experts)
    return {
        "the endpoint": [asyncio.run(answered(text)) for text in texts],
        "mome generate": [asked([text])[0] for text in texts],
        "mome route": [command.route([text])[0].expert for text in texts],
        "mome route --file": [choice.expert for choice in command.route(texts)],
    }


def same(found: dict[str, list[str | None]]) -> list[str | None]:
    first, *others = found.values()
    assert [answers for answers in others if answers != first] == []
    return first


@pytest.mark.parametrize("reject", ["best", "common", "error", "en", "fr"])
@pytest.mark.parametrize("experts", [None, ("en",), ("fr",), ("en", "fr"), ("fr", "en")])
def test_whatever_the_policy_and_the_experts(run: Run, reject: str, experts: Sequence[str] | None) -> None:
    there = ("en", "fr", COMMON) if reject == COMMON else ("en", "fr")
    found = same(named(run(Policy(reject), there), TEXTS, experts))
    allowed = {*(experts or ("en", "fr"))} | ({COMMON} if reject == COMMON else {None} if reject == "error" else set())
    assert set(found) <= allowed
    if experts is None:
        assert found[:2] == ["en", "fr"]


@pytest.mark.parametrize("step", [-1, 0, 1])
@pytest.mark.parametrize("reject", ["error", "fr"])
def test_at_the_border_of_rejection(run: Run, reject: str, step: int) -> None:
    """A probability of none that is `reject_above` is not above it; the last digit decides, alone and in a batch."""
    folder = run(Policy(reject)) / "stages" / "router"
    router = load_router(next(folder.iterdir()))
    assert isinstance(router, TextRouter)
    for text in ("the maison", "a", "the house"):
        none = router.route([text]).rejected.item()
        for _ in range(abs(step)):
            none = float(np.nextafter(none, 2.0 * step))
        found = same(named(run(Policy(reject, none)), [*KNOWN, text, ""]))
        rejected = step < 0
        assert (found[2] == (None if reject == "error" else "fr")) or not rejected
        labels = [choice.label for choice in RunRouter(run(Policy(reject, none))).route([text, text])]
        assert [label == NONE for label in labels] == [rejected] * 2


class Tied(TextRouter):
    """Languages that are equally probable, but for the last digit in a batch."""

    def route(self, texts: Sequence[str]) -> Routing:
        shift = 1e-16 if len(texts) > 1 else 0.0
        return Routing(np.tile([0.5 - shift, 0.5 + shift], (len(texts), 1)), np.full(len(texts), 0.5 + 2 * shift))


def test_at_a_tie_the_first_language_answers(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:

    def tied(folder: Path) -> Router:
        router = load_router(folder)
        assert isinstance(router, TextRouter)
        return Tied(**{field.name: getattr(router, field.name) for field in fields(router)})

    monkeypatch.setattr("orchestrator.routers._choice.load_router", tied)
    assert same(named(run(Policy("error", 0.5)), ["one", "two"])) == ["en", "en"]
    assert same(named(run(Policy("error", 0.5)), ["one", "two"], ["fr"])) == ["fr", "fr"]
    assert same(named(run(Policy("error", 0.49)), ["one", "two"])) == [None, None]


def test_the_command_line_knows_the_experts(run: Run, capsys: pytest.CaptureFixture[str], mome_route: Any) -> None:
    root = run(Policy("fr"))
    rows = mome_route(root, ["en"])
    assert [row["expert"] for row in rows] == ["en", "en"]
    assert [row["expert"] for row in mome_route(root, None)] == ["en", "fr"]
    with pytest.raises(UnknownModelError):
        RunRouter(root, ["it"])


@pytest.fixture
def mome_route(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., list[dict[str, Any]]]:
    """Rows of `mome route --file` on a known text and an empty one."""

    def routed(root: Path, experts: Sequence[str] | None) -> list[dict[str, Any]]:
        (tmp_path / "texts.txt").write_text(f"{KNOWN[0]}\n\n")
        route_lines(root.name, tmp_path / "texts.txt", root.parent, experts)
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return routed


def test_a_common_expert_that_is_not_there_is_told_by_all(run: Run) -> None:
    root = run(Policy("common"))
    for ask in (lambda: RunRouter(root), lambda: Mixture.open(root).router):
        with pytest.raises(ArtifactError, match="to the common expert"):
            ask()


def test_before_any_expert_is_trained_all_languages_answer(tmp_path: Path, prompt_router: Write) -> None:
    chooser = Chooser(prompt_router(tmp_path / "router", Policy("common")), lambda texts: [])
    assert [choice.expert for choice in chooser.choose([KNOWN[0], ""])] == ["en", COMMON]
