"""A tokenizer cut to the tokens that a text needs.

Text whose tokens are all kept is encoded to the same tokens; any other text is spelled in smaller kept ones, down to
bytes or single characters, so nothing is lost that the whole tokenizer keeps. It holds because what encoding passes
through on its way to a kept token is kept too, and because dropping a token only takes choices away.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from orchestrator.artifacts import write_json
from orchestrator.errors import TokenizerError
from orchestrator.tokens.special import CONFIG, GENERATION, special_tokens
from orchestrator.tokens.tokenizer import load_tokenizer, take_tokenizer, tokenizer_file, vocabulary_size

_WHERE = "experts.vocabulary"
_WORD_START = "▁"
"""A space at SentencePiece's: its bytes would be decoded to this very character."""


class Trimming:
    """A tokenizer that can be cut.

    Attributes:
        folder: of its files.
        tokenizer: opened.
        size: rows that a model of it needs.
    """

    def __init__(self, folder: Path) -> None:
        """Open it.

        Raises:
            TokenizerError: there is none, it can't be read, or it is of a kind that can't be cut.
        """
        self.folder, self.tokenizer = folder, load_tokenizer(folder)
        self.size = vocabulary_size(self.tokenizer)
        self._described: dict[str, Any] = json.loads(tokenizer_file(folder).read_text(encoding="utf-8"))
        self._model: dict[str, Any] = self._described["model"]
        self._ids: dict[str, int] = self.tokenizer.get_vocab(with_added_tokens=True)
        self._names = {index: token for token, index in self._ids.items()}
        _check_kind(self._model)

    def chosen(self, counts_V: np.ndarray, keep: float) -> np.ndarray:
        """The fewest tokens that cover a share of a text, with what every text needs and what encoding passes through.

        Args:
            counts_V: how often each token occurs.
            keep: share of the occurrences to cover, at most 1.

        Returns:
            Their ids, ascending, int64 [K].
        """
        order = np.lexsort((np.arange(len(counts_V)), -counts_V))
        covered = np.cumsum(counts_V[order])
        needed = int(np.searchsorted(covered, keep * covered[-1] * (1 - 1e-12))) + 1
        frequent = [int(token) for token in order[:needed] if counts_V[token]]
        return np.array(sorted({*frequent, *self._always(), *self._passed(frequent)}), np.int64)

    def write(self, kept_K: np.ndarray, out: Path) -> tuple[np.ndarray, np.ndarray]:
        """Write the cut tokenizer's folder, and spell every token of the whole one in its tokens.

        Returns:
            `starts` [V+1] and `spelled` of :class:`orchestrator.tokens.kept.Kept`.

        Raises:
            TokenizerError: the cut tokenizer can't be opened, or numbers its tokens otherwise.
        """
        own = {int(token): place for place, token in enumerate(kept_K)}
        take_tokenizer(self.folder, out)
        cut = json.dumps(self._cut(own), ensure_ascii=False)
        (out / "tokenizer.json").write_text(cut, encoding="utf-8")
        _renumber_files(out, own)
        found = load_tokenizer(out)
        expected = {name: own[index] for name, index in self._ids.items() if index in own}
        if found.get_vocab(with_added_tokens=True) != expected:
            raise _refused("its added tokens lie between its others, which can't be numbered anew")
        return self._spelled(found, own)

    def _always(self) -> set[int]:
        """Added tokens, those with a role, and bytes or single characters."""
        special = special_tokens(self.folder, self.tokenizer)
        roles = (special.bos, special.unk, *special.eos, *special.begin, *special.end)
        found = {*self.tokenizer.get_added_tokens_decoder(), *(role for role in roles if role is not None)}
        single = [f"<0x{byte:02X}>" for byte in range(256)]
        if not self._model.get("byte_fallback") or not all(name in self._ids for name in single):
            single = [name for name in self._ids if len(name) == 1]
        found |= {self._ids[name] for name in (*single, _WORD_START) if name in self._ids}
        if self._model["type"] == "Unigram":
            # What is not in the vocabulary costs so much less than the unlikeliest piece: that one is kept.
            scores = [score for _, score in self._model["vocab"]]
            found.add(int(np.argmin(scores)))
        return found

    def _passed(self, wanted: Iterable[int]) -> set[int]:
        """What encoding passes through on its way to some tokens: the merges of byte-pair encoding, one by one."""
        if self._model["type"] == "Unigram":
            return set()
        ranks = {pair: rank for rank, pair in enumerate(_merges(self._model))}
        added = self.tokenizer.get_added_tokens_decoder()  # found in the text as they are
        parts = {part for token in wanted if token not in added for part in _built(self._names[token], ranks)}
        return {self._ids[part] for part in parts if part in self._ids}

    def _cut(self, own: Mapping[int, int]) -> dict[str, Any]:
        """`tokenizer.json` with the kept tokens alone."""
        model = dict(self._model)
        if model["type"] == "Unigram":
            model["vocab"] = [entry for index, entry in enumerate(model["vocab"]) if index in own]
            model["unk_id"] = None if model.get("unk_id") is None else own[model["unk_id"]]
        else:
            vocab = sorted((index, name) for name, index in model["vocab"].items() if index in own)
            model["vocab"] = {name: own[index] for index, name in vocab}
            known = model["vocab"]
            model["merges"] = [[a, b] for a, b in _merges(model) if a in known and b in known and a + b in known]
        added = [{**entry, "id": own[entry["id"]]} for entry in self._described.get("added_tokens", [])]
        after = _renumbered(self._described.get("post_processor"), own)
        return {
            **self._described,
            "truncation": None,
            "padding": None,
            "added_tokens": added,
            "post_processor": after,
            "model": model,
        }

    def _spelled(self, cut: Tokenizer, own: Mapping[int, int]) -> tuple[np.ndarray, np.ndarray]:
        spelled: list[list[int]] = []
        for index in range(self.size):
            if index in own:
                spelled.append([own[index]])
            else:  # an id without a token stands for nothing
                name = self._names.get(index)
                spelled.append([] if name is None else [token.id for token in cut.model.tokenize(name)])
        starts = np.cumsum([0, *map(len, spelled)])
        return starts, np.array([token for each in spelled for token in each], np.int64)


def _check_kind(model: Mapping[str, Any]) -> None:
    if model.get("type") not in ("BPE", "Unigram"):
        raise _refused(f"it is {model.get('type')}, and only BPE and Unigram can be cut")
    for name in ("continuing_subword_prefix", "end_of_word_suffix", "dropout"):
        if model.get(name):
            raise _refused(f"its model has a {name}")


def _refused(why: str) -> TokenizerError:
    fix = "leave experts.vocabulary out: experts then have the whole vocabulary"
    return TokenizerError(f"this tokenizer can't be cut to a language: {why}", _WHERE, fix)


def _merges(model: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Pairs in the order of their ranks: some files write them with a space between.

    Raises:
        TokenizerError: that space is not the only one.
    """
    pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
    if any(len(pair) != 2 for pair in pairs):
        raise _refused("its merges have spaces in their tokens, so nobody can tell where one ends")
    return [(first, second) for first, second in pairs]


def _built(token: str, ranks: Mapping[tuple[str, str], int]) -> set[str]:
    """A token's characters, and what its merges make of them on the way to it."""
    pieces = list(token)
    found = set(pieces)
    while len(pieces) > 1:
        rank, place = min((ranks.get(pair, inf), place) for place, pair in enumerate(pairwise(pieces)))
        if rank == inf:
            break
        pieces[place : place + 2] = [pieces[place] + pieces[place + 1]]
        found.add(pieces[place])
    return found


def _renumbered(processor: Any, own: Mapping[int, int]) -> Any:
    """A post-processor that writes the same tokens by their own ids.

    Raises:
        TokenizerError: it is of an unknown kind.
    """
    match None if processor is None else processor["type"]:
        case None | "ByteLevel":
            return processor
        case "Sequence":
            return {**processor, "processors": [_renumbered(each, own) for each in processor["processors"]]}
        case "TemplateProcessing":
            special = processor["special_tokens"].items()
            ids = {name: {**entry, "ids": [own[index] for index in entry["ids"]]} for name, entry in special}
            return {**processor, "special_tokens": ids}
        case "BertProcessing" | "RobertaProcessing":
            return {**processor, **{key: [processor[key][0], own[processor[key][1]]] for key in ("sep", "cls")}}
        case kind:
            raise _refused(f"its post-processor is {kind}")


def _renumber_files(folder: Path, own: Mapping[int, int]) -> None:
    """Ids in the files beside `tokenizer.json`."""
    if (folder / CONFIG).is_file():
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        if added := config.get("added_tokens_decoder"):
            config["added_tokens_decoder"] = {str(own[int(i)]): entry for i, entry in added.items() if int(i) in own}
            write_json(folder / CONFIG, config)
    if (folder / GENERATION).is_file():
        config = json.loads((folder / GENERATION).read_text(encoding="utf-8"))
        for name in (name for name in config if name.endswith("_token_id") and config[name] is not None):
            ids = config[name] if isinstance(config[name], list) else [config[name]]
            new = [own[index] for index in ids if index in own]
            config[name] = new if isinstance(config[name], list) else next(iter(new), None)
        write_json(folder / GENERATION, config)
