"""HTTP answered by an ingress itself."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from unittest.mock import MagicMock

import httpx
import openai
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from orchestrator.errors import ServingError
from serve.alone import serve_alone
from serve.deployments.front import Front
from serve.engine import EngineOptions


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_two_ingresses_answer_at_one_port_and_one_goes_on_alone() -> None:
    async def check() -> None:
        listen = f"127.0.0.1:{free_port()}"
        fronts = [Front(PlainTextResponse(name), listen) for name in "ab"]
        async with httpx.AsyncClient(base_url=f"http://{listen}") as client:

            async def asked() -> set[str]:
                close = {"connection": "close"}
                return {(await client.get("/", headers=close)).text for _ in range(40)}

            assert await asked() == {"a", "b"}
            await fronts[0].end()
            assert await asked() == {"b"}
        await fronts[1].end()
        assert all(front.healthy for front in fronts)  # nobody need start another one

    asyncio.run(asyncio.wait_for(check(), 20))


def test_one_that_ends_finishes_its_answers_and_takes_no_more() -> None:
    async def check() -> None:
        begun, let = asyncio.Event(), asyncio.Event()

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            begun.set()
            await let.wait()
            await PlainTextResponse("whole")(scope, receive, send)

        listen = f"127.0.0.1:{free_port()}"
        front = Front(answer, listen)
        async with httpx.AsyncClient(base_url=f"http://{listen}") as client:
            asked = asyncio.create_task(client.get("/"))
            await begun.wait()
            ending = asyncio.create_task(front.end())

            async def knock() -> None:
                while True:  # until it has heard of its end
                    _, late = await asyncio.open_connection(*listen.split(":"))
                    late.close()
                    await asyncio.sleep(0.02)

            with pytest.raises(ConnectionRefusedError):
                await knock()
            let.set()
            assert (await asked).text == "whole"
            await ending

    asyncio.run(asyncio.wait_for(check(), 20))


def test_whoever_has_connected_before_it_ends_is_answered() -> None:
    async def check() -> None:
        host, port = "127.0.0.1", free_port()
        front = Front(PlainTextResponse("whole"), f"{host}:{port}")
        await asyncio.sleep(0)
        while not front._server.started:
            await asyncio.sleep(0.01)
        # The kernel connects them; the server has not run meanwhile, and so has accepted none.
        connected = [socket.create_connection((host, port)) for _ in range(5)]
        ending = asyncio.create_task(front._server.shutdown([front._listener]))
        for each in connected:
            each.setblocking(False)
            reader, writer = await asyncio.open_connection(sock=each)
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert (await reader.read()).endswith(b"whole")
        await ending
        front._serving.cancel()

    asyncio.run(asyncio.wait_for(check(), 20))


def test_a_port_that_another_program_has_is_refused() -> None:
    async def check(listen: str) -> None:
        Front(PlainTextResponse("a"), listen)

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for listen in (f"127.0.0.1:{taken.getsockname()[1]}", "127.0.0.1:http", "nowhere.invalid:80"):
            with pytest.raises(ServingError, match="can't listen at"):
                asyncio.run(check(listen))


def test_an_idle_connection_is_kept_longer_than_clients_take_one_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """httpx 0.28.1 and openai 3.57 let go of one after five seconds, when uvicorn 0.54 by itself would close it."""
    kept = []
    monkeypatch.setattr("uvicorn.Server.run", lambda server, **_: kept.append(server.config.timeout_keep_alive))
    monkeypatch.setattr("serve.alone.Mixture.open", lambda *_, **__: MagicMock(options=EngineOptions()))
    monkeypatch.setattr("serve.alone.LocalBackend", lambda _: None)
    monkeypatch.setattr("serve.alone.application", lambda *_: PlainTextResponse("a"))
    serve_alone(Path("run"), port=0)

    async def front() -> None:
        server = Front(PlainTextResponse("a"), f"127.0.0.1:{free_port()}")
        kept.append(server._server.config.timeout_keep_alive)
        await server.end()

    asyncio.run(front())
    theirs = [limits.keepalive_expiry for limits in (httpx.Limits(), openai.DEFAULT_CONNECTION_LIMITS)]
    assert min(kept) > 2 * max(each for each in theirs if each is not None)
