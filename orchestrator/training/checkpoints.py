"""Checkpoints: whole or not there, without pickle, the same for every strategy and number of workers.

``checkpoints/step-N/`` holds weights.safetensors, optimizer.safetensors and state.json with the digests of both;
``checkpoints/best-N/`` holds weights.safetensors of the best validation so far and state.json with its digest.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import xxhash
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from orchestrator.disk import disk_errors, share_files
from orchestrator.errors import TrainingError

WEIGHTS, OPTIMIZER, STATE = "weights.safetensors", "optimizer.safetensors", "state.json"


@dataclass
class Progress:
    """How far a run has come: what a checkpoint knows beside weights and optimizer.

    Attributes:
        step: optimizer steps taken.
        tokens: targets learned from.
        seconds: spent on steps and validation, over all attempts.
        training_seconds: those of the steps alone.
        history: losses of the last steps, for the schedule.
        best_step, best_loss: of the lowest validation loss so far.
        validation_loss: the last one.
        since_row: sums of the figures of steps that no row of metrics has told of yet.
    """

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    training_seconds: float = 0.0
    history: list[list[float]] = field(default_factory=list)
    best_step: int | None = None
    best_loss: float | None = None
    validation_loss: float | None = None
    since_row: dict[str, list[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one training run.

    Attributes:
        folder: where they are.
        fingerprint: of what is trained; another's are refused.
        keep: how many are kept.
    """

    folder: Path
    fingerprint: str
    keep: int = 2

    def save(self, progress: Progress, weights: Mapping[str, Tensor], optimizer: Mapping[str, Tensor]) -> Path:
        """Write ``step-N`` and remove what neither it nor the others kept need.

        Raises:
            ResourceError: no space left.
        """
        with self._whole(f"step-{progress.step}") as folder:
            save_file(dict(weights), folder / WEIGHTS)
            save_file(dict(optimizer), folder / OPTIMIZER)
            self._write_state(folder, progress=asdict(progress))
        self._prune()
        return self.folder / f"step-{progress.step}"

    def save_best(self, step: int, weights: Mapping[str, Tensor]) -> Path:
        """Write ``best-N``. The best before it stays for as long as a checkpoint refers to it.

        Raises:
            ResourceError: no space left.
        """
        with self._whole(f"best-{step}") as folder:
            save_file(dict(weights), folder / WEIGHTS)
            self._write_state(folder)
        return self.folder / f"best-{step}"

    def latest(self) -> int | None:
        """Step of the newest checkpoint; None where there is none."""
        steps = self._steps("step")
        return steps[-1] if steps else None

    def load(self, step: int) -> tuple[Progress, dict[str, Tensor], dict[str, Tensor]]:
        """Progress, weights and optimizer state of ``step-N``.

        Raises:
            TrainingError: it is damaged, or belongs to another recipe.
        """
        folder = self.folder / f"step-{step}"
        with self._readable(folder):
            state = _state(folder)
            if state["fingerprint"] != self.fingerprint:
                raise TrainingError(
                    "a checkpoint belongs to another recipe",
                    str(folder),
                    f"delete {self.folder} to train from the start",
                )
            _check_digests(folder, state)
            return Progress(**state["progress"]), _read(folder / WEIGHTS), _read(folder / OPTIMIZER)

    def weights(self, kind: str, step: int) -> dict[str, Tensor]:
        """Weights of ``step-N`` or ``best-N`` (`kind`: "step" or "best").

        Raises:
            TrainingError: they are damaged.
        """
        folder = self.folder / f"{kind}-{step}"
        with self._readable(folder):
            _check_digests(folder, _state(folder))
            return _read(folder / WEIGHTS)

    def path(self, step: int | None) -> str:
        """Where a checkpoint is, for messages."""
        return "none yet" if step is None else str(self.folder / f"step-{step}")

    def _write_state(self, folder: Path, **facts: Any) -> None:
        digests = {path.name: _digest(path) for path in sorted(folder.glob("*.safetensors"))}
        state = {"fingerprint": self.fingerprint, "files": digests, **facts}
        (folder / STATE).write_text(json.dumps(state), encoding="utf-8")

    def _best_of(self, step: int) -> int | None:
        """The best step that ``step-N`` refers to."""
        folder = self.folder / f"step-{step}"
        with self._readable(folder):
            best: int | None = _state(folder)["progress"]["best_step"]
            return best

    def _steps(self, kind: str) -> list[int]:
        names = (path.name.partition("-") for path in self.folder.glob(f"{kind}-*"))
        return sorted(int(step) for _, _, step in names if step.isdigit())

    def _prune(self) -> None:
        kept = self._steps("step")[-self.keep :]
        needed = {f"step-{step}" for step in kept} | {f"best-{self._best_of(step)}" for step in kept}
        there = {f"{kind}-{step}" for kind in ("step", "best") for step in self._steps(kind)}
        for name in there - needed:
            _remove(self.folder / name)

    @contextmanager
    def _whole(self, name: str) -> Iterator[Path]:
        """A temporary folder that becomes `name` when all of it is on the disk."""
        temporary, final = self.folder / f".{name}", self.folder / name
        with disk_errors(self.folder):
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            yield temporary
            share_files(temporary)
            for path in (*temporary.iterdir(), temporary):
                _sync(path)
            if final.exists():
                _remove(final)
            temporary.rename(final)
            _sync(self.folder)

    @contextmanager
    def _readable(self, folder: Path) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, KeyError, TypeError, SafetensorError):
            # The best weights are written once: only training from the start finds them again.
            fix = f"delete {self.folder} to train from the start"
            if folder.name.startswith("step-"):
                fix = f"delete {folder} to go on from the one before it, or {self.folder} to train from the start"
            raise TrainingError("a checkpoint is damaged", str(folder), fix) from None


def _state(folder: Path) -> dict[str, Any]:
    state: dict[str, Any] = json.loads((folder / STATE).read_text(encoding="utf-8"))
    return state


def _check_digests(folder: Path, state: Mapping[str, Any]) -> None:
    if any(_digest(folder / name) != digest for name, digest in state["files"].items()):
        raise ValueError("digest")


def _read(path: Path) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = load_file(path)
    return tensors


def _remove(folder: Path) -> None:
    """Remove a folder so that no half of it is ever seen under its name."""
    doomed = folder.with_name(f".old-{folder.name}")
    shutil.rmtree(doomed, ignore_errors=True)
    folder.rename(doomed)
    shutil.rmtree(doomed)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _digest(path: Path) -> str:
    hasher = xxhash.xxh3_128()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            hasher.update(chunk)
    return hasher.hexdigest()
