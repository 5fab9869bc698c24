"""The engine of the build of 2026-11-22 in a process of its own, which alone imports that build."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from orchestrator.errors import ResourceError

WORKER = """
import json, sys
from types import SimpleNamespace
import torch, transformers
from serve.engine import Engine
from serve.messages import GenerationRequest, Sampling

transformers.logging.set_verbosity_error()
folder, vocabulary, tokens, threads = sys.argv[1], *map(int, sys.argv[2:])
torch.set_num_threads(threads)
model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
engine = Engine(model, SimpleNamespace(bytes=[b"a"] * vocabulary, encode_prompt=list, end=-1))
print("ready", flush=True)
for line in sys.stdin:
    asked = [GenerationRequest(ids, Sampling(max_tokens=tokens, temperature=0.0)) for ids in json.loads(line)]
    print(json.dumps([each.completion_tokens for each in engine.generate(asked)]), flush=True)
"""


class OlderEngine:
    """It answers prompts of ids with as many tokens as asked for; it does not tell which.

    Args:
        build: folder of its clone.
        model: folder of a model of transformers.
        vocabulary, tokens, threads: of the model; of each answer; that compute.

    Raises:
        ResourceError: it does not start.
    """

    def __init__(self, build: Path, model: Path, vocabulary: int, tokens: int, threads: int) -> None:
        if not (build / "serve/engine.py").is_file():
            raise ResourceError("the other build has no such engine", str(build), "clone MoME as of 2026-11-22 there")
        command = [sys.executable, "-c", WORKER, str(model), *map(str, (vocabulary, tokens, threads))]
        environment = {**os.environ, "PYTHONPATH": str(build), "OMP_NUM_THREADS": str(threads)}
        self._process = subprocess.Popen(
            command, cwd=build, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        if self._read() != "ready":
            self.close()
            raise ResourceError("the other build's engine does not start", str(build), "what it says is above")

    def __call__(self, prompts: Any) -> list[list[int]]:
        """Answers to a batch, of zeros."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{json.dumps([list(prompt) for prompt in prompts])}\n")
        self._process.stdin.flush()
        return [[0] * tokens for tokens in json.loads(self._read())]

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def close(self) -> None:
        """End it."""
        self._process.communicate()
