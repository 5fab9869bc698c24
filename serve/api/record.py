"""What is known of a request on its way: for metrics, for its line in the log, and for its usage."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from serve.messages import Route

if TYPE_CHECKING:
    from starlette.requests import Request

    from serve.api.metrics import Metrics

KEY = "mome.record"
"""Where the ASGI scope has it."""


class Record:
    """One request.

    Args:
        metrics: where it is counted.
        id: of the request, as the client gave it, or made here.

    Attributes:
        fields: what its line in the log says beside time, status and seconds.
        prompts: texts; kept only where they are to be logged.
        code: of the error, where there was one.
    """

    def __init__(self, metrics: Metrics, id: str) -> None:  # noqa: A002 - its name everywhere
        self.id, self.fields = id, dict[str, Any]()
        self.prompts: Sequence[str] = ()
        self.code: str | None = None
        self.begun = time.perf_counter()
        self._metrics = metrics
        self._read, self._written = dict[int, int](), 0
        self._last: dict[str, float] = {}

    @classmethod
    def of(cls, request: Request) -> Record:
        """That of a request."""
        found: Record = request.scope[KEY]
        return found

    @property
    def usage(self) -> dict[str, int]:
        """Tokens read, each prompt once, and written."""
        read = sum(self._read.values())
        return {
            "prompt_tokens": read,
            "completion_tokens": self._written,
            "total_tokens": read + self._written,
        }

    def asked(self, model: str, prompts: Sequence[str]) -> None:
        """Which model was asked, and what."""
        self.fields["model"], self.prompts = model, prompts

    def routed(self, routes: Sequence[Route], version: str) -> None:
        """Prompts have experts."""
        self.fields["experts"] = list(dict.fromkeys(route.expert for route in routes))
        self.fields["version"] = version
        for route in routes:
            self._metrics.routes.labels(route.expert, route.reason).inc()

    def read(self, expert: str, prompt: int, tokens: int) -> None:
        """A prompt was read; its other choices don't read it again."""
        if prompt not in self._read:
            self._read[prompt] = tokens
            self._metrics.of(expert).prompt_tokens.inc(tokens)

    def wrote(self, expert: str, tokens: int) -> None:
        """An answer has more tokens."""
        self._written += tokens
        self._metrics.of(expert).generated_tokens.inc(tokens)

    def grew(self, expert: str, tokens: int) -> None:
        """A stream has more tokens, now."""
        if not tokens:
            return
        now, last, meters = time.perf_counter(), self._last.get(expert), self._metrics.of(expert)
        if last is None:
            meters.first_token.observe(now - self.begun)
            self.fields.setdefault("first_token_s", round(now - self.begun, 6))
        else:
            meters.between_tokens.observe((now - last) / tokens)
        self._last[expert] = now
        self._written += tokens
        meters.generated_tokens.inc(tokens)
