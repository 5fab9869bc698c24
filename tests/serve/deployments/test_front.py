"""HTTP answered by an ingress itself."""

from __future__ import annotations

import asyncio
import socket

import httpx
import pytest
from starlette.responses import PlainTextResponse

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
            fronts[0].end()
            while fronts[0].healthy:
                await asyncio.sleep(0.01)
            assert await asked() == {"b"}
        fronts[1].end()
        while fronts[1].healthy:
            await asyncio.sleep(0.01)

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
