"""HTTP answered by an ingress itself."""

from __future__ import annotations

import asyncio
import socket

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from orchestrator.errors import ServingError
from serve.deployments.front import Front


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


def test_a_port_that_another_program_has_is_refused() -> None:
    async def check(listen: str) -> None:
        Front(PlainTextResponse("a"), listen)

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for listen in (f"127.0.0.1:{taken.getsockname()[1]}", "127.0.0.1:http", "nowhere.invalid:80"):
            with pytest.raises(ServingError, match="can't listen at"):
                asyncio.run(check(listen))
