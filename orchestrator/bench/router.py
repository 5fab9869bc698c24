"""The prompt router beside public language identifiers: error, calibration, rejection and speed, on held-out text."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from orchestrator.bench import _router_data as data
from orchestrator.bench._router_peers import PROSE, Identify, code_peers, prose_peers
from orchestrator.bench._rows import Row, compare, notice, single
from orchestrator.evaluation.calibration import calibration_error
from orchestrator.routers import Router, TextRouter
from orchestrator.routers._router import save_routers
from orchestrator.routers.prompt import Prompt
from orchestrator.routers.text.found import unlearned
from orchestrator.routers.text.outside import cut_outside
from orchestrator.routers.text.pieces import Lengths, Pieces
from orchestrator.routers.text.words import bare

WHOLE = "4400 characters"
"""About 1024 tokens of a vocabulary of 32,000."""
CLEAR = "without pieces that all peers give one other language"
"""Novels in English quote French: a piece of twenty characters may be in another language than its document."""
COVERAGE, REJECTED, ECE, LINES = 0.95, 0.95, 0.01, 0.02

Pieced = Mapping[str, Mapping[str, Sequence[str]]]
"""Language -> length -> pieces."""
Labelled = tuple[list[str], NDArray[np.str_]]


@dataclass(frozen=True)
class Routing:
    """Routers trained on each corpus, tested on both.

    Every piece begins at a word and holds a letter. Python of less than 256 characters is cut from code without its
    comments and docstrings, and holds a sign of code. The router chooses among the prose languages, Python and (for
    rejection) none; peers among the prose languages alone, which is the easier choice.
    """

    pieces: int = 2000
    repeats: int = 5
    training_pieces: int = Prompt.pieces
    characters: int = 12_000_000

    def rows(self) -> Iterator[Row]:
        """For each corpus trained on: errors by corpus tested on and length, then calibration, rejection, speed."""
        names = data.corpora()
        for trained in names:
            router = self._train(trained)
            for tested in names:
                yield from self._errors(router, f"{trained} → {tested}", self._pieces(tested, trained))
            own = self._pieces(trained, trained)
            yield from self._rejection(router, trained, own)
            yield from self._lines(router, trained)
            if trained == names[-1]:
                yield from self._speed(router, own)

    def _train(self, corpus: str) -> TextRouter:
        few = min(Prompt.calibration_pieces, self.training_pieces)
        plugin = Prompt(pieces=self.training_pieces, calibration_pieces=few)
        begin = time.perf_counter()
        texts = data.training(corpus, self.characters)
        router = plugin.train(texts, [bytes([i]) for i in range(256)], seed=17, threads=1)[plugin.classifier]
        notice(f"trained on {corpus} in {time.perf_counter() - begin:.0f} s")
        assert isinstance(router, TextRouter)
        return router

    def _pieces(self, tested: str, trained: str) -> Pieced:
        lengths = Lengths.buckets(self.pieces)
        lengths.characters[int(WHOLE.split()[0])] = self.pieces
        pieces = {language: Pieces(some) for language, some in data.testing(tested, trained).items()}
        pieces["py"] = self._python
        return {language: some.cut(lengths, np.random.default_rng(7)) for language, some in pieces.items()}

    def _errors(self, router: TextRouter, case: str, pieces: Pieced) -> Iterator[Row]:
        for length in pieces[PROSE[0]]:
            if any(pieces[language].get(length) for language in PROSE):
                yield from self._beside_peers(router, f"{case}, {length}", _labelled(pieces, length, PROSE))
                whole = _labelled(pieces, length, router.languages)
                yield from self._with_python(router, f"{case}, {length}", whole, paper=length == WHOLE)

    def _beside_peers(self, router: TextRouter, case: str, pieces: Labelled) -> Iterator[Row]:
        texts, labels = pieces
        answers = {name: np.array([identify(t) or "" for t in texts]) for name, identify in self._peers.items()}
        wrong = _answers(router, texts) != labels
        yield _beside(case, wrong, {name: each != labels for name, each in answers.items()})
        clear = _clear(list(answers.values()), labels)
        if not clear.all():
            peers = {name: (each != labels)[clear] for name, each in answers.items()}
            yield _beside(f"{case}, {CLEAR}", wrong[clear], peers)

    def _with_python(self, router: TextRouter, case: str, pieces: Labelled, paper: bool) -> Iterator[Row]:
        texts, labels = pieces
        right = _answers(router, texts) == labels
        found = calibration_error(router.route(texts)[0].max(axis=1), right)
        yield single(f"{case}, with py (goal {ECE})", "ece", "", found, ECE)
        if paper:
            least = 0.5 / len(texts)
            yield single(f"{case}, with py (the paper's)", "error", "", max(1 - right.mean(), least), 0.0005)

    def _rejection(self, router: TextRouter, trained: str, inside: Pieced) -> Iterator[Row]:
        """Share of outside text rejected where 95 % of the languages' is kept: by length, over all, and by kind."""
        each = max(50, self.pieces // 10)
        rng = np.random.default_rng(5)
        cut = {kind: cut_outside(kind, some, Lengths.buckets(each), rng) for kind, some in self._outside.items()}
        by_kind: dict[str, list[NDArray[np.bool_]]] = {}
        kept: list[NDArray[np.float64]] = []
        outside: list[NDArray[np.float64]] = []
        for length in next(found for found in cut.values() if found):
            texts, _ = _labelled(inside, length, router.languages)
            kept.append(router.route(texts)[1])
            threshold = np.quantile(kept[-1], COVERAGE)
            rejected = {kind: router.route(found[length])[1] for kind, found in cut.items() if found.get(length)}
            outside += rejected.values()
            away = {kind: some > threshold for kind, some in rejected.items()}
            for kind, some in away.items():
                by_kind.setdefault(kind, []).append(some)
            for name, start in (("text of no expert", ""), ("of languages and code that are unseen", "unseen/")):
                share = _share(some for kind, some in away.items() if kind.startswith(start))
                yield single(f"{trained}, {length}, {name} (goal {REJECTED})", "rejected", "", share, REJECTED)
        share = _share([np.concatenate(outside) > np.quantile(np.concatenate(kept), COVERAGE)])
        yield single(f"{trained}, all lengths, one threshold (goal {REJECTED})", "rejected", "", share, REJECTED)
        words = [word for found in cut.values() for word in found.get("1 word", ())]
        yield single(
            f"{trained}, 1 word, words of no expert", "in training", "", self._known(words, trained), 1 - REJECTED
        )
        for kind, found in by_kind.items():
            yield single(f"{trained}, all lengths, {kind} (goal {REJECTED})", "rejected", "", _share(found), REJECTED)

    def _known(self, words: Sequence[str], corpus: str) -> float:
        """Share of words that occur in the text of the languages that a router learns from, whatever their case."""
        texts = (text for some in data.training(corpus, self.characters).values() for text in some.train)
        known = {bare(word) for text in texts for word in text.lower().split()}
        return float(np.mean([bare(word.lower()) in known for word in words]))

    def _lines(self, router: TextRouter, case: str) -> Iterator[Row]:
        """Single lines of Python code, without comments and docstrings, of three characters and a letter at least."""
        lines = [
            line
            for text in self._python.short
            for line in text.splitlines()
            if re.search(r"[^\W\d_]", line) and len(line.strip()) > 2
        ]
        rng = np.random.default_rng(3)
        chosen = [lines[i] for i in rng.permutation(len(lines))[: self.pieces]]
        wrong = router.route(chosen)[0].argmax(axis=1) != router.languages.index("py")
        for name, identify in self._code_peers.items():
            theirs = 1 - float(np.mean(identify(chosen)))
            yield single(f"{case}, lines of Python (beside {name})", "error", "", float(wrong.mean()), theirs)
        yield single(f"{case}, lines of Python (goal {LINES})", "error", "", float(wrong.mean()), LINES)

    def _speed(self, router: TextRouter, pieces: Pieced) -> Iterator[Row]:
        texts, _ = _labelled(pieces, "100 characters", PROSE)
        for case, goal, ours in (
            ("100 characters, a batch (goal 20)", 20.0, lambda: router.route(texts)),
            ("100 characters, one at a time (goal 50)", 50.0, lambda: [router.route([text]) for text in texts]),
        ):
            yield compare(case, "time a document", "µs", _micros(ours, len(texts), self.repeats), [goal])
        alone = _micros(lambda: [router.route([text]) for text in texts], len(texts), self.repeats)
        for name, identify in self._peers.items():
            theirs = _micros(lambda identify=identify: list(map(identify, texts)), len(texts), 1)  # type: ignore[misc]
            yield compare(f"100 characters, one at a time (beside {name})", "time a document", "µs", alone, theirs)
        yield from self._storage(router)

    def _storage(self, router: TextRouter) -> Iterator[Row]:
        """Size of the stored router, and time from there to a first answer."""
        with TemporaryDirectory() as name:
            folder = Path(name)
            save_routers(folder, "prompt", {Prompt.classifier: router}, Prompt.classifier)
            yield single("on disk", "size", "MB", sum(path.stat().st_size for path in folder.iterdir()) / 1e6, 20.0)
            loads = _micros(lambda: Router.load(folder).rejection([[1]]), 1000, self.repeats)
            yield compare("load and answer (goal 200)", "time", "ms", loads, [200.0])

    @cached_property
    def _python(self) -> Pieces:
        return Pieces(data.untrained_python())

    @cached_property
    def _peers(self) -> dict[str, Identify]:
        return prose_peers()

    @cached_property
    def _code_peers(self) -> dict[str, Callable[[Sequence[str]], list[bool]]]:
        return code_peers()

    @cached_property
    def _outside(self) -> dict[str, list[str]]:
        """Other texts of languages and code that were trained on, those that nothing was trained on, generated text."""
        return unlearned((*PROSE, "py"), 40 * self.pieces, np.random.default_rng(99))


def _answers(router: TextRouter, texts: Sequence[str]) -> NDArray[np.str_]:
    return np.asarray(np.array(router.languages)[router.route(texts)[0].argmax(axis=1)], np.str_)


def _labelled(pieces: Pieced, length: str, languages: Sequence[str]) -> Labelled:
    texts = [text for language in languages for text in pieces[language].get(length, ())]
    return texts, np.repeat(np.array(languages), [len(pieces[language].get(length, ())) for language in languages])


def _share(found: Iterable[NDArray[np.bool_]]) -> float:
    whole = np.concatenate([*found, np.empty(0, np.bool_)])
    return float(whole.mean()) if len(whole) else float("nan")


def _clear(answers: Sequence[NDArray[np.str_]], labels: NDArray[np.str_]) -> NDArray[np.bool_]:
    """Which pieces some peer gives their label, or the peers disagree on."""
    if len(answers) < 2:
        return np.ones(len(labels), np.bool_)
    same = np.logical_and.reduce([each == answers[0] for each in answers[1:]])
    return np.asarray(~same | (answers[0] == labels))


def _beside(case: str, wrong: NDArray[np.bool_], peers: Mapping[str, NDArray[np.bool_]]) -> Row:
    """Error beside that of the best peer; no error counts as half a piece, so that ratios exist."""
    least = 0.5 / len(wrong)
    best = min(peers, key=lambda name: float(peers[name].mean())) if peers else "none"
    theirs = max(float(peers[best].mean()), least) if peers else float("nan")
    return single(f"{case} (beside {best}, {len(wrong)} pieces)", "error", "", max(float(wrong.mean()), least), theirs)


def _micros(action: Callable[[], object], count: int, repeats: int) -> list[float]:
    found = []
    for _ in range(repeats):
        begin = time.perf_counter()
        action()
        found.append(1e6 * (time.perf_counter() - begin) / count)
    return found
