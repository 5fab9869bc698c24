"""Keys, request ids, limits, time, clients that go away, metrics, logs and traces."""

from __future__ import annotations

import json
import logging
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from orchestrator.errors import ServingError
from serve.api import Keys, check_exposure, create_app, events, keys, limits
from serve.api.gate import log_requests
from serve.api.metrics import Metrics
from serve.errors import AuthenticationError
from serve.local import LocalBackend
from serve.mixture import Mixture

OPEN = ("/health", "/ready", "/", "/docs", "/page/page.js", "/page/docs.js", "/page/page.css")
Served = Callable[[Any], AbstractContextManager[str]]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def test_keys_are_asked_for_on_every_route_but_the_open_ones(backend: Any, file: Path) -> None:
    key = keys.add(file, "alice")
    app = create_app(backend, Keys(file))
    client = TestClient(app)
    for path, methods in app.openapi()["paths"].items():
        for method in methods:
            answer = client.request(method, path.replace("{name}", "en"))
            assert (answer.status_code == 401) == (path not in OPEN), path
            if path not in OPEN:
                assert answer.json()["error"]["code"] == "invalid_api_key"
                assert answer.headers["www-authenticate"] == "Bearer"
    assert client.get("/nowhere").status_code == 401
    assert all(client.get(path).status_code == 200 for path in OPEN)
    assert client.get("/v1/models", headers=bearer(key)).status_code == 200
    for wrong in ("", "Bearer", "Bearer ", f"Basic {key}", f"Bearer {key}x", f"Bearer {key[:-1]}", key, "Bearer ü"):
        assert client.get("/v1/models", headers={"authorization": wrong.encode()}).status_code == 401


def test_keys_that_an_editor_saves_with_a_mark_are_known_and_lost_ones_are_told_of(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key = keys.add(file, "alice")
    known = Keys(file)
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert known.check(f"Bearer {key}") == "alice"
    file.write_text("")
    for _ in range(2):
        with pytest.raises(AuthenticationError):
            known.check(f"Bearer {key}")
    assert [record.getMessage().splitlines()[0] for record in caplog.records] == [
        "no API key is known any more: this is no file of keys"
    ]


def test_a_folder_is_no_file_of_keys(tmp_path: Path) -> None:
    with pytest.raises(ServingError, match="can't be read") as refused:
        keys.add(tmp_path, "alice")
    assert refused.value.fix == "name a file"


def test_what_no_expert_takes_is_refused_unread_and_all_else_is_answered(backend: Any, file: Path) -> None:
    key, metrics = keys.add(file, "alice"), Metrics()
    backend.full = True
    client = TestClient(create_app(backend, Keys(file), metrics=metrics))
    for path in ("/v1/completions", "/v1/chat/completions", "/v1/responses"):
        answer = client.post(path, content=b"{", headers=bearer(key))
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
        assert answer.json()["error"]["code"] == "overloaded"
        assert client.post(path, content=b"{").status_code == 401
    assert client.get("/v1/models", headers=bearer(key)).status_code == 200
    assert client.post("/v1/route", json={"input": "la"}, headers=bearer(key)).status_code == 200
    assert 'mome_refusals_total{code="overloaded"} 3.0' in metrics.text({}).decode()
    backend.full = False
    assert client.post("/v1/completions", json={"prompt": "la"}, headers=bearer(key)).status_code == 200


def test_keys_hold_from_one_request_to_the_next(backend: Any, file: Path) -> None:
    alice, client = keys.add(file, "alice"), TestClient(create_app(backend, Keys(file)))
    bob = keys.add(file, "bob")
    assert [client.get("/v1/models", headers=bearer(key)).status_code for key in (alice, bob)] == [200, 200]
    keys.revoke(file, "alice")
    assert [client.get("/v1/models", headers=bearer(key)).status_code for key in (alice, bob)] == [401, 200]
    file.write_text("damaged")
    assert client.get("/v1/models", headers=bearer(bob)).status_code == 401
    file.unlink()
    assert client.get("/v1/models", headers=bearer(bob)).status_code == 401


def test_the_file_of_keys_has_digests_and_one_reader(file: Path) -> None:
    key = keys.add(file, "alice")
    assert len(key) > 40
    assert key not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for bad in (lambda: keys.add(file, "alice"), lambda: keys.add(file, ""), lambda: keys.revoke(file, "bob")):
        with pytest.raises(ServingError):
            bad()
    assert set(keys.read(file)) == {"alice"}
    assert len(Keys(file)) == 1
    file.chmod(0o644)
    with pytest.raises(ServingError, match="others can read"):
        Keys(file)
    for content in ("", "[]", '{"keys": []}', '{"keys": {"a": 1}}', '{"keys": {"a": {"sha256": "x"}}}'):
        file.write_text(content)
        file.chmod(0o600)
        with pytest.raises(ServingError, match="no file of keys"):
            Keys(file)


def test_other_machines_are_let_in_with_keys_alone(file: Path) -> None:
    for host in ("127.0.0.1", "127.0.0.9", "::1", "localhost"):
        check_exposure(host, None)
    for host in ("0.0.0.0", "::", "10.0.0.1", "example.org", ""):
        with pytest.raises(ServingError, match="no API keys"):
            check_exposure(host, None)
    keys.add(file, "alice")
    check_exposure("0.0.0.0", Keys(file))
    keys.revoke(file, "alice")
    with pytest.raises(ServingError):
        check_exposure("0.0.0.0", Keys(file))


def test_request_ids_go_in_and_out(client: TestClient) -> None:
    assert client.get("/health", headers={"x-request-id": "mine-1"}).headers["x-request-id"] == "mine-1"
    made = [
        client.get("/health", headers={"x-request-id": bad}).headers["x-request-id"] for bad in ("", "a b", "x" * 129)
    ]
    assert all(len(each) == 32 for each in made)
    assert "x-request-id" in client.get("/v2").headers
    assert "x-request-id" in client.post("/v1/completions", json={"prompt": "bug"}).headers


def test_overload_says_when_to_come_again(client: TestClient) -> None:
    for stream in (False, True):
        answer = client.post("/v1/completions", json={"prompt": "busy", "stream": stream})
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")


def test_ready_is_503_until_every_part_is_there(client: TestClient, backend: Any) -> None:
    assert client.get("/ready").status_code == 200
    backend.there = False
    answer = client.get("/ready")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
    assert client.get("/health").status_code == 200


def test_a_silent_stream_pings_and_ends_at_the_deadline(
    client: TestClient, backend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "PING_S", 0.06)
    backend.deadline_s = 0.35
    for prompt, begun in [("stalls", 1), ("slow", 0)]:
        text = client.post("/v1/completions", json={"prompt": prompt, "stream": True}).text
        found = [part for part in text.split("\n\n") if part]
        assert 3 <= found.count(": ping") <= 6
        assert sum(part.startswith("data: {") for part in found) == begun
        assert found[-1].startswith("event: error\ndata: ")
        assert json.loads(found[-1].partition("data: ")[2])["error"]["code"] == "timeout"
    assert backend.given_up == 2


def test_a_fault_in_a_stream_is_an_error_event_without_its_trace(client: TestClient) -> None:
    for path, body in [
        ("/v1/completions", {"prompt": "buggy"}),
        ("/v1/completions", {"prompt": "breaks"}),
    ]:
        text = client.post(path, json={**body, "stream": True}).text
        assert "secret" not in text
        assert "[DONE]" not in text
        assert text.rstrip().rpartition("\n\n")[2].startswith("event: error")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("header", [{}, {"x-request-disconnect-disabled": "?1", "x-request-timeout-seconds": "0"}])
def test_a_client_that_goes_away_frees_its_slot(
    mixture: Mixture, served: Served, stream: bool, header: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = mixture.engine("en")
    choose = engine._scheduler._choose
    monkeypatch.setattr(engine._scheduler, "_choose", lambda *args: (time.sleep(0.05), choose(*args))[1])
    before = engine.statistics.cancelled
    with served(create_app(LocalBackend(mixture))) as url:
        body = json.dumps(
            {"model": "en", "prompt": "a", "max_tokens": 60, "n": 2, "stream": stream, "logit_bias": {"2": -100}}
        )
        address = httpx.URL(url)
        with socket.create_connection((address.host, address.port)) as client:
            lines = ["POST /v1/completions HTTP/1.1", "host: x", "content-type: application/json"]
            lines += [f"content-length: {len(body)}", *(f"{name}: {value}" for name, value in header.items())]
            client.sendall(("\r\n".join(lines) + "\r\n\r\n" + body).encode())
            while engine.statistics.active < 2:
                time.sleep(0.01)
            if stream:
                assert client.recv(20)
        begun = time.monotonic()
        while engine.statistics.active and time.monotonic() < begun + 3:
            time.sleep(0.01)
        assert time.monotonic() < begun + 1
        assert engine.statistics.cancelled == before + 2


def test_a_request_that_does_not_arrive_is_given_up(
    backend: Any, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_BODY_S", 0.2)
    with served(create_app(backend)) as url:
        address = httpx.URL(url)
        with socket.create_connection((address.host, address.port), timeout=5) as client:
            lines = ["POST /v1/completions HTTP/1.1", "host: x", "content-type: application/json", "content-length: 99"]
            client.sendall("\r\n".join([*lines, "", '{"prompt"']).encode())
            assert client.recv(100).startswith(b"HTTP/1.1 408")


def test_a_router_that_hangs_is_given_up(backend: Any, client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "route", lambda *_: backend._wait(5))
    monkeypatch.setattr(backend, "explain", lambda *_: backend._wait(5))
    for path, body in [("/v1/completions", {"prompt": "a"}), ("/v1/route", {"input": "a"})]:
        assert client.post(path, json=body, headers={"x-request-timeout-seconds": "0"}).status_code == 504
    assert backend.given_up == 2


def figures(text: str) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_count_what_happened(backend: Any) -> None:
    client = TestClient(create_app(backend), raise_server_exceptions=False)  # whose requests are these alone
    client.post("/v1/completions", json={"prompt": ["la", "the"], "n": 2})
    client.post("/v1/completions", json={"prompt": "la", "stream": True})
    for prompt in ("busy", "slow", "bug", ""):
        client.post("/v1/completions", json={"prompt": prompt})
    client.get("/v1/models/en"), client.get("/../../nowhere")
    found = figures(client.get("/metrics").text)
    assert found["mome_requests_total", "/v1/completions", "200"] == 2
    assert found["mome_requests_total", "/v1/completions", "429"] == 1
    assert found["mome_requests_total", "other", "404"] == 1
    assert found["mome_requests_total", "/v1/models/{name}", "200"] == 1
    codes = ("overloaded", "timeout", "server_error", "invalid_request_error")
    assert [found["mome_refusals_total", code] for code in codes] == [1, 1, 1, 1]
    assert found["mome_routes_total", "fr", "routed"] == 2
    assert found["mome_prompt_tokens_total", "fr"] == 6
    assert found["mome_generated_tokens_total", "fr"] == 6
    assert found["mome_time_to_first_token_seconds_count", "fr"] == 1
    assert found["mome_time_between_tokens_seconds_count", "fr"] == 1
    assert found["mome_engine_slots", "en"] == 16
    assert (found["mome_engine_waiting", "en"], found["mome_engine_steps_total", "en"]) == (2, 3)
    assert found["mome_requests_running",] == 1


def test_metrics_are_those_of_all_servers_before_the_experts(client: TestClient, backend: Any) -> None:
    other = Metrics()
    other.requests.labels("/v1/completions", "200").inc(5)
    other.requests.labels("/v1/completions", "418").inc()
    other.of("fr").first_token.observe(0.02)
    before = figures(client.get("/metrics").text)  # other tests asked the same application
    backend.elsewhere = [other.families()]
    client.post("/v1/completions", json={"prompt": "la", "stream": True})
    found = figures(client.get("/metrics").text)
    new = {key: value - before.get(key, 0) for key, value in found.items()}
    assert new["mome_requests_total", "/v1/completions", "200"] == 6
    assert new["mome_requests_total", "/v1/completions", "418"] == 1
    assert new["mome_time_to_first_token_seconds_count", "fr"] == 2
    assert new["mome_time_to_first_token_seconds_bucket", "fr", "+Inf"] == 2
    assert found["mome_engine_slots", "en"] == 16


def test_every_request_has_a_line_without_its_prompt_unless_asked(
    backend: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "mome.access")
    for asked in (False, True):
        client = TestClient(create_app(backend, log_prompts=asked))
        client.post("/v1/completions", json={"prompt": "la mer"}, headers={"x-request-id": "r1"})
        client.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": "la mer"}]})
        client.post("/v1/completions", json={"prompt": "busy"})
        lines = [json.loads(record.message) for record in caplog.records]
        caplog.clear()
        assert [line["status"] for line in lines] == [200, 200, 429]
        expected = {"request_id": "r1", "model": "auto", "experts": ["fr"], "version": "7", "prompt_tokens": 3}
        assert expected.items() <= lines[0].items()
        assert lines[2]["code"] == "overloaded"
        assert [("prompts" in line) for line in lines] == [asked] * 3
        assert ("la mer" in str(lines)) == asked


def test_lines_go_to_a_file_where_one_is_named(client: TestClient, tmp_path: Path) -> None:
    log = logging.getLogger("mome.access")
    before = log.handlers, log.propagate, log.level
    try:
        log_requests(tmp_path / "log")
        client.post("/v1/completions", json={"prompt": "la mer"})
        (line,) = (tmp_path / "log").read_text("utf-8").splitlines()
        assert json.loads(line)["status"] == 200
        with pytest.raises(ServingError, match="can't be logged there"):
            log_requests(tmp_path / "none" / "log")
    finally:
        log.handlers, log.propagate = before[:2]
        log.setLevel(before[2])


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """An endpoint of OpenTelemetry, and what arrives at it."""
    arrived: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            arrived.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    yield arrived
    server.shutdown()


def test_traces_go_where_the_environment_says(backend: Any, collector: list[bytes]) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    client = TestClient(create_app(backend))
    trace = "0af7651916cd43dd8448eb211c80319c"
    client.post("/v1/completions", json={"prompt": "la"}, headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01"})
    until = time.monotonic() + 5
    while not collector and time.monotonic() < until:
        time.sleep(0.02)
    (span,) = ExportTraceServiceRequest.FromString(collector[0]).resource_spans[0].scope_spans[0].spans
    assert (span.name, span.trace_id.hex()) == ("POST /v1/completions", trace)
    attributes = {each.key: each.value for each in span.attributes}
    assert attributes["mome.experts"].array_value.values[0].string_value == "fr"
    assert attributes["mome.status"].int_value == 200
