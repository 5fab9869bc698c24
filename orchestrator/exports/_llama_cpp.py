"""A GGUF file in llama.cpp, by the package xllamacpp: its server in a process of its own, on loopback alone.

xllamacpp 2026.10 sometimes waits for ever for a thread of its server when the server is let go. So the process that
holds it is killed instead.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Sequence, Set
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any

from orchestrator.errors import ModelError

_SECONDS = 60
_TOLD = "mome: "


class LlamaCpp:
    """See :class:`orchestrator.exports._check.Opened`."""

    def __init__(self, file: Path, ends: Set[int], threads: int = 0, together: int = 1, context: int = 0) -> None:
        """Start the server.

        Args:
            file: in GGUF.
            ends: ids of the tokens that end an answer.
            threads: that it computes with; 0: as llama.cpp chooses.
            together: answers that it computes at once.
            context: tokens of each of them and its prompt; 0: together those that the model knows.

        Raises:
            ModelError: llama.cpp does not open the file.
        """
        self.version, self._ends = f"(xllamacpp {version('xllamacpp')})", ends
        command = [sys.executable, "-m", __name__, str(file), *map(str, (threads, together, context))]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
        assert self._process.stdout is not None
        told = next((line for line in self._process.stdout if line.startswith(_TOLD)), "")
        found = json.loads(told.removeprefix(_TOLD) or '{"error": "its process has ended"}')
        if "error" in found:
            self.close()
            raise ModelError(f"llama.cpp does not open the file: {found['error']}", str(file), "take --to hf")
        self._address = str(found["address"])

    def __enter__(self) -> LlamaCpp:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the server."""
        self._process.kill()
        self._process.communicate()

    def encode(self, text: str) -> list[int]:
        """By the server's `/tokenize`, which says whether special tokens in the text are text."""
        found: list[int] = self._ask("/tokenize", {"content": text, "add_special": True, "parse_special": False})
        return found

    def greedy(self, ids: Sequence[int], count: int) -> list[int]:
        """From ids: of a text prompt, llama.cpp reads the text of special tokens as these.

        OpenAI's form of an answer leaves out tokens that are half a character, so llama.cpp's own is asked for.
        """
        made = self.continued(ids, count, ignore_eos=False)
        return made[: next((place for place, token in enumerate(made) if token in self._ends), len(made))]

    def continued(self, ids: Sequence[int], count: int, ignore_eos: bool = True) -> list[int]:
        """The same, of `count` tokens whatever they are."""
        wish = {"prompt": list(ids), "n_predict": count, "temperature": 0, "return_tokens": True, "cache_prompt": False}
        made: list[int] = self._ask("/completion", wish | {"ignore_eos": ignore_eos})
        return made

    def _ask(self, path: str, body: dict[str, Any]) -> Any:
        """The `tokens` of an answer."""
        where, kind = f"{self._address}{path}", {"Content-Type": "application/json"}
        request = urllib.request.Request(where, json.dumps(body).encode(), kind)
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
            return json.load(answer)["tokens"]


def _serve(file: str, threads: int, together: int, context: int) -> None:
    """Serve a file until the standard input ends, and say where on the standard output."""
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = file
    parameters.n_parallel, parameters.verbosity = together, -1
    parameters.n_ctx = together * context
    if threads:
        parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads
    if hasattr(parameters, "hostnames"):
        parameters.hostnames = ["127.0.0.1"]
    else:  # versions before
        parameters.hostname = "127.0.0.1"
    try:
        server = xllamacpp.Server(parameters)
        print(_TOLD + json.dumps({"address": server.listening_address}), flush=True)
        sys.stdin.read()
    except RuntimeError as error:
        print(_TOLD + json.dumps({"error": str(error)}), flush=True)
    os._exit(0)  # without letting the server go


if __name__ == "__main__":
    _serve(sys.argv[1], *map(int, sys.argv[2:]))
