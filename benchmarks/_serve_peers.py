"""What `mome bench serve` compares with, where it is installed: the same weights, threads and prompts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._rows import notice
from benchmarks._serve import FIRST, Prompts, Shape
from orchestrator.exports._gguf_models import FAMILIES
from orchestrator.exports._llama_cpp import LlamaCpp as Server
from orchestrator.exports.gguf import stored
from orchestrator.models.zoo._base import quiet

_NAMES = ("<unk>", "<s>", "</s>")
_END = 2
_TOGETHER, _CONTEXT = 8, 256
"""Answers at once: the largest batch; tokens of each, at least what a shape has, in llama.cpp's steps of 256."""
Answers = Callable[[Prompts], list[list[int]]]


@contextmanager
def peers(model: Any, shape: Shape, folder: Path, threads: int) -> Iterator[dict[str, Answers]]:
    """Every peer that is installed, by its name; what is not is said on standard error.

    Args:
        model: GPT-2 of transformers.
        shape: of the model.
        folder: for their files; what is there already is taken.
        threads: of each.
    """
    found: dict[str, Answers] = {}
    servers = list[Server]()
    batching = Continuous(model, shape)
    found["transformers generate_batch"] = batching
    if _installed("ctranslate2"):
        converted = convert(model, shape, folder / "ctranslate2")
        for compute in ("float32", "int8"):
            found[f"CTranslate2 {compute}"] = CTranslate2(converted, shape, compute, threads)
    if _installed("xllamacpp", "gguf"):
        for kind in ("f32", "q8_0"):
            servers.append(Server(write_gguf(model, shape, folder, kind), {_END}, threads, _TOGETHER, _CONTEXT))
            found[f"llama.cpp {kind}"] = partial(_llama_cpp, servers[-1], shape.answer)
    try:
        yield found
    finally:
        batching.close()
        for server in servers:
            server.close()


def _installed(*packages: str) -> bool:
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        notice(f"{missing[0]} is not installed: pip install -c constraints.txt '.[serve-bench]'")
    return not missing


class Continuous:
    """`generate_batch` of transformers: continuous batching, with a cache of the size that the prompts need."""

    def __init__(self, model: Any, shape: Shape) -> None:
        from transformers import ContinuousBatchingConfig, GenerationConfig

        logging.getLogger("ContinuousBatchingLogger").setLevel(logging.ERROR)
        sizes = ContinuousBatchingConfig(
            page_size=128, num_blocks=2 * _TOGETHER, max_batch_tokens=512, max_requests_per_batch=_TOGETHER
        )
        how = GenerationConfig(max_new_tokens=shape.answer, do_sample=False, eos_token_id=-1, pad_token_id=_END)
        self._model = model
        self._generate = partial(
            model.generate_batch,
            generation_config=how,
            continuous_batching_config=sizes,
            progress_bar=False,
            persistent_manager=True,
        )

    def __call__(self, prompts: Prompts) -> list[list[int]]:
        """Answers to a batch."""
        with quiet():
            found = self._generate(inputs=prompts)
        return [list(each.generated_tokens) for each in found.values()]

    def close(self) -> None:
        """End its thread."""
        with quiet():
            self._model.destroy_cached_continuous_batching_manager()


class CTranslate2:
    """The same weights, converted."""

    def __init__(self, folder: Path, shape: Shape, compute: str, threads: int) -> None:
        import ctranslate2

        self._generator = ctranslate2.Generator(
            str(folder), device="cpu", compute_type=compute, inter_threads=1, intra_threads=threads
        )
        self._answer = shape.answer

    def __call__(self, prompts: Prompts) -> list[list[int]]:
        """Answers to a batch."""
        results = self._generator.generate_batch(
            [[_token(i) for i in prompt] for prompt in prompts],
            max_length=self._answer,
            min_length=self._answer,
            sampling_topk=1,
            include_prompt_in_result=False,
        )
        return [result.sequences_ids[0] for result in results]


def convert(model: Any, shape: Shape, folder: Path) -> Path:
    """The model as CTranslate2 reads it."""
    from ctranslate2.converters import TransformersConverter
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    if folder.exists():
        return folder
    plain = Tokenizer(WordLevel({_token(i): i for i in range(shape.vocab)}, unk_token=_NAMES[0]))
    named = dict(zip(("unk_token", "bos_token", "eos_token"), _NAMES, strict=True))
    source = folder.with_name(f"{folder.name}-source")
    with quiet():
        model.save_pretrained(source)
        PreTrainedTokenizerFast(tokenizer_object=plain, **named).save_pretrained(source)
        TransformersConverter(str(source)).convert(str(folder))
    return folder


def _llama_cpp(server: Server, tokens: int, prompts: Prompts) -> list[list[int]]:
    """Answers to a batch, asked for at once."""
    with ThreadPoolExecutor(len(prompts)) as clients:
        return list(clients.map(lambda prompt: server.continued(prompt, tokens), prompts))


def write_gguf(model: Any, shape: Shape, folder: Path, kind: str) -> Path:
    """The model as llama.cpp reads it, its matrices in "f32" or "q8_0"."""
    import gguf

    file, family = folder / f"{kind}.gguf", FAMILIES["gpt2"]
    if file.exists():
        return file
    writer = gguf.GGUFWriter(file, family.name)
    family.describe(writer, model.config)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([_token(i) for i in range(shape.vocab)])
    kinds = gguf.TokenType
    writer.add_token_types([kinds.CONTROL if i < FIRST else kinds.NORMAL for i in range(shape.vocab)])
    writer.add_token_merges([f"{_token(FIRST)} {_token(FIRST + 1)}"])
    writer.add_eos_token_id(_END)
    for name, array in family.tensors(model):
        data, stored_as = stored(np.ascontiguousarray(array), kind)
        writer.add_tensor(name, data, raw_dtype=stored_as)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _token(index: int) -> str:
    return _NAMES[index] if index < FIRST else f"t{index}"
