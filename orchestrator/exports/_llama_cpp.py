"""A GGUF file in llama.cpp, by the package xllamacpp: its server in this process, on loopback alone."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from orchestrator.errors import ModelError

_SECONDS = 60


class LlamaCpp:
    """See :class:`orchestrator.exports._check.Opened`."""

    def __init__(self, file: Path, end: int) -> None:
        """Start the server.

        Raises:
            ModelError: llama.cpp does not open the file.
        """
        import xllamacpp

        self.version = f"(xllamacpp {version('xllamacpp')})"
        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(file)
        parameters.n_parallel, parameters.verbosity = 1, -1
        if hasattr(parameters, "hostnames"):
            parameters.hostnames = ["127.0.0.1"]
        else:  # versions before
            parameters.hostname = "127.0.0.1"
        try:
            self._server: Any = xllamacpp.Server(parameters)
        except RuntimeError as error:
            raise ModelError(f"llama.cpp does not open the file: {error}", str(file), "take --to hf") from None
        self._end = end

    def encode(self, text: str) -> list[int]:
        """By the server's `/tokenize`, which says whether special tokens in the text are text."""
        found: list[int] = self._ask("/tokenize", {"content": text, "add_special": True, "parse_special": False})
        return found

    def greedy(self, ids: Sequence[int], count: int) -> list[int]:
        """From ids: of a text prompt, llama.cpp reads the text of special tokens as these.

        OpenAI's form of an answer leaves out tokens that are half a character, so llama.cpp's own is asked for.
        """
        wish = {"prompt": list(ids), "n_predict": count, "temperature": 0, "return_tokens": True, "cache_prompt": False}
        made: list[int] = self._ask("/completion", wish)
        return made[: made.index(self._end)] if self._end in made else made

    def _ask(self, path: str, body: dict[str, Any]) -> Any:
        """The `tokens` of an answer."""
        where, kind = f"{self._server.listening_address}{path}", {"Content-Type": "application/json"}
        request = urllib.request.Request(where, json.dumps(body).encode(), kind)
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
            return json.load(answer)["tokens"]
