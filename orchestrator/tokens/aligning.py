"""Where the tokens of two tokenizers meet: places of the same documents at which both have read the same text.

Each token in a packed stream has a key: the bytes of text up to its end, counted over all documents, and a few more at
every document's borders, so that a key says which text has been read, and whether a document has ended since. Keys rise
along both streams. Where they are equal, both models say what follows the same text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from orchestrator.tokens.continuations import Continuations
from orchestrator.tokens.encoding import EncodedCorpus
from orchestrator.tokens.packing import packed

_GROUP = 1 << 20
"""Tokens that are matched at once; a longer document comes whole."""


@dataclass(frozen=True, eq=False)
class Matched:
    """A few whole documents in both tokenizers' tokens.

    Attributes:
        student, teacher: their packed streams, token ids [M] and [N].
        student_keys, teacher_keys: bytes read after each token, int64 [M] and [N].
        places: which of the teacher's tokens has read what each of the student's has, int64 [M]; −1: none.
        first: where the first token of the teacher's lies in its whole stream.
        unlike: documents that the tokenizers read as different text.
    """

    student: np.ndarray
    teacher: np.ndarray
    student_keys: np.ndarray
    teacher_keys: np.ndarray
    places: np.ndarray
    first: int
    unlike: int


@dataclass(frozen=True, eq=False)
class _Side:
    """Some documents in one tokenizer's tokens."""

    stream: np.ndarray
    document: np.ndarray  # of each token in the stream, counted from 0
    within: np.ndarray  # of its document's packed tokens, counted from 0
    lengths: np.ndarray
    bytes: np.ndarray  # of each document
    read: np.ndarray  # bytes of its document up to each token's end
    begin: int
    end: int
    spaced: bool  # encoding puts a space in front of a text

    @property
    def ended(self) -> np.ndarray:
        """Whether a token is one that ends a document."""
        ended: np.ndarray = self.within >= self.begin + self.lengths[self.document]
        return ended

    def tells(self, whole: np.ndarray, boundary: bool) -> np.ndarray:
        """Where it says what follows in the text, or that the document ends, or (after the end) that one begins.

        Args:
            whole: documents that end where the text does, bool.
            boundary: the end of a document is told by a token of either side.
        """
        place, lengths = self.within - self.begin, self.lengths[self.document]
        told = (place >= 0) & (place < lengths - 1)
        told |= (place == lengths - 1) & whole[self.document] & boundary
        if not self.spaced:
            told |= place == -1
        if self.end:
            told |= (place == lengths + self.end - 1) & (self.begin > 0)
        result: np.ndarray = told
        return result


class Pair:
    """The documents of one language and split, chosen and in order, in the tokens of student and teacher.

    Args:
        student, teacher: the corpus in their tokens.
        split, language: of it.
        rows: of the corpus, int64 [documents].
        kept: the student's tokens of each document, int64 [documents]; the last may be fewer than it has.
    """

    def __init__(
        self,
        student: EncodedCorpus,
        teacher: EncodedCorpus,
        split: str,
        language: str,
        rows: np.ndarray,
        kept: np.ndarray,
    ) -> None:
        self._corpora, self._rows = (student, teacher), rows
        self._ids = [corpus.ids(split, language) for corpus in self._corpora]
        lengths = [corpus.lengths(split, language) for corpus in self._corpora]
        self._starts = [(np.cumsum(each) - each)[rows] for each in lengths]
        self._lengths = [kept, lengths[1][rows]]
        self._bytes = [corpus.vocabulary()[:, 0] for corpus in self._corpora]
        self._whole = kept == lengths[0][rows]
        self._boundary = all(corpus.delimiters for corpus in self._corpora)
        self._both_end = all(corpus.begin and corpus.end for corpus in self._corpora)
        if len(rows) and not self._whole[-1]:
            self._lengths[1] = np.append(self._lengths[1][:-1], self._cut())

    def matched(self) -> Iterator[Matched]:
        """The documents in order, some at a time."""
        sizes = sum(each + corpus.delimiters for each, corpus in zip(self._lengths, self._corpora, strict=True))
        ends = np.cumsum(sizes)
        first = done = text = tokens = 0
        while first < len(ends):
            last = max(int(np.searchsorted(ends, done + _GROUP, side="right")), first + 1)
            student, teacher = (self._side(number, slice(first, last)) for number in (0, 1))
            yield self._match(student, teacher, self._whole[first:last], text, tokens)
            text += int(student.bytes.sum()) + 2 * (last - first)
            tokens += len(teacher.stream)
            first, done = last, int(ends[last - 1])

    def _cut(self) -> int:
        """The teacher's tokens of the last document that lie in what the student has of it."""
        parts = [
            amounts[ids[starts[-1] : starts[-1] + lengths[-1]]].cumsum() - corpus.prefix_bytes
            for amounts, ids, starts, lengths, corpus in zip(
                self._bytes, self._ids, self._starts, self._lengths, self._corpora, strict=True
            )
        ]
        return int(np.searchsorted(parts[1], parts[0][-1], side="right"))

    def _side(self, number: int, part: slice) -> _Side:
        corpus, lengths = self._corpora[number], self._lengths[number][part]
        around, starts = (corpus.begin, corpus.end), self._starts[number][part]
        stream = np.concatenate(list(packed(self._ids[number], starts, lengths, around=around)))
        sizes = lengths + corpus.delimiters
        ends = np.cumsum(sizes)
        document = np.repeat(np.arange(len(lengths)), sizes)
        within = np.arange(len(stream)) - (ends - sizes)[document]
        amounts = self._bytes[number][stream]
        amounts[(within < len(corpus.begin)) | (within >= (sizes - len(corpus.end))[document])] = 0
        read = np.cumsum(amounts)
        totals = read[ends - 1]
        before = np.concatenate([[0], totals[:-1]])
        spaces = corpus.prefix_bytes
        return _Side(
            stream,
            document,
            within,
            lengths,
            totals - before - spaces,
            np.maximum(read - before[document] - spaces, 0),
            len(corpus.begin),
            len(corpus.end),
            spaces > 0,
        )

    def _match(self, student: _Side, teacher: _Side, whole: np.ndarray, text: int, first: int) -> Matched:
        alike = (student.bytes == teacher.bytes) | ~whole
        # Of each document as many keys as the student reads bytes, and two more: none read, and ended.
        bases = text + np.cumsum(student.bytes + 2) - (student.bytes + 2)
        keys = [_keys(side, bases, student.bytes) for side in (student, teacher)]
        tells = [side.tells(whole, self._boundary) & alike[side.document] for side in (student, teacher)]
        if not self._both_end:
            tells = [each & ~side.ended for each, side in zip(tells, (student, teacher), strict=True)]
        places = np.searchsorted(keys[1], keys[0], side="right") - 1
        found = np.maximum(places, 0)
        met = (places >= 0) & (keys[1][found] == keys[0]) & tells[0] & tells[1][found]
        unlike = int(np.count_nonzero(~alike))
        places = np.where(met, found, -1)
        return Matched(student.stream, teacher.stream, keys[0], keys[1], places, first, unlike)


def _keys(side: _Side, bases: np.ndarray, most: np.ndarray) -> np.ndarray:
    """Bytes read after each token, over all documents; one more where its document has ended.

    Of a document that is other text to this side no more bytes are read than there are.
    """
    keys: np.ndarray = bases[side.document] + np.where(
        side.ended, most[side.document] + 1, np.minimum(side.read, most[side.document])
    )
    return keys


def barred_of(part: Matched, ways: Continuations, vocab_size: int) -> np.ndarray:
    """Of each of the student's tokens the node of what can't follow it, int64 [M]; −1: anything can.

    The student has one longer token for what it would be, so it would have read that one.

    Args:
        part: matched documents.
        ways: how the student's tokens go on in the teacher's.
        vocab_size: of the teacher.
    """
    at, ours = np.arange(len(part.teacher)), np.flatnonzero(part.places >= 0)
    barred, places = np.full(len(part.student), -1, np.int64), part.places[ours]
    last = np.full(len(at), -1)
    last[places] = places
    before = np.concatenate([[-1], np.maximum.accumulate(last)[:-1]])
    nodes = ways.walk(part.teacher, np.where(before >= 0, at - before, 0), vocab_size)[places]
    one = np.diff(ours, prepend=-1) == 1  # one token since both have last met
    own = ways.own[nodes] if len(ways.own) else nodes
    barred[ours] = np.where((nodes >= 0) & one & (own == part.student[ours]), nodes, -1)
    return barred


def nodes_of(part: Matched, ways: Continuations, vocab_size: int) -> np.ndarray:
    """The node that each of the student's tokens reaches, int64 [M]; −1: none, or both have not read its text alike.

    The teacher has read nothing since both have last met (inside of a token), or the one token that is the node's text.

    Args:
        part: matched documents.
        ways: nodes.
        vocab_size: of the student.
    """
    at = np.arange(len(part.student))
    last = np.maximum.accumulate(np.where(part.places >= 0, at, -1))
    before = np.concatenate([[-1], last[:-1]])
    nodes = ways.walk(part.student, np.where(before >= 0, at - before, 0), vocab_size)
    met, since = part.places >= 0, part.places[np.maximum(before, 0)]
    own = ways.own[nodes] if len(ways.own) else nodes
    whole = met & (part.places == since + 1) & (own == part.teacher[np.maximum(part.places, 0)])
    read = np.searchsorted(part.teacher_keys, part.student_keys, side="right") - 1
    inside = ~met & (read == since)
    result: np.ndarray = np.where((nodes >= 0) & (whole | inside), nodes, -1)
    return result
