"""What people type at an endpoint with a prompt router: every text has an answer or a reason, whatever the policy."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from orchestrator.config.routing import BEST, COMMON, ERROR
from orchestrator.routers import NONE, Policy
from serve.api import create_app
from serve.chat import ChatTemplate
from serve.messages import Completion, GenerationRequest, Route
from serve.router import PromptRouter

KNOWN = {"en": "the house near a river", "fr": "la maison près du fleuve"}
FOREIGN = "ξένη γλώσσα"
ODD = {
    "white space": " \t\n\u00a0\u3000",
    "digits": "1234567890",
    "emoji": "😀🎉👩‍👩‍👧",
    "right to left": "مرحبا \u202eכיף",
    "a long line": "x" * 190_000,
}
POLICIES = {BEST: KNOWN, COMMON: [COMMON], "fr": ["fr"], ERROR: []}
"""Policy -> experts that a rejected prompt may go to."""


class RoutingBackend:
    """Routes by a prompt router, and answers with the prompt's length."""

    started, deadline_s, version, chat, full = 0, 5.0, "0", ChatTemplate(), False

    def __init__(self, router: PromptRouter, experts: Sequence[str]) -> None:
        self._router, self.experts = router, experts

    async def route(self, model: str, prompts: Sequence[str]) -> list[Route]:
        return self._router.route(prompts) if model == "auto" else [Route(model)] * len(prompts)

    async def generate(self, expert: str, requests: Sequence[GenerationRequest], seconds: float) -> list[Completion]:
        return [Completion(f"{len(r.prompt)}", 3, 2, "length") for r in requests]


@pytest.fixture(scope="module", params=POLICIES)
def served(
    request: pytest.FixtureRequest,
    tokenizer_folder: Path,
    prompt_router: Callable[[Path, Policy], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[str, TestClient]]:
    policy, experts = request.param, (*KNOWN, COMMON)
    folder = prompt_router(tmp_path_factory.mktemp("router"), Policy(policy))
    app = create_app(RoutingBackend(PromptRouter(tokenizer_folder, folder, experts), experts))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield policy, client


def test_known_prompts_are_answered_by_their_experts(served: tuple[str, TestClient]) -> None:
    body = served[1].post("/v1/completions", json={"prompt": list(KNOWN.values())}).json()
    assert [choice["route"]["expert"] for choice in body["choices"]] == list(KNOWN)
    assert body["route"]["probabilities"][NONE] < 0.01


@pytest.mark.parametrize("prompt", [FOREIGN, *ODD.values()], ids=["another language", *ODD])
def test_any_other_text_goes_where_the_policy_says(served: tuple[str, TestClient], prompt: str) -> None:
    policy, client = served
    response = client.post("/v1/completions", json={"prompt": prompt})
    body = response.json()
    if policy == ERROR:
        assert response.status_code == 422
        assert (body["error"]["code"], body["error"]["param"]) == ("prompt_rejected", "prompt")
        assert "is in no language that an expert knows" in body["error"]["message"]
        assert "en, fr" in body["error"]["message"]
    else:
        assert response.status_code == 200
        assert body["route"]["expert"] in POLICIES[policy]
        assert body["route"]["probabilities"][NONE] > 0.9


@pytest.mark.parametrize("prompt", ["\0\0\0", "the\0house", "\uffff\U0010ffff", "\u200b", "\x1b[31m"])
def test_what_no_keyboard_types_has_an_answer(served: tuple[str, TestClient], prompt: str) -> None:
    assert served[1].post("/v1/completions", json={"prompt": prompt}).status_code in (200, 422)


@pytest.mark.parametrize("body", [b'{"prompt": ""}', b'{"prompt": "\\ud800"}', b'{"prompt": ["a", "\\udfff"]}'])
def test_what_is_no_text_is_no_prompt(served: tuple[str, TestClient], body: bytes) -> None:
    response = served[1].post("/v1/completions", content=body, headers={"content-type": "application/json"})
    assert (response.status_code, json.loads(response.content)["error"]["param"]) == (400, "prompt")


def test_one_refused_prompt_refuses_the_batch_and_is_named(served: tuple[str, TestClient]) -> None:
    policy, client = served
    response = client.post("/v1/completions", json={"prompt": [*KNOWN.values(), FOREIGN]})
    if policy == ERROR:
        assert response.status_code == 422
        assert "prompt 3 of 3" in response.json()["error"]["message"].lower()
    else:
        *experts, last = [choice["route"]["expert"] for choice in response.json()["choices"]]
        assert experts == list(KNOWN)
        assert last in POLICIES[policy]


def test_a_named_expert_answers_what_the_router_refuses(served: tuple[str, TestClient]) -> None:
    body = served[1].post("/v1/completions", json={"prompt": FOREIGN, "model": "fr"}).json()
    assert body["route"] == {
        "expert": "fr",
        "reason": "named",
        "probability": None,
        "probabilities": None,
        "version": "0",
    }
