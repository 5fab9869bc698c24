"""A MoME mixture without MoME: which expert a text goes to, and how that expert continues it.

Needs numpy and onnxruntime.

    python mixture.py "Où est la gare ?"

This is a reference: it is short rather than fast, and shows all that another program has to do.
"""

from __future__ import annotations

import json
import re
import sys
import unicodedata
from itertools import pairwise
from math import exp, log, sqrt
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import onnxruntime

SPACES = {*"\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000", *map(chr, range(0x2000, 0x200B))}
WORD = re.compile(r" ?L+| ?N+| ?\.+|[ _]+(?![LN.])|[ _]+")
ENDING = re.compile("'(?:[sdmt]|re|ve|ll)")


class Tokens:
    """Byte-level BPE as GPT-2 has it, from `tokenizer.json`; `digits`: each digit is a word, as in SmolLM's."""

    def __init__(self, folder: Path, digits: bool = False) -> None:
        model = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
        self.ids: dict[str, int] = model["vocab"]
        merges = [tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in model["merges"]]
        self.ranks = {pair: rank for rank, pair in enumerate(merges)}
        self.pieces = re.compile("N|[^N]+" if digits else ".+")
        shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
        hidden = [byte for byte in range(256) if byte not in shown]
        self.letters = {byte: chr(byte) for byte in shown} | {byte: chr(256 + i) for i, byte in enumerate(hidden)}
        bytes_of = {letter: byte for byte, letter in self.letters.items()}
        self.bytes = {i: bytes(bytes_of[c] for c in t) for t, i in self.ids.items() if all(c in bytes_of for c in t)}

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without the begin token."""
        text = text.encode("utf-8", "replace").decode()
        kinds = "".join(c if c == " " else "_" if c in SPACES else kind_of(c) for c in text)
        found = list[int]()
        for piece in self.pieces.finditer(kinds):
            at, stop = piece.span()
            while at < stop:
                end = (ENDING.match(text, at, stop) or WORD.match(kinds, at, stop)).end()  # type: ignore[union-attr]
                found += self.merged(text[at:end])
                at = end
        return found

    def merged(self, word: str) -> list[int]:
        """Ids of a word: of neighbours, the pair of the lowest rank becomes one, until there is none."""
        parts = [self.letters[byte] for byte in word.encode()]
        while len(parts) > 1:
            ranks = [self.ranks.get(pair, len(self.ranks)) for pair in pairwise(parts)]
            best = min(range(len(ranks)), key=ranks.__getitem__)
            if ranks[best] == len(self.ranks):
                break
            parts[best : best + 2] = ["".join(parts[best : best + 2])]
        return [self.ids[part] for part in parts]

    def decode(self, ids: list[int]) -> str:
        """The text of ids."""
        return b"".join(self.bytes.get(i, b"") for i in ids).decode("utf-8", "replace")


def kind_of(character: str) -> str:
    """Letter, number or other."""
    kind = unicodedata.category(character)[0]
    return kind if kind in "LN" else "."


class PromptRouter:
    """Sums of the weights of a text's n-grams and words, calibrated by its length."""

    def __init__(self, arrays: dict[str, Any], about: dict[str, Any]) -> None:
        self.a, self.about, self.count = arrays, about, len(about["languages"])

    def route(self, text: str) -> tuple[list[float], float]:
        """Probability of each language, given that it is one of them, and of text of no language."""
        about, a = self.about, self.a
        head, span, middle = about["head"], about["span"], len(text) // 2
        if len(text) > about["longest"]:
            text = text[:head] + text[middle : middle + span] + text[-span:]
        if not any(c.isprintable() and c != " " for c in text):
            return [1 / self.count] * self.count, 1.0
        padded = about["pad"] + text + about["pad"]
        codes = np.frombuffer(padded.encode("utf-32-le", "surrogatepass"), np.uint32)
        places, orders = len(codes) - len(about["pad"]), len(about["factors"])
        terms = [codes[o : o + places] * np.uint32(f) for o, f in enumerate(about["factors"])]
        hashes = np.cumsum(terms, axis=0, dtype=np.uint32)
        words = text[: about["word_head"]].lower().split(None, about["words"])[: about["words"]]
        crcs = [crc32(word.strip(about["marks"]).encode("utf-8", "surrogatepass")) for word in words]
        shift = np.uint32(33 - len(a["weights"]).bit_length())
        sums = a["weights"][hashes >> shift].astype(np.float64).sum((0, 1))
        sums += about["word_weight"] * a["weights"][np.array(crcs, np.uint32) >> shift].astype(np.float64).sum(0)
        bits = about["ngram_bits"]
        unseen = float((1 - np.unpackbits(a["ngrams"])[hashes[-1] >> np.uint32(32 - bits)]).sum())
        mask = (1 << about["word_bits"]) - 1
        known = sum(int(a["words"][(c & mask) >> 3]) >> (c & 7) & 1 for c in crcs) / (len(crcs) or 1)
        scale = 1 / sqrt(places * orders)
        both = (sums[:-1] * scale + a["bias"][:-1]).tolist()
        scores = both[: self.count]
        first, second = [*sorted(scores, reverse=True), 0.0][:2]
        none, familiar = log(sum(map(exp, both[self.count :]))), float(sums[-1])
        seen = (none, first, first - second, familiar * scale**2, unseen * scale**2, known)
        *slopes, intercept = a["rejections"][scores.index(first), len(text)].tolist()
        logit = sum(s * x for s, x in zip(slopes, seen, strict=True)) + intercept
        odds = [exp((score - first) * a["temperatures"][len(text)]) for score in scores]
        return [odd / sum(odds) for odd in odds], 1 / (1 + exp(-min(max(logit, -30.0), 30.0)))


class PaperRouter:
    """TF-IDF over token ids, and a linear classifier or a random forest."""

    def __init__(self, arrays: dict[str, Any], about: dict[str, Any], tokens: Tokens) -> None:
        self.a, self.about, self.tokens = arrays, about, tokens
        self.column = {int(token): column for column, token in enumerate(arrays["features"])}

    def route(self, text: str) -> tuple[list[float], float]:
        """See :class:`PromptRouter`; this one knows no text of no language."""
        a, row = self.a, np.zeros(len(self.column))
        for token in self.tokens.encode(text):
            if token in self.column:
                row[self.column[token]] += a["idf"][self.column[token]]
        if not row.any():
            return [float(share) for share in a["prior"]], 0.0
        row /= sqrt(float(row @ row))
        if self.about["kind"] == "forest":
            nodes, single = a["roots"], row.astype(np.float32)
            while not np.array_equal(nodes, down := self.children(nodes, single)):
                nodes = down
            return [float(share) for share in a["shares"][nodes].mean(0)], 0.0
        scores = a["weights"] @ row + a["bias"]
        logs = -np.logaddexp(0.0, -scores) if self.about["link"] == "one_vs_rest" else scores
        odds = np.exp(logs - logs.max())
        return [float(odd) for odd in odds / odds.sum()], 0.0

    def children(self, nodes: Any, row: Any) -> Any:
        """Where each tree goes on from a node; a leaf is its own child."""
        left = row[self.a["feature"][nodes]] <= self.a["threshold"][nodes]
        return np.where(left, self.a["left"][nodes], self.a["right"][nodes])


class Mixture:
    """A folder that `mome export --to mixture` has written."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.about = folder, json.loads((folder / "mixture.json").read_text(encoding="utf-8"))
        arrays, about = dict(np.load(folder / "router.npz", allow_pickle=False)), self.about["router"]
        if about["reads"] == "text":
            self.router: PromptRouter | PaperRouter = PromptRouter(arrays, about)
        else:
            self.router = PaperRouter(arrays, about, Tokens(folder, self.about["digits"]))
        self.tokens: dict[str, Tokens] = {}
        self.sessions: dict[str, Any] = {}

    def route(self, text: str) -> tuple[str | None, dict[str, float], float]:
        """The expert (None: the text is refused), the languages' probabilities, and that of text of no language."""
        shares, rejected = self.router.route(text)
        names, experts, policy = self.about["router"]["languages"], self.about["experts"], self.about["policy"]
        best = max((name for name in names if name in experts), key=lambda name: shares[names.index(name)])
        to = best if policy["reject"] == "best" or rejected <= policy["reject_above"] else policy["reject"]
        expert = None if to == "error" else to if to in experts else best
        return expert, {name: share * (1 - rejected) for name, share in zip(names, shares, strict=True)}, rejected

    def encode(self, expert: str, text: str) -> list[int]:
        """A text as the expert was trained: in its own tokens, after its begin token."""
        tokens = self.tokens_of(expert)
        return [*self.about["experts"][expert]["begin"], *tokens.encode(text)] or tokens.encode("\n")

    def tokens_of(self, expert: str) -> Tokens:
        """An expert's tokens: those of all, or those that its language needs."""
        if expert not in self.tokens:
            self.tokens[expert] = Tokens(self.folder / "experts" / expert, self.about["digits"])
        return self.tokens[expert]

    def greedy(self, expert: str, ids: list[int], count: int) -> list[int]:
        """The most probable tokens after `ids`, without the end token."""
        if expert not in self.sessions:
            file = self.folder / "experts" / expert / "model.onnx"
            self.sessions[expert] = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        session = self.sessions[expert]
        caches = {i.name: np.zeros((1, i.shape[1], 0, i.shape[3]), np.float32) for i in session.get_inputs()[3:]}
        found, inputs = list[int](), list(ids)
        while len(found) < count:
            total = len(ids) + len(found)
            rows = {"input_ids": np.array([inputs]), "attention_mask": np.ones((1, total), np.int64)}
            rows["position_ids"] = np.arange(total - len(inputs), total)[None]
            logits, *present = session.run(None, rows | caches)
            caches, inputs = dict(zip(caches, present, strict=True)), [int(logits[0, -1].argmax())]
            if inputs[0] in self.about["experts"][expert]["ends"]:
                break
            found += inputs
        return found

    def answer(self, text: str, model: str = "auto", count: int = 32) -> tuple[str, str]:
        """The expert, and the text that it continues with."""
        expert = self.route(text)[0] if model == "auto" else model
        if expert is None:
            raise ValueError("the router takes this for text of no language")
        ids = self.encode(expert, text)
        made = self.greedy(expert, ids, min(count, self.about["context"] - len(ids)))
        return expert, self.tokens_of(expert).decode(made)


if __name__ == "__main__":
    print(*Mixture(Path(__file__).parent).answer(sys.argv[1]), sep=": ")
