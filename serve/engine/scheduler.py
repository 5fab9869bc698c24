"""The engine's thread: rows join and leave between two steps; a step is a token of every row, and pieces of prompts."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from serve.engine.forward.decoder import Forward
from serve.engine.forward.step import Piece, Step
from serve.engine.options import BLOCK, EngineOptions
from serve.engine.prefixes import PrefixCache
from serve.engine.row import Row
from serve.engine.sampling import choose
from serve.errors import ExpertUnavailableError, NotANumberError, OverloadedError
from serve.messages import Statistics

log = logging.getLogger("mome.engine")


@dataclass
class _Counts:
    steps: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    finished: int = 0
    cancelled: int = 0
    expired: int = 0


class Scheduler:
    """Rows at work and rows that wait.

    Row i of those at work is in slot i. After a step all but the last have read their prompts, so what decodes together
    lies together; whoever leaves is replaced by the last that decodes.

    Args:
        forward: the model.
        options: sizes.
        vocabulary: ids that the tokenizer knows; a padded vocabulary's other ids are never chosen.
    """

    def __init__(self, forward: Forward, options: EngineOptions, vocabulary: int) -> None:
        self._forward, self._options, self._vocabulary = forward, options, vocabulary
        self._cache = forward.cache(options.slots)
        self._prefixes = PrefixCache(options.prefixes)
        self._rows: list[Row] = []
        self._queue: deque[Row] = deque()
        self._changed = threading.Condition()
        self._closed = self._draining = False
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        self._counts = _Counts()

    @property
    def healthy(self) -> bool:
        """Whether rows that are submitted will be computed: the thread has neither failed nor gone."""
        started = self._thread is not None
        return self._failure is None and not self._closed and (not started or self._thread.is_alive())  # type: ignore[union-attr]

    def submit(self, rows: Sequence[Row]) -> None:
        """Have rows computed; all of them or none.

        Raises:
            OverloadedError: too many wait. ExpertUnavailableError: the engine is closed, or has failed.
        """
        with self._changed:
            if self._draining or not self.healthy:
                what = "the engine is being shut down" if self._failure is None else "the engine has failed"
                raise ExpertUnavailableError(what, fix="try again in a moment")
            free = self._options.slots - len(self._rows)
            if self._options.queue is not None and len(self._queue) + len(rows) > free + self._options.queue:
                raise OverloadedError("too many requests are waiting", fix="try again in a moment")
            self._queue.extend(rows)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def statistics(self) -> Statistics:
        """What it does and has done."""
        return Statistics(self._options.slots, len(self._rows), len(self._queue), **vars(self._counts))

    def drain(self, seconds: float) -> bool:
        """Take no more, and wait for what is there; False: some of it is still there after that time."""
        until = time.monotonic() + seconds
        with self._changed:
            self._draining = True
            while (self._rows or self._queue) and self.healthy and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)
            return not (self._rows or self._queue)

    def close(self) -> None:
        """End the thread after its step; whatever is not finished ends with an error."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        self._give_up_all()

    def _run(self) -> None:
        try:
            with torch.inference_mode():
                while self._wait():
                    self._drop()
                    if pieces := self._plan():
                        self._compute(pieces)
        except BaseException as error:
            log.exception("the engine has failed")
            self._failure = error
        finally:
            self._give_up_all()

    def _wait(self) -> bool:
        """Until there is something to do; False: close."""
        with self._changed:
            while not (self._rows or self._queue or self._closed):
                self._changed.notify_all()
                self._changed.wait()
            return not self._closed

    def _drop(self) -> None:
        """Let go of rows that nobody waits for any more."""
        with self._changed:
            rows = [*self._rows, *self._queue]
        for row in rows:
            if row.stream.cancelled:
                self._counts.cancelled += 1
                self._leave(row, ExpertUnavailableError("the request was cancelled"))
            elif (reason := row.why_not()) is not None:
                self._counts.expired += 1
                self._leave(row, reason)

    def _plan(self) -> list[Piece]:
        """The next piece of every row at work, then of rows that may join."""
        budget, pieces = self._options.chunk, list[Piece]()
        for slot, row in enumerate(self._rows):
            pieces.append(row.piece(slot, budget))
            budget -= len(pieces[-1].ids) if row.remaining > 1 else 0
        fresh = list[Row]()
        while budget >= BLOCK and len(self._rows) < self._options.slots and self._queue:
            row = self._queue[0]
            if any(self._begins_alike(row, other) for other in fresh):
                break  # the other one's beginning is there after this step
            with self._changed:
                self._queue.popleft()
                self._rows.append(row)
            pieces.append(self._join(row, budget))
            budget -= len(pieces[-1].ids)
            fresh.append(row)
        return pieces

    def _join(self, row: Row, budget: int) -> Piece:
        slot = len(self._rows) - 1
        self._cache.reserve(row.prompt + row.limit)
        if not row.reads_every:
            row.done = self._prefixes.fill(row.ids, self._cache, slot)
            self._counts.cached_tokens += row.done
        return row.piece(slot, budget)

    def _begins_alike(self, row: Row, other: Row) -> bool:
        end = self._prefixes.known(row.ids) + BLOCK
        shared = len(row.ids) > end and row.ids[:end] == other.ids[:end]
        return self._options.prefixes >= end and shared and not row.reads_every

    def _compute(self, pieces: Sequence[Piece]) -> None:
        decoding = next((place for place, row in enumerate(self._rows) if row.reading), len(pieces))
        step = Step(pieces[:decoding], pieces[decoding:], self._forward.device)
        logits_RV = self._forward.logits(self._forward.hidden(step, self._cache))[:, : self._vocabulary].float()
        before, chosen_from, ready = 0, list[int](), list[Row]()
        for row, piece in zip(self._rows, pieces, strict=True):
            self._read(row, piece)
            if piece.every:
                row.read(logits_RV[before : before + piece.wanted])
            before += piece.wanted
            if piece.last:
                chosen_from.append(before - 1)
                ready.append(row)
        self._counts.steps += 1
        if ready:
            self._choose(logits_RV if len(ready) == len(logits_RV) else logits_RV[chosen_from], ready)

    def _read(self, row: Row, piece: Piece) -> None:
        row.done += len(piece.ids)
        if piece.start < row.prompt:
            self._counts.prompt_tokens += min(row.done, row.prompt) - piece.start
            if row.done >= row.prompt:
                self._prefixes.keep(row.ids[: row.prompt], self._cache, piece.slot)

    def _choose(self, logits_RV: torch.Tensor, rows: Sequence[Row]) -> None:
        for logits_V, row, token in zip(logits_RV, rows, choose(logits_RV, rows), strict=True):
            if token >= 0 or bool(logits_V.amax().isfinite()):  # what a constraint leaves nothing of tells so itself
                row.push(max(token, 0), logits_V)
            else:
                self._give_up(row)
        self._counts.generated_tokens += len(rows)
        for row in rows:
            if row.ended is not None:
                self._leave(row)
                self._counts.finished += 1
                row.finish()

    def _give_up(self, row: Row) -> None:
        """What a row has computed is no number: that is to be no answer, nor to reach whoever has the slot next."""
        self._cache.clear(self._rows.index(row))
        self._leave(row, NotANumberError("the expert computed what is not a finite number", fix="ask another expert"))

    def _leave(self, row: Row, reason: Exception | None = None) -> None:
        """Free a row's slot, or its place in the queue; the last row that decodes takes the slot."""
        if reason is not None:
            row.stream.end(reason)
        with self._changed:
            if row in self._queue:
                self._queue.remove(row)
                return
            rows, slot, last = self._rows, self._rows.index(row), len(self._rows) - 1
            reading = rows[last].reading and slot != last
            moved = last - reading
            if moved != slot:
                self._cache.move(moved, slot, rows[moved].done)
                rows[slot] = rows[moved]
            if reading:
                self._cache.move(last, moved, rows[last].done)
                rows[moved] = rows[last]
            rows.pop()

    def _give_up_all(self) -> None:
        with self._changed:
            left, self._rows, self._queue = [*self._rows, *self._queue], [], deque()
            self._changed.notify_all()
        for row in left:
            row.stream.end(ExpertUnavailableError("the engine stopped before the answer was whole", fix="ask again"))
