"""What a stage has made, as a few facts: exact ones by a digest, and numbers that may differ in the last places."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file

from orchestrator.artifacts import digest

TIMES = (
    *("seconds", "tokens_per_second", "peak_memory_bytes", "seconds_per_step", "microseconds", "weights_sha256"),
    *("threads", "processor", "device", "timing", "created", "run_peak_memory_bytes"),
)
"""Keys of what differs from run to run and machine to machine; of weights the digest does, by their last bits."""
BY_LAST_BITS = re.compile(r"/correct$|/reliability/\d+/count$|^/sha256$|^/classifiers/\w+$")
"""Counts of probabilities beyond an edge, and digests of a classifier's weights: the floats beside them stay."""
UNSTABLE = ("timing.json", "training_args.bin", "manifest.json")
CHECKSUMS = "digests"
"""A cache's tensor with the digests of its blocks, which hang on the last bits of their numbers."""
VERSIONS = ("transformers_version", "library", "version")


def summarise(folder: Path) -> dict[str, Any]:
    """{"exact": digest of file names, texts and whole numbers, "values": {place: number}} of a stage's folder."""
    exact: list[Any] = []
    values: dict[str, float] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name not in UNSTABLE):
        name = path.relative_to(folder).as_posix()
        for place, value in _facts(path):
            if BY_LAST_BITS.search(place):
                continue
            if isinstance(value, float):
                values[f"{name}:{place}"] = value
            else:
                exact.append([name, place, value])
    return {"exact": digest(exact), "values": values}


def _facts(path: Path) -> Iterator[tuple[str, Any]]:
    if path.suffix == ".parquet":
        yield "rows", pq.read_table(path).to_pylist()
    elif path.suffix == ".npy":
        yield "array", np.load(path).tolist()
    elif path.suffix == ".bin":
        yield "bytes", path.read_bytes().hex()
    elif path.suffix == ".safetensors":
        yield from _tensors(path)
    elif path.suffix == ".json":
        yield from _leaves("", json.loads(path.read_text(encoding="utf-8")))
    elif path.suffix == ".jsonl":
        rows = path.read_text(encoding="utf-8").splitlines()
        yield from (fact for number, row in enumerate(rows) for fact in _leaves(str(number), json.loads(row)))
    else:
        yield "file", True


def _tensors(path: Path) -> Iterator[tuple[str, Any]]:
    for name, tensor in sorted(load_file(path).items()):
        if name == CHECKSUMS:
            continue
        yield f"{name} shape", list(tensor.shape)
        if tensor.is_floating_point():
            yield f"{name} norm", float(torch.linalg.vector_norm(tensor.double()))
        else:
            yield name, tensor.tolist()


def _leaves(place: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            of_weights = str(key).startswith("teacher") and isinstance(item, str) and len(item) == 64
            if key not in TIMES and key not in VERSIONS and not of_weights:
                yield from _leaves(f"{place}/{key}", item)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _leaves(f"{place}/{number}", item)
    else:
        yield place, value
