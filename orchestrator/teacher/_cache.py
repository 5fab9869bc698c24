"""Files of a teacher cache: shards of blocks in safetensors, memory-mapped, with a checksum for each block.

`cache.json` says of which teacher, tokens and source the cache is, so that another's is never read by mistake.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xxhash
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from orchestrator.disk import disk_errors
from orchestrator.errors import ArtifactError

ABOUT = "cache.json"
DRAWN = "drawn.npy"
"""Numbers of the blocks that a cache is of, ascending, where it is not of all."""
_DIGESTS = "digests"


class Cache:
    """A language's blocks as a teacher saw them, read one by one.

    Args:
        folder: of the artifact.
        identity: what the cache has to be of, as its `cache.json` was given.

    Raises:
        ArtifactError: it is of another teacher, of other tokens or of another source, or a file is missing.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self.folder = folder
        try:
            about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
            found, self._per_shard = about["identity"], int(about["blocks_per_shard"])
            drawn = folder / DRAWN if about.get("drawn") else None
            self._drawn = None if drawn is None else np.load(drawn, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, KeyError, TypeError):
            raise _unusable(folder, f"is damaged: {ABOUT} or {DRAWN} can't be read") from None
        for name, value in identity.items():
            if found.get(name) != value:
                raise _unusable(folder, f"is of another {name}: {found.get(name)}, not {value}")
        self._shards: dict[int, Shard] = {}

    def block(self, index: int) -> dict[str, Tensor]:
        """The tensors [T, …] of a block.

        Raises:
            ArtifactError: it is damaged, or the cache is not of this block.
        """
        number, row = divmod(self._place(index), self._per_shard)
        if number not in self._shards:
            self._shards[number] = Shard(self.folder / shard_name(number))
        return self._shards[number].block(row)

    def _place(self, index: int) -> int:
        """Where a block is among those that the cache is of."""
        if self._drawn is None:
            return index
        place = int(np.searchsorted(self._drawn, index))
        if place == len(self._drawn) or self._drawn[place] != index:
            what = f"is of what another training draws, without block {index}"
            raise _unusable(self.folder, what, "set experts.distillation.cache=whole")
        return place


class Shard:
    """Consecutive blocks in one file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def _file(self) -> Any:
        return safe_open(self.path, "pt")

    @cached_property
    def _slices(self) -> dict[str, Any]:
        return {name: self._file.get_slice(name) for name in sorted(self._file.keys()) if name != _DIGESTS}

    @cached_property
    def _digests(self) -> list[int]:
        digests: list[int] = self._file.get_tensor(_DIGESTS).tolist()
        return digests

    def block(self, row: int) -> dict[str, Tensor]:
        """The tensors of its `row`-th block.

        Raises:
            ArtifactError: the file is missing, or not what was written.
        """
        try:
            tensors = {name: part[row] for name, part in self._slices.items()}
            sound = _digest(tensors) == self._digests[row]
        except (OSError, SafetensorError, IndexError, KeyError):
            sound = False
        if not sound:
            raise _unusable(self.path, "is damaged")
        return tensors

    def whole(self, blocks: int) -> bool:
        """Whether it holds that many blocks, all as they were written."""
        with suppress(ArtifactError, OSError, SafetensorError, KeyError):
            return len(self._digests) == blocks and all(self.block(row) is not None for row in range(blocks))
        return False


def write_shard(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write named tensors [blocks, T, …] so that the file is there whole or not at all.

    Raises:
        ResourceError: no space left.
    """
    count = len(next(iter(tensors.values())))
    digests = [_digest({name: tensor[row] for name, tensor in tensors.items()}) for row in range(count)]
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            save_file({**tensors, _DIGESTS: torch.tensor(digests, dtype=torch.int64)}, temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def shard_name(number: int) -> str:
    """File name of a shard."""
    return f"shard-{number:05d}.safetensors"


def read_rows(caches: Mapping[int, Cache], rows_B2: Tensor) -> dict[str, Tensor]:
    """The tensors of blocks given by (language, block) indices, int64 [B, 2], stacked [B, T, …].

    Raises:
        ArtifactError: a block is damaged.
    """
    blocks = [caches[language].block(index) for language, index in rows_B2.tolist()]
    with torch.autocast("cpu", enabled=False):  # it refuses to stack fp16, which a sampled cache's entropies are
        return {name: torch.stack([block[name] for block in blocks]) for name in blocks[0]}


def _digest(tensors: Mapping[str, Tensor]) -> int:
    """XXH3 over a block's tensors in the order of their names, as a signed 64-bit number."""
    hasher = xxhash.xxh3_64()
    for _, tensor in sorted(tensors.items()):
        hasher.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return hasher.intdigest() - (1 << 63)


def _unusable(where: Path, what: str, fix: str = "write it again: mome run RECIPE --force caches") -> ArtifactError:
    return ArtifactError(f"the teacher cache {what}", str(where), fix)
