"""Stage: one language's blocks beside the same text in the tokens of a teacher that has others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.config.base import build, plugin_of
from orchestrator.disk import disk_errors, file_digest
from orchestrator.environment import Environment
from orchestrator.errors import ModelError, TokenizerError
from orchestrator.stages.base import Cost, Expected, Stage
from orchestrator.tokens.aligned import AlignedSplit, save_alignment
from orchestrator.tokens.aligning import Matched, Pair, barred_of, nodes_of
from orchestrator.tokens.blocks import TokenBlocks
from orchestrator.tokens.classes import Vocabulary, class_map
from orchestrator.tokens.continuations import Continuations, continuations
from orchestrator.tokens.encoding import EncodedCorpus
from orchestrator.tokens.losing import lost_text
from orchestrator.tokens.storage import SPLITS, read_array, read_json

UNSAFE = ("capital letters", "several spaces", "line breaks and tabs")
"""Kinds of text that a tokenizer has to keep as they are, see :mod:`orchestrator.tokens.losing`."""


class AlignmentStage(Stage):
    """Finds where the tokens of blocks and teacher meet, and which classes of next texts both can tell.

    Reads `blocks`, `tokens` and `tokenizer`, and the teacher's `teacher-tokens` and `teacher-tokenizer`. Writes what
    :class:`orchestrator.tokens.aligned.Alignment` reads.
    """

    language: str
    """Language of the text."""
    teacher: plugin_of("models.zoo")  # type: ignore[valid-type]
    """The teacher's model, which has to have positions for a block's text in its own tokens."""

    def run(self, inputs: Mapping[str, Path], out: Path, env: Environment) -> None:
        """See :class:`orchestrator.stages.base.Stage`.

        Raises:
            TokenizerError: the teacher's changes text, or the two share no classes.
            ModelError: a block takes more of the teacher's tokens than it has positions.
            ArtifactError: blocks or token ids are damaged.
        """
        sides = [Vocabulary.open(inputs[name]) for name in ("tokenizer", "teacher-tokenizer")]
        check_keeps_text(sides[1])
        classes, ways, barred = class_map(*sides), continuations(*sides), continuations(*reversed(sides))
        counts = _Counts()
        with disk_errors(out):
            for split in SPLITS:
                found = _aligned(
                    inputs, split, self.language, classes, (ways, barred), counts if split == "train" else _Counts()
                )
                self._check_positions(found.widest, len(classes[1]), inputs["blocks"])
                found.save(out, split, len(classes[1]))
            about = {
                "tokenizer": file_digest(inputs["tokenizer"] / "tokenizer.json"),
                "teacher": file_digest(inputs["teacher-tokenizer"] / "tokenizer.json"),
                "tokens": [len(each) for each in classes],
                "classes": int(classes[0].max()) + 1,
                **counts.about(),
            }
            save_alignment(out, classes, ways, barred, about)
        said = f"{about['said']:.1%} of the tokens, in {about['classes']:,} classes"
        alike = f"both tokenizers begin the next text with the same one at {about['agreed']:.2%}"
        message = f"{self.language}: the teacher says what follows {said}; where both have read the same, {alike}"
        env.log({"message": message})

    def cost(self, inputs: Mapping[str, Path | None], expected: Expected) -> Cost:
        """Tokens to match.

        Raises:
            TokenizerError: see :meth:`run`.
        """
        if (folder := inputs.get("teacher-tokenizer") or expected.teacher_tokenizer) is not None:
            check_keeps_text(Vocabulary.open(folder))
        return Cost(tokens=2 * (expected.tokens_per_language or expected.blocks.get("train", 0) * expected.context))

    def _check_positions(self, widest: int, vocab_size: int, blocks: Path) -> None:
        try:
            build("models.zoo", self.teacher).configuration(vocab_size, widest)
        except ModelError as error:
            if error.where != "blocks.context":
                raise
            context = TokenBlocks.open(blocks, "train").context
            what = f"a block of {context} tokens in {self.language} takes {widest} of the teacher's: {error.what}"
            raise ModelError(what, error.where, f"set blocks.context to {context // 2} or less") from None


def check_keeps_text(vocabulary: Vocabulary) -> None:
    """Make sure that places in a text can be found in a tokenizer's tokens.

    Raises:
        TokenizerError: it changes text, or has no single bytes.
    """
    changed = [kind for kind in lost_text(vocabulary.tokenizer) if kind in UNSAFE]
    missing = [] if {bytes([each]) for each in range(0x20, 0x7F)} <= vocabulary.known else ["single characters"]
    if changed or missing:
        raise TokenizerError(
            f"the teacher's tokenizer does not keep text as it is ({', '.join([*changed, *missing])}), so its tokens "
            "can't be laid beside others",
            where="experts.distillation.alignment",
            fix="leave out `tokenizer` and alignment, so that experts have the teacher's own",
        )


class _Counts:
    """What is counted while splits are matched."""

    def __init__(self) -> None:
        self.tokens = self.met = self.said = self.compared = self.agreed = self.unlike = 0

    def add(self, part: Matched, nodes: np.ndarray, classes: tuple[np.ndarray, np.ndarray]) -> None:
        met = np.flatnonzero(part.places >= 0)
        self.tokens += len(part.places)
        self.met += len(met)
        self.said += int(np.count_nonzero((part.places >= 0) | (nodes >= 0)))
        self.unlike += part.unlike
        met = met[(met + 1 < len(part.student)) & (part.places[met] + 1 < len(part.teacher))]
        ours, theirs = part.student[met + 1], part.teacher[part.places[met] + 1]
        self.compared += len(met)
        self.agreed += int(np.count_nonzero(classes[0][ours] == classes[1][theirs]))

    def about(self) -> dict[str, Any]:
        return {
            "met": self.met / max(1, self.tokens),
            "said": self.said / max(1, self.tokens),
            "agreed": self.agreed / max(1, self.compared),
            "unlike_documents": self.unlike,
        }


def _aligned(
    inputs: Mapping[str, Path],
    split: str,
    language: str,
    classes: tuple[np.ndarray, np.ndarray],
    ways: tuple[Continuations, Continuations],
    counts: _Counts,
) -> AlignedSplit:
    """A split's text in the teacher's tokens, laid beside its blocks."""
    blocks = TokenBlocks.open(inputs["blocks"], split)
    student, teacher = (EncodedCorpus(inputs[name]) for name in ("tokens", "teacher-tokens"))
    rows = read_array(inputs["blocks"] / "selected" / split / f"{language}.npy", "blocks")
    kept = student.lengths(split, language)[rows]
    cut = read_json(inputs["blocks"] / "blocks.json", "blocks")["splits"][split][language].get("cut")
    if cut is not None:
        kept[-1] = cut["kept"]
    borders = np.arange(blocks.count(language) + 1) * blocks.context
    streams, places, nodes, barred, starts, targets, position = [], [], [], [], [], [], 0
    for part in Pair(student, teacher, split, language, rows, kept).matched():
        nodes.append(nodes_of(part, ways[0], len(classes[0])))
        barred.append(barred_of(part, ways[1], len(classes[1])))
        counts.add(part, nodes[-1], classes)
        streams.append(part.teacher)
        places.append(np.where(part.places >= 0, part.places + part.first, -1))
        inside = borders[(borders >= position) & (borders < position + len(part.student))] - position
        # The first of the teacher's tokens that ends in the block, and the first that ends in its targets.
        before = np.where(inside > 0, part.student_keys[inside - 1], -1)
        starts.append(part.first + np.searchsorted(part.teacher_keys, before, side="right"))
        targets.append(part.first + np.searchsorted(part.teacher_keys, part.student_keys[inside], side="right"))
        position += len(part.student)
    start, target = np.concatenate(starts), np.concatenate(targets)
    start = np.maximum(np.minimum(start, target - 1), 0)
    windows = np.stack([start[:-1], np.maximum(target[:-1], start[:-1] + 1), target[1:]], axis=1)
    laid, reached, not_next = (np.concatenate(each)[: borders[-1]] for each in (places, nodes, barred))
    return AlignedSplit(np.concatenate(streams), laid, reached, not_next, windows)
