"""An ONNX graph with keys and values as inputs and outputs, for ONNX Runtime and what is built on it."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from orchestrator.artifacts import write_json
from orchestrator.errors import ModelError
from orchestrator.exports._base import ExpertExport
from orchestrator.exports._check import Opened
from orchestrator.exports._flat import Flat
from orchestrator.exports._source import Expert
from orchestrator.exports._tokens import ReadTokens, copy_tokenizer_files, write_generation
from orchestrator.exports.hf import read_by_4
from orchestrator.models.zoo._base import quiet

FILE = "model.onnx"
OPSET = 20
"""ONNX Runtime refuses what torch writes of 17."""
_LARGEST = 1_500_000_000
"""Bytes of weights in the file itself; a file of protobuf holds 2 GB."""


@dataclass(frozen=True)
class ONNX(ExpertExport):
    """`model.onnx` with opset 20, and the tokenizer beside it; MoE-CE too, expert and common expert in one graph.

    Inputs: `input_ids`, `attention_mask`, `position_ids`, and `past_key_values.N.key` and `.value` for each layer, with
    no tokens at first. Outputs: `logits`, and `present.N.key` and `.value`. Batches are of any size; rows are padded on
    the left.
    """

    tool: ClassVar[str] = "ONNX Runtime"
    packages: ClassVar[tuple[str, ...]] = ("onnx", "onnxscript")
    checked_by: ClassVar[tuple[str, ...]] = ("onnxruntime",)

    def write_expert(self, expert: Expert, out: Path) -> None:
        """See :class:`ExpertExport`."""
        write_graph(expert, out / FILE)
        config = json.loads((expert.folder / "config.json").read_text(encoding="utf-8"))
        write_json(out / "config.json", read_by_4(config) | {"vocab_size": expert.vocabulary})
        copy_tokenizer_files(expert.folder, out)
        write_generation(expert, out)

    @contextmanager
    def open(self, folder: Path) -> Iterator[Opened]:
        """See :class:`ExpertExport`."""
        yield _Opened(folder)


def write_graph(expert: Expert, file: Path) -> None:
    """Write the graph of an expert.

    Raises:
        ModelError: torch can't make one of this model, or the graph's wrapper computes something else.
    """
    flat = Flat.of(expert)
    inputs = _example(flat, past=3, tokens=2)
    _check_flat(flat, expert)
    batch, past, tokens, total = (torch.export.Dim(name) for name in ("batch", "past", "tokens", "total"))
    shapes = (
        {0: batch, 1: tokens},
        {0: batch, 1: total},
        {0: batch, 1: tokens},
        [{0: batch, 2: past} for _ in inputs[3]],
    )
    names = [f"{index}.{kind}" for index in range(len(flat.layers)) for kind in ("key", "value")]
    size = sum(weight.numel() * weight.element_size() for weight in flat.parameters())
    try:
        with quiet(), _without_advice(), torch.no_grad():
            torch.onnx.export(
                flat,
                inputs,
                str(file),
                input_names=["input_ids", "attention_mask", "position_ids", *(f"past_key_values.{n}" for n in names)],
                output_names=["logits", *(f"present.{name}" for name in names)],
                dynamic_shapes=shapes,
                opset_version=OPSET,
                dynamo=True,
                external_data=size > _LARGEST,
                verbose=False,
            )
    except (RuntimeError, ValueError, TypeError) as error:
        what = f"torch can't make a graph of the expert {expert.name}: {str(error).splitlines()[0]}"
        raise ModelError(what, str(expert.folder), "take --to hf") from None


@contextmanager
def _without_advice() -> Iterator[None]:
    """Without the exporter's words about packages that it could use, and about its own names and old functions."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def _example(flat: Flat, past: int, tokens: int, batch: int = 2) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
    ids = torch.arange(batch * tokens).reshape(batch, tokens) % 7
    mask = torch.ones(batch, past + tokens, dtype=torch.int64)
    positions = torch.arange(past, past + tokens).expand(batch, tokens).contiguous()
    return ids, mask, positions, [torch.zeros(batch, h, past, d) for h, d in flat.layers for _ in range(2)]


@torch.inference_mode()
def _check_flat(flat: Flat, expert: Expert) -> None:
    """Make sure that the wrapper's own mask and positions are what the model makes of plain ids, by its logits."""
    if flat.combiner is not None:
        return
    model: Any = flat.models[0]
    tokens = int(model.config.max_position_embeddings)
    ids, mask, positions, past = _example(flat, 0, min(tokens, 512), batch=1)
    ours, theirs = flat(ids, mask, positions, past)[0], model(input_ids=ids).logits
    if not torch.allclose(ours, theirs, atol=1e-3, rtol=1e-3):
        what = f"the expert {expert.name} masks or scales in a way of its own, which the graph would not have"
        raise ModelError(what, str(expert.folder), "take --to hf")


class _Opened(ReadTokens):
    """See :class:`Opened`."""

    def __init__(self, folder: Path) -> None:
        import onnxruntime

        super().__init__(folder)
        self.version = onnxruntime.__version__
        self._session: Any = onnxruntime.InferenceSession(folder / FILE, providers=["CPUExecutionProvider"])

    def greedy(self, ids: Sequence[int], count: int) -> list[int]:
        caches = {
            each.name: np.zeros((1, each.shape[1], 0, each.shape[3]), np.float32)
            for each in self._session.get_inputs()[3:]
        }
        found, inputs = list[int](), list(ids)
        while len(found) < count:
            total = len(ids) + len(found)
            feeds = {
                "input_ids": np.array([inputs]),
                "attention_mask": np.ones((1, total), np.int64),
                "position_ids": np.arange(total - len(inputs), total)[None],
            }
            logits, *present = self._session.run(None, feeds | caches)
            caches = dict(zip(caches, present, strict=True))
            token = int(logits[0, -1].argmax())
            if token in self.ends:
                break
            found.append(token)
            inputs = [token]
        return found
