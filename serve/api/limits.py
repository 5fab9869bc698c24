"""What a request may cost before anybody looks at what it asks."""

from __future__ import annotations

import asyncio

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES = 8 * 2**20
MAX_BODY_S = 30.0
MAX_PROMPTS = 32
MAX_CHOICES = 64
MAX_PROMPT_CHARACTERS = 200_000
"""Of a prompt; of all messages of a conversation together."""
MAX_PROMPT_TOKENS = 65_536
MAX_MESSAGES = 1024
MAX_TOKENS = 100_000
MAX_N = 16
MAX_STOPS, MAX_STOP_CHARACTERS = 4, 256
MAX_STOP_TOKENS = 64
MAX_LOGPROBS = 20
KEEP_ALIVE_S = 90
"""An idle connection is kept so long, as Ray Serve's proxy keeps it: longer than clients take one up again.

uvicorn's own are 5 seconds, and so are httpx's and the OpenAI client's: such a client may send a request just when the
server closes, which resets the connection.
"""
MAX_BIASES = 300
MAX_SCHEMA_CHARACTERS, MAX_SCHEMA_DEPTH = 65_536, 32
MAX_REGEX_CHARACTERS = 4096


class BodyLimit:
    """ASGI middleware: refuses bodies that are too large as they arrive, whatever their headers say, or too slow."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self.app = app
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count the bytes that the application receives."""
        seen, whole = 0, False
        until = asyncio.get_running_loop().time() + MAX_BODY_S

        async def counted() -> Message:
            nonlocal seen, whole
            if whole:  # what comes now is the end of the connection
                return await receive()
            try:
                async with asyncio.timeout_at(until):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, f"the request did not arrive within {MAX_BODY_S:g} s") from None
            whole = not message.get("more_body")
            seen += len(message.get("body", b""))
            if seen > self.limit:
                raise HTTPException(413, f"the request is larger than {self.limit} bytes")
            return message

        await self.app(scope, counted, send)
