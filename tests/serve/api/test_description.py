"""The OpenAPI description, and requests that schemathesis makes of it: no 5xx, with a key and without."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serve.api import Keys, create_app, keys
from serve.local import LocalBackend
from serve.mixture import Mixture

PATHS = {
    "/v1/completions", "/v1/chat/completions", "/v1/responses", "/v1/route", "/tokenize", "/detokenize", "/v1/models",
    "/v1/models/{name}", "/health", "/ready", "/metrics", "/openapi.json",
}  # fmt: skip


def test_every_route_is_described_with_its_refusals(backend: Any, tmp_path: Path) -> None:
    keys.add(tmp_path / "keys.json", "me")
    whole = create_app(backend, Keys(tmp_path / "keys.json")).openapi()
    assert set(whole["paths"]) == PATHS
    for path, methods in whole["paths"].items():
        for said in methods.values():
            assert said["description"]
            assert ("security" in said) == (path not in ("/health", "/ready"))
            assert "422" not in said["responses"]
    assert {"4XX", "5XX"} <= set(whole["paths"]["/v1/completions"]["post"]["responses"])
    fields = whole["components"]["schemas"]["CompletionRequest"]["properties"]
    assert all(said.get("description") for said in fields.values())
    assert "security" not in str(create_app(backend).openapi())


SMALL = st.one_of(
    st.none(), st.integers(-2, 3), st.floats(), st.text(max_size=3), st.lists(st.text(max_size=2), max_size=2)
)
BODIES = st.fixed_dictionaries(
    {
        "prompt": st.one_of(st.text(max_size=20), st.lists(st.integers(0, 396), max_size=10)),
        "max_tokens": st.integers(0, 4),
    },
    optional={
        **{
            name: st.floats(-1, 3)
            for name in ("temperature", "top_p", "min_p", "repetition_penalty", "presence_penalty")
        },
        **{name: st.integers(-2, 4) for name in ("top_k", "n", "best_of", "logprobs", "seed")},
        **{name: st.booleans() for name in ("echo", "stream")},
        "stop": st.lists(st.text(max_size=3), max_size=5),
        "logit_bias": st.dictionaries(st.integers(0, 500).map(str), st.floats(-100, 100), max_size=3),
        "structured_outputs": st.fixed_dictionaries({"regex": st.from_regex(r"\[a-z\]\{1,3\}", fullmatch=True)}),
        "response_format": SMALL,
        "model": st.sampled_from(["auto", "en", "fr", "it"]),
    },
)


@given(body=BODIES)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_choice_of_parameters_is_a_fault(live: httpx.Client, body: dict[str, Any]) -> None:
    sent = json.dumps(body).encode("utf-8", "replace")
    answer = live.post("/v1/completions", content=sent, headers={"content-type": "application/json"})
    assert answer.status_code < 500, answer.text
    if answer.status_code == 200 and not body.get("stream"):
        whole = answer.json()
        assert len(whole["choices"]) == body.get("n", 1)
        assert whole["usage"]["completion_tokens"] <= body["max_tokens"] * max(body.get("best_of", 1), body.get("n", 1))
    elif answer.status_code == 200:
        assert answer.text.endswith("data: [DONE]\n\n") or "event: error" in answer.text


@pytest.mark.long
@pytest.mark.parametrize("given_key", [False, True])
def test_schemathesis_finds_no_fault(
    mixture: Mixture, served: Callable[[Any], AbstractContextManager[str]], tmp_path: Path, given_key: bool
) -> None:
    schemathesis = pytest.importorskip("schemathesis")
    key = keys.add(tmp_path / "keys.json", "me")
    headers = {"authorization": f"Bearer {key}"} if given_key else {}
    with served(create_app(LocalBackend(mixture), Keys(tmp_path / "keys.json"))) as url:
        while httpx.get(f"{url}/ready").status_code == 503:  # its engines may still start
            time.sleep(0.05)
        described = schemathesis.openapi.from_url(f"{url}/openapi.json", headers={"authorization": f"Bearer {key}"})
        statuses = set[int]()

        for operation in described.get_all_operations():
            strategy = operation.ok().as_strategy()

            @given(case=strategy)
            @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), database=None)
            def run(case: Any) -> None:
                answer = case.call(headers=headers, timeout=30)
                assert answer.status_code < 500, (case.as_curl_command(), answer.text)
                statuses.add(answer.status_code)

            run()
    assert (200 in statuses) if given_key else (statuses <= {200, 401})
