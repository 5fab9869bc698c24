"""Requests and tokens between an ingress and a replica over a line, on one event loop and without Ray."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from typing import Any

import pytest

from serve.api.backend import Grown
from serve.deployments import lines
from serve.deployments.attending import attend
from serve.deployments.lines import Exchange, Where
from serve.deployments.pool import FULL_SECONDS, Pool
from serve.deployments.waiting import Mailbox, Whole
from serve.errors import ContextLengthError, ExpertUnavailableError, OverloadedError
from serve.messages import Completion, Delta, GenerationRequest

MOST = 8
"""Requests that wait for a replica."""


class Replica:
    """Answers with the prompt, a word at a time; "hangs" until it is given up, "long" is refused, "bug" is one."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.given_up = 0

    async def generate(self, requests: Sequence[GenerationRequest], seconds: float) -> list[Completion]:
        found = [delta async for grown in self.stream(requests, seconds) for _, delta in grown]
        return [Completion("".join(delta.text for delta in found), 3, len(found), "stop")]

    async def stream(self, requests: Sequence[GenerationRequest], seconds: float) -> AsyncIterator[Grown]:
        prompt = str(requests[0].prompt)
        self.asked.append(prompt)
        if prompt == "long":
            raise ContextLengthError("too long", fix="shorten it")
        if prompt == "bug":
            raise ValueError(lambda: "what can't be sent")
        try:
            words = prompt.split()
            for place, word in enumerate(words):
                yield [(0, Delta(word, (place,), (), "stop" if place == len(words) - 1 != 0 else None))]
                await asyncio.sleep(5 if word == "hangs" else 0)
        except (asyncio.CancelledError, GeneratorExit):
            self.given_up += 1
            raise


class Serve:
    """Instead of Ray Serve: chooses the only replica."""

    def __init__(self) -> None:
        self.replica, self.calls, self.full = Replica(), list[asyncio.Task[None]](), False
        self.refusing, self.refused = False, 0

    async def attend(self, where: Where) -> None:
        if self.refusing:
            self.refused += 1
            raise OverloadedError("too many wait")
        while self.full:
            await asyncio.sleep(0.01)
        self.calls.append(asyncio.create_task(attend(where, self.replica.generate, self.replica.stream)))
        try:
            await self.calls[-1]
        except asyncio.CancelledError:
            raise ExpertUnavailableError("the replica was lost") from None


def run(check: Callable[[Pool, Serve, Exchange], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        serve, exchange = Serve(), Exchange()
        await exchange.open("127.0.0.1")
        await asyncio.wait_for(check(Pool(exchange, serve.attend, MOST), serve, exchange), 10)

    asyncio.run(main())


def ask(pool: Pool, prompt: str) -> tuple[Awaitable[list[Completion]], Callable[[], None]]:
    whole = Whole()
    ticket = pool.ask([GenerationRequest(prompt)], 1.0, whole)
    return whole.answers, lambda: pool.forget(ticket)


async def grown(pool: Pool, prompt: str) -> list[str]:
    mailbox = Mailbox(1)
    ticket = pool.ask([GenerationRequest(prompt)], 1.0, mailbox)
    try:
        return [delta.text async for part in mailbox for _, delta in part]
    finally:
        pool.forget(ticket)


def test_answers_come_whole_and_as_they_grow_over_one_line() -> None:
    async def check(pool: Pool, serve: Serve, _: Exchange) -> None:
        answers, forget = ask(pool, "a b c")
        assert (await answers)[0].text == "abc"
        forget()
        for _again in range(3):
            assert "".join(await grown(pool, "d e f")) == "def"
        assert len(serve.calls) == 1

    run(check)


def test_a_line_has_one_request_at_a_time_and_the_next_one_is_opened_by_serve() -> None:
    async def check(pool: Pool, serve: Serve, _: Exchange) -> None:
        waiting = [ask(pool, "hangs b") for _ in range(5)]
        while len(serve.replica.asked) < 5:
            await asyncio.sleep(0.01)
        assert len(serve.calls) == 5
        for _answers, forget in waiting:
            forget()
        while serve.replica.given_up < 5:
            await asyncio.sleep(0.01)

    run(check)


def test_serve_is_asked_for_a_few_lines_at_once_until_all_who_wait_have_one(monkeypatch: pytest.MonkeyPatch) -> None:
    async def check(pool: Pool, serve: Serve, _: Exchange) -> None:
        serve.full = True
        waiting = [ask(pool, "hangs b") for _ in range(5)]
        assert len(pool._lines) == 2
        serve.full = False
        while len(serve.replica.asked) < 5:
            await asyncio.sleep(0.01)
        for _answers, forget in waiting:
            forget()

    monkeypatch.setattr("serve.deployments.pool.OPENING", 2)
    run(check)


def test_who_has_waited_longest_for_a_replica_takes_the_first_place_that_is_free() -> None:
    async def check(pool: Pool, serve: Serve, _: Exchange) -> None:
        at_work = [ask(pool, f"hangs {number}") for number in range(2)]
        while len(serve.replica.asked) < 2:
            await asyncio.sleep(0.01)
        serve.full = True
        waiting = [ask(pool, f"a {number}") for number in range(3)]
        await asyncio.sleep(0.05)
        assert len(serve.replica.asked) == 2
        at_work[0][1]()
        for answers, forget in waiting:
            assert await asyncio.wait_for(answers, 1)
            forget()
        assert serve.replica.asked[2:] == ["a 0", "a 1", "a 2"]
        assert len(serve.calls) == 2
        await asyncio.sleep(0.01)
        assert len(pool._lines) == 2  # Serve need not look for the others
        at_work[1][1]()

    run(check)


@pytest.mark.parametrize("pause", [0.0, 0.05])
def test_a_line_that_nobody_waits_for_is_given_up_before_it_begins(pause: float) -> None:
    async def check(pool: Pool, serve: Serve, _: Exchange) -> None:
        serve.full = True
        _answers, forget = ask(pool, "a b")
        if pause:
            await asyncio.sleep(pause)
        forget()
        serve.full = False
        assert "".join(await grown(pool, "c d")) == "cd"
        assert serve.replica.asked == ["c d"]
        assert len(pool._lines) == 1

    run(check)


def test_once_serve_has_refused_a_line_it_is_left_alone_for_a_moment() -> None:
    async def check(pool: Pool, serve: Serve, _: Exchange) -> None:
        serve.refusing = True
        for _again in range(50):
            with pytest.raises(OverloadedError):
                await grown(pool, "a b")
        assert serve.refused < 5
        serve.refusing = False
        await asyncio.sleep(FULL_SECONDS)
        assert "".join(await grown(pool, "a b")) == "ab"

    run(check)


def test_where_too_many_wait_the_next_are_refused_and_it_is_full_until_a_quarter_is_gone() -> None:
    async def check(pool: Pool, serve: Serve, _: Exchange) -> None:
        serve.full = True
        waiting = [ask(pool, "a b") for _ in range(MOST)]
        with pytest.raises(OverloadedError):
            ask(pool, "one more")
        assert pool.full
        waiting.pop()[1]()
        assert pool.full  # for whoever is not read yet; the place is for whoever was
        waiting.append(ask(pool, "c d"))
        for _answers, forget in waiting[: MOST // 4]:
            forget()
        assert not pool.full
        serve.full = False
        for answers, forget in waiting[MOST // 4 :]:
            assert await answers
            forget()

    run(check)


def test_what_is_refused_is_told_as_it_was_raised_and_the_line_goes_on() -> None:
    async def check(pool: Pool, serve: Serve, _: Exchange) -> None:
        with pytest.raises(ContextLengthError, match="too long"):
            await grown(pool, "long")
        with pytest.raises(RuntimeError, match="ValueError"):
            await grown(pool, "bug")
        assert "".join(await grown(pool, "a b")) == "ab"
        assert len(serve.calls) == 1

    run(check)


def test_whoever_waits_is_told_of_a_lost_replica_and_the_next_one_gets_another() -> None:
    async def check(pool: Pool, serve: Serve, _: Exchange) -> None:
        answers, forget = ask(pool, "hangs b")
        while not serve.replica.asked:
            await asyncio.sleep(0.01)
        serve.calls[0].cancel()
        with pytest.raises(ExpertUnavailableError):
            await answers
        forget()
        assert "".join(await grown(pool, "a b")) == "ab"
        assert serve.replica.given_up == 1

    run(check)


def test_a_line_ends_when_it_is_idle_and_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def check(pool: Pool, serve: Serve, _: Exchange) -> None:
        assert "".join(await grown(pool, "a b")) == "ab"
        await asyncio.sleep(0.2)
        assert serve.calls[0].done()
        for _again in range(4):
            await grown(pool, "a b")
            await asyncio.sleep(0.05)
        assert len(serve.calls) == 3

    monkeypatch.setattr(lines, "IDLE_SECONDS", 0.1)
    monkeypatch.setattr(lines, "LINE_SECONDS", 0.12)
    run(check)


def test_nobody_without_the_secret_is_listened_to() -> None:
    async def check(pool: Pool, serve: Serve, exchange: Exchange) -> None:
        where, line = exchange.line(lambda _: None)
        for secret in (bytes(32), b""):
            reader, writer = await asyncio.open_connection(where.host, where.port)
            writer.write(secret + where.number.to_bytes(8, "big") + b"\0\0\0\1x")
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()
        assert line.transport is None

    run(check)


def test_an_ingress_that_can_not_be_reached_is_said() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        where = Where("127.0.0.1", taken.getsockname()[1], bytes(32), 1)
        with pytest.raises(ExpertUnavailableError, match="can't reach the ingress"):
            asyncio.run(attend(where, Replica().generate, Replica().stream))
