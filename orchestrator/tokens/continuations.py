"""How one tokenizer's tokens go on in another's: which of the teacher's tokens reach beyond a text that the student has
read in one or more of its own.

A teacher that wrote " play" has said that no "ing" follows, or it would have written " playing". A student that wrote
" play" has said no such thing. So what a student has to expect behind " play" is what the teacher says behind it, and
what the teacher's " playing", " player" and " played" would have gone on with, each with its probability before it.

Nodes are texts that begin longer tokens of the teacher, spelled in the student's tokens since both have last met.

Shape legend: G nodes, E ways to go on from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from orchestrator.tokens.classes import Vocabulary
from orchestrator.tokens.tokenizer import encode

_DEPTH = 32
"""The student's tokens since both have met, at most: nobody's token has more parts."""


class Continuations(NamedTuple):
    """Arrays over nodes.

    Attributes:
        starts: where a node's ways to go on begin, int64 [G+1].
        tokens: the teacher's token of each way, int64 [E].
        nexts: the student's token that follows the node in its text, int64 [E].
        own: the teacher's token whose text is the node's, int64 [G]; −1: there is none.
        edges: node before times V and the student's token after it, ascending, int64 [G]; the root is node G.
        reached: the node that each edge leads to, int64 [G].
    """

    starts: np.ndarray
    tokens: np.ndarray
    nexts: np.ndarray
    own: np.ndarray
    edges: np.ndarray
    reached: np.ndarray

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
    ways: list[tuple[int, int]]
    own: int = -1


def continuations(student: Vocabulary, teacher: Vocabulary) -> Continuations:
    """Those of a teacher's tokens in a student's."""
    spelled = _spelled(student, teacher)
    nodes: dict[tuple[int, ...], _Node] = {}
    for token, path in spelled.items():
        for size in range(1, len(path)):
            nodes.setdefault(path[:size], _Node([])).ways.append((token, path[size]))
    for token, path in spelled.items():
        if path in nodes:
            nodes[path].own = token
    numbers = {path: number for number, path in enumerate(nodes)} | {(): len(nodes)}
    size = len(student.texts)
    edges = np.array([numbers[path[:-1]] * size + path[-1] for path in nodes], np.int64)
    order = np.argsort(edges)
    ways = np.array([way for node in nodes.values() for way in node.ways], np.int64).reshape(-1, 2)
    starts = np.cumsum([0, *(len(node.ways) for node in nodes.values())]).astype(np.int64)
    own = np.array([node.own for node in nodes.values()], np.int64)
    return Continuations(starts, ways[:, 0].copy(), ways[:, 1].copy(), own, edges[order], order)


def _spelled(student: Vocabulary, teacher: Vocabulary) -> dict[int, tuple[int, ...]]:
    """The student's tokens for the text of each of the teacher's, where they spell it as it is."""
    texts = {token: text for token, text in enumerate(teacher.texts) if text}
    readable = {token: text for token, text in texts.items() if text.decode("utf-8", "ignore").encode() == text}
    encoded = encode(student.tokenizer, [text.decode() for text in readable.values()])
    paths = {token: tuple(map(int, ids)) for token, ids in zip(readable, encoded, strict=True)}
    return {token: path for token, path in paths.items() if b"".join(student.texts[i] for i in path) == texts[token]}
