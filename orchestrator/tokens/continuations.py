"""How one tokenizer's tokens go on in another's: which of the teacher's tokens reach beyond a text that the student has
read in one or more of its own.

A teacher that wrote " play" has said that no "ing" follows, or it would have written " playing". A student that wrote
" play" has said no such thing. So what a student has to expect behind " play" is what the teacher says behind it, and
what the teacher's " playing", " player" and " played" would have gone on with, each with its probability before it.

Nodes are texts that begin longer tokens of the teacher, spelled in the student's tokens since both have last met. The
other way round, with the parts of both exchanged, they say what can't follow: a student that has a token " playing" and
has read " play" knows that no "ing" follows, and a teacher without it does not.

Shape legend: G nodes, E ways to go on from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from orchestrator.tokens.classes import Vocabulary

_DEPTH = 32
"""The student's tokens since both have met, at most: nobody's token has more parts."""


class Continuations(NamedTuple):
    """Arrays over nodes.

    Attributes:
        starts: where a node's ways to go on begin, int64 [G+1].
        tokens: the teacher's token of each way, int64 [E].
        nexts: the student's token that follows the node in its text, int64 [E].
        ends: whether the teacher's token ends with that one, bool [E].
        own: the teacher's token whose text is the node's, int64 [G]; −1: there is none.
        edges: node before times V and the student's token after it, ascending, int64 [G]; the root is node G.
        reached: the node that each edge leads to, int64 [G].
    """

    starts: np.ndarray
    tokens: np.ndarray
    nexts: np.ndarray
    ends: np.ndarray
    own: np.ndarray
    edges: np.ndarray
    reached: np.ndarray

    def ending(self) -> tuple[np.ndarray, np.ndarray]:
        """Ways that end with their next token: where those of a node begin, int64 [G+1], and these tokens, int64."""
        counts = np.concatenate([[0], np.cumsum(self.ends)])
        starts: np.ndarray = counts[self.starts]
        return starts, self.nexts[self.ends]

    def walk(self, stream: np.ndarray, since: np.ndarray, vocab_size: int) -> np.ndarray:
        """The node at each place of a stream of the student's tokens, int64 [M]; −1: no token reaches beyond it.

        Args:
            stream: token ids [M].
            since: tokens read since both have last met, this one included, int64 [M]; 0: they never have.
            vocab_size: of the student, V.
        """
        nodes = np.full(len(stream), -1, np.int64)
        if not len(self.own):
            return nodes
        for depth in range(1, min(_DEPTH, int(since.max(initial=0))) + 1):
            here = np.flatnonzero(since == depth)
            before = np.full(len(here), len(self.own)) if depth == 1 else nodes[here - 1]
            keys = before * vocab_size + stream[here]
            found = np.minimum(np.searchsorted(self.edges, keys), len(self.own) - 1)
            nodes[here] = np.where((before >= 0) & (self.edges[found] == keys), self.reached[found], -1)
        return nodes


@dataclass
class _Node:
    ways: list[tuple[int, int, bool]]
    own: int = -1


def continuations(student: Vocabulary, teacher: Vocabulary) -> Continuations:
    """Those of a teacher's tokens in a student's."""
    spelled = _spelled(student, teacher)
    nodes: dict[tuple[int, ...], _Node] = {}
    for token, path in spelled.items():
        for size in range(1, len(path)):
            nodes.setdefault(path[:size], _Node([])).ways.append((token, path[size], size + 1 == len(path)))
    for token, path in spelled.items():
        if path in nodes:
            nodes[path].own = token
    numbers = {path: number for number, path in enumerate(nodes)} | {(): len(nodes)}
    size = len(student.texts)
    edges = np.array([numbers[path[:-1]] * size + path[-1] for path in nodes], np.int64)
    order = np.argsort(edges)
    ways = np.array([way for node in nodes.values() for way in node.ways], np.int64).reshape(-1, 3)
    starts = np.cumsum([0, *(len(node.ways) for node in nodes.values())]).astype(np.int64)
    own = np.array([node.own for node in nodes.values()], np.int64)
    tokens, nexts, ends = (ways[:, column].copy() for column in range(3))
    return Continuations(starts, tokens, nexts, ends.astype(bool), own, edges[order], order)


def _spelled(student: Vocabulary, teacher: Vocabulary) -> dict[int, tuple[int, ...]]:
    """The student's tokens for the text of each of the teacher's, where they spell it as it is."""
    texts = {token: text for token, text in enumerate(teacher.texts) if text}
    readable = {token: text for token, text in texts.items() if text.decode("utf-8", "ignore").encode() == text}
    paths = dict(zip(readable, student.spelled(list(readable.values())), strict=True))
    return {token: path for token, path in paths.items() if b"".join(student.texts[i] for i in path) == texts[token]}
