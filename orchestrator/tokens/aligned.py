"""A language's blocks beside the same text in the tokens of a teacher that has others.

`alignment.json` says of which tokenizers it is, and how well they fit; `student.npy` and `teacher.npy` hold the class
of each token (:mod:`orchestrator.tokens.classes`); `starts.npy`, `tokens.npy`, `classes.npy` and `own.npy` how nodes go
on (:mod:`orchestrator.tokens.continuations`), `barred_starts.npy` and `barred_tokens.npy` what can't follow. Of each
split, `<split>.bin` holds the packed documents in the teacher's tokens; `<split>.places.npy`, for each of the student's
tokens, which of the teacher's has read the same text, −1 for none; `<split>.nodes.npy` and `<split>.barred.npy` the
nodes that it reaches; and `<split>.windows.npy`, for each block, which of the teacher's tokens to read.

Shape legend: B blocks, T tokens of a block, W tokens of the teacher for a block (as many as the longest has).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xxhash

from orchestrator.artifacts import write_json
from orchestrator.errors import ArtifactError
from orchestrator.tokens.blocks import TokenBlocks
from orchestrator.tokens.continuations import Continuations
from orchestrator.tokens.storage import damaged, map_stream, read_array, read_json, token_dtype, write_array

ABOUT = "alignment.json"
_STAGE = "alignment"


@dataclass(frozen=True, eq=False)
class AlignedSplit:
    """One split's text in the teacher's tokens.

    Attributes:
        stream: the packed documents, token ids [N].
        places: index into it for each of the student's tokens in blocks, int32 or int64 [blocks · T]; −1: none.
        nodes, barred: of each of the student's tokens, int32 or int64 [blocks · T]; −1: none.
        windows: int64 [blocks, 3]: the first token to read, the first whose text the block's targets are, and the one
            after the last.
    """

    stream: np.ndarray
    places: np.ndarray
    nodes: np.ndarray
    barred: np.ndarray
    windows: np.ndarray

    @property
    def widest(self) -> int:
        """Tokens of the teacher's that one block takes at most: what is a target alone is not read."""
        begins, _, ends = self.windows.T
        if not len(begins):
            return 1
        last = self.places.reshape(len(begins), -1).max(axis=1)
        return int((np.maximum(ends - 1, last + 1) - begins).max())

    def save(self, out: Path, split: str, vocab_size: int) -> None:
        """Write its files."""
        self.stream.astype(token_dtype(vocab_size)).tofile(out / f"{split}.bin")
        small = len(self.stream) < 2**31
        write_array(out / f"{split}.places.npy", self.places.astype(np.int32 if small else np.int64))
        write_array(out / f"{split}.nodes.npy", self.nodes.astype(np.int32))
        write_array(out / f"{split}.barred.npy", self.barred.astype(np.int32))
        write_array(out / f"{split}.windows.npy", self.windows)


class TeacherWindows(NamedTuple):
    """The text of some blocks in the teacher's tokens.

    Attributes:
        ids: int64 [B, W]; what lies beyond a block's text is 0.
        places: which of them has read the text that each of the student's tokens has, int64 [B, T]; −1: none.
        nodes, barred: of each of the student's tokens, int64 [B, T]; −1: none.
    """

    ids: np.ndarray
    places: np.ndarray
    nodes: np.ndarray
    barred: np.ndarray


class AlignedBarred(NamedTuple):
    """What can't follow, see :class:`orchestrator.classes.Barred`."""

    starts: np.ndarray
    tokens: np.ndarray


class AlignedWays(NamedTuple):
    """How nodes go on, see :class:`orchestrator.classes.Ways`."""

    starts: np.ndarray
    tokens: np.ndarray
    classes: np.ndarray
    own: np.ndarray


class Alignment:
    """What a step `alignment` wrote.

    Attributes:
        folder: of the artifact.
        about: `alignment.json`.
        student, teacher: class of each token, int64 [V] and [W].
        count: of classes.
        ways, barred: how nodes go on, and how not.
    """

    def __init__(self, folder: Path) -> None:
        """Open it.

        Raises:
            ArtifactError: a file is missing or damaged.
        """
        self.folder, self.about = folder, read_json(folder / ABOUT, _STAGE)
        self.student, self.teacher = (read_array(folder / f"{side}.npy", _STAGE) for side in ("student", "teacher"))
        self.ways = AlignedWays(*(read_array(folder / f"{name}.npy", _STAGE) for name in AlignedWays._fields))
        self.barred = AlignedBarred(
            *(read_array(folder / f"barred_{name}.npy", _STAGE) for name in AlignedBarred._fields)
        )
        self.count = int(self.student.max(initial=-1)) + 1
        if self.count != int(self.teacher.max(initial=-1)) + 1:
            raise damaged(folder / "teacher.npy", _STAGE, "the classes of student and teacher are not the same")

    @property
    def digest(self) -> str:
        """Checksum (XXH3) of the classes."""
        return xxhash.xxh3_128_hexdigest(self.student.tobytes() + self.teacher.tobytes())

    def split(self, name: str) -> AlignedSplit:
        """One split.

        Raises:
            ArtifactError: a file is missing or damaged.
        """
        kinds = ("places", "nodes", "barred", "windows")
        places, nodes, barred, windows = (_mapped(self.folder / f"{name}.{kind}.npy") for kind in kinds)
        path = self.folder / f"{name}.bin"
        if not path.is_file():
            raise damaged(path, _STAGE, f"{path.name} is missing")
        stream = map_stream(path, token_dtype(len(self.teacher)))
        if max(places.max(initial=-1), windows.max(initial=0) - 1) >= len(stream):
            raise damaged(path, _STAGE, f"{path.name} holds {len(stream):,} tokens, fewer than are read")
        return AlignedSplit(stream, places, nodes, barred, windows)


class AlignedBlocks(TokenBlocks):
    """Blocks in the student's tokens, which know their text in the teacher's.

    Attributes:
        alignments: folder of each language's alignment.
    """

    def __init__(self, folder: Path, split: str, alignments: Mapping[str, Path]) -> None:
        """Args as of :class:`TokenBlocks`, and the alignments' folders.

        Raises:
            ArtifactError: a file is missing or damaged, or is of other blocks.
        """
        super().__init__(folder, split)
        self.alignments = dict(alignments)
        self._opened = {language: Alignment(path) for language, path in alignments.items()}
        self._splits = {language: each.split(split) for language, each in self._opened.items()}
        for language, found in self._splits.items():
            if len(found.windows) != self.count(language) or len(found.places) != self.count(language) * self.context:
                fix = "align them again: mome run RECIPE --force alignment"
                raise ArtifactError(f"the alignment is of other blocks of {language}", str(alignments[language]), fix)

    def __reduce__(self) -> tuple[type[AlignedBlocks], tuple[Path, str, Mapping[str, Path]]]:  # type: ignore[override]
        return type(self), (self.folder, self.split, self.alignments)

    @property
    def alignment(self) -> Alignment:
        """That of any language: their classes are the same."""
        return next(iter(self._opened.values()))

    def aligned(self, language: str) -> AlignedSplit:
        """A language's text in the teacher's tokens."""
        return self._splits[language]

    def windows(self, rows: np.ndarray) -> TeacherWindows:
        """Some blocks' text in the teacher's tokens.

        Args:
            rows: (language index, block index), int64 [B, 2].
        """
        found = [(self._splits[self.languages[language]], block) for language, block in rows.tolist()]
        longest = max(split.windows[block, 2] - split.windows[block, 0] for split, block in found)
        ids = np.zeros((len(found), max(2, int(longest))), np.int64)  # a token and its target
        places, nodes, barred = np.full((3, len(found), self.context), -1, np.int64)
        for row, (split, block) in enumerate(found):
            start, _, end = split.windows[block]
            ids[row, : end - start] = split.stream[start:end]
            part = slice(block * self.context, (block + 1) * self.context)
            absolute, nodes[row], barred[row] = (
                split.places[part].astype(np.int64),
                split.nodes[part],
                split.barred[part],
            )
            places[row] = np.where(absolute >= 0, absolute - start, -1)
        return TeacherWindows(ids, places, nodes, barred)


def _mapped(path: Path) -> np.ndarray:
    """A `.npy` file, memory-mapped: there are as many numbers as tokens of text.

    Raises:
        ArtifactError: it is missing or damaged.
    """
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False).view(np.ndarray)  # type: ignore[no-any-return]
    except (OSError, ValueError, EOFError) as error:
        raise damaged(path, _STAGE, f"{path.name} can't be read ({type(error).__name__})") from None


def save_alignment(
    out: Path,
    classes: tuple[np.ndarray, np.ndarray],
    ways: Continuations,
    barred: Continuations,
    about: Mapping[str, Any],
) -> None:
    """Write the classes of both vocabularies, how nodes go on and how not, and what is to be said of them."""
    for side, each in zip(("student", "teacher"), classes, strict=True):
        write_array(out / f"{side}.npy", each)
    found = AlignedWays(ways.starts, ways.tokens, classes[0][ways.nexts], ways.own)
    for name, array in found._asdict().items():
        write_array(out / f"{name}.npy", array)
    for name, array in zip(AlignedBarred._fields, barred.ending(), strict=True):
        write_array(out / f"barred_{name}.npy", array)
    write_json(out / ABOUT, dict(about))
