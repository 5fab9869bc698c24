"""The prompt router beside public language identifiers: error, calibration, rejection and speed, on held-out text."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from benchmarks import _router_data as data
from benchmarks import _router_found
from benchmarks._router_peers import PROSE, Identify, code_peers, prose_peers
from benchmarks._router_rejection import NoLanguage, cut, rejection, vocabulary
from benchmarks._rows import Row, compare, notice, single
from orchestrator.evaluation.calibration import calibration_error
from orchestrator.routers import TextRouter, load_router, save_routers
from orchestrator.routers.prompt import Prompt
from orchestrator.routers.text import shipped
from orchestrator.routers.text.no_language import generated
from orchestrator.routers.text.pieces import Lengths, Pieces
from orchestrator.routers.text.tags import own_kinds

WHOLE = "4400 characters"
"""About 1024 tokens of a vocabulary of 32,000."""
CLEAR = "without pieces that all peers give one other language"
"""Novels in English quote French: a piece of twenty characters may be in another language than its document."""
ECE, LINES = 0.01, 0.02

Pieced = Mapping[str, Mapping[str, Sequence[str]]]
"""Language -> length -> pieces."""
Labelled = tuple[list[str], NDArray[np.str_]]


@dataclass(frozen=True)
class Routing:
    """Routers trained on each corpus and on the text that ships, tested on both corpora.

    Every piece begins at a word and holds a letter. Python of less than 256 characters is cut from code without its
    comments and docstrings, and holds a sign of code. The router chooses among the prose languages, Python and (for
    rejection) none; peers among the prose languages alone, which is the easier choice.
    """

    pieces: int = 8000
    repeats: int = 5
    training_pieces: int = Prompt.pieces
    characters: int = 12_000_000

    def rows(self) -> Iterator[Row]:
        """For each corpus trained on: errors by corpus tested on and length, then calibration, rejection, speed."""
        notice(_training_set())
        names = data.corpora()
        yield from self._skipped()
        for trained in names:
            router = self._train(trained)
            for tested in names:
                case = f"{trained} → {tested}"
                pieces = self._pieces(tested, trained)
                yield from self._errors(router, case, pieces)
                yield from self._calibration(router, case, pieces)
            own = self._pieces(trained, trained)
            inside = {length: _labelled(own, length, router.languages)[0] for length in own["py"]}
            yield from rejection(router, trained, inside, self._no_language)
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
        lengths.characters[int(WHOLE.split()[0])] = max(1, self.pieces // 4)
        pieces = {language: Pieces(some) for language, some in data.testing(tested, trained).items()}
        pieces["py"] = self._python
        found = {language: some.cut(lengths, np.random.default_rng(7)) for language, some in pieces.items()}
        there = [length for length in found["py"] if any(found[language].get(length) for language in PROSE)]
        return {language: {length: some.get(length, []) for length in there} for language, some in found.items()}

    def _errors(self, router: TextRouter, case: str, pieces: Pieced) -> Iterator[Row]:
        for length in pieces["py"]:
            yield from self._beside_peers(router, f"{case}, {length}", _labelled(pieces, length, PROSE))
        if WHOLE in pieces["py"]:
            texts, labels = _labelled(pieces, WHOLE, router.languages)
            error = max(float((_answers(router, texts) != labels).mean()), 0.5 / len(texts))
            yield single(f"{case}, {WHOLE}, with py (the paper's)", "error", "", error, 0.0005)

    def _beside_peers(self, router: TextRouter, case: str, pieces: Labelled) -> Iterator[Row]:
        texts, labels = pieces
        answers = {name: np.array([identify(t) or "" for t in texts]) for name, identify in self._peers.items()}
        wrong = _answers(router, texts) != labels
        yield _beside(case, wrong, {name: each != labels for name, each in answers.items()})
        clear = _clear(list(answers.values()), labels)
        if not clear.all():
            peers = {name: (each != labels)[clear] for name, each in answers.items()}
            yield _beside(f"{case}, {CLEAR}", wrong[clear], peers)

    def _calibration(self, router: TextRouter, case: str, pieces: Pieced) -> Iterator[Row]:
        for length in pieces["py"]:
            texts, labels = _labelled(pieces, length, router.languages)
            right = _answers(router, texts) == labels
            found = calibration_error(router.route(texts)[0].max(axis=1), right)
            yield single(f"{case}, {length}, with py (goal {ECE})", "ece", "", found, ECE)

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
            loads = _micros(lambda: load_router(folder).rejection([[1]]), 1000, self.repeats)
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

    def _skipped(self) -> Iterator[Row]:
        """Files of this machine that can't be read, beside those that were: rejection is measured with the latter."""
        found = self._found
        for path in found.skipped:
            notice(f"skipped, for it can't be read: {path}")
        case = "text of no language found here (beside files read)"
        yield single(case, "skipped", "files", len(found.skipped), max(1, found.read))

    @cached_property
    def _found(self) -> _router_found.Found:
        return _router_found.find()

    @cached_property
    def _no_language(self) -> dict[str, NoLanguage]:
        """Other texts of languages and code that were trained on, those that nothing was trained on, generated text."""
        texts = [data.training(corpus, self.characters) for corpus in data.corpora()]
        words = [vocabulary([text for own in texts for text in own[name].train]) for name in (*PROSE, "py")]
        own = own_kinds({**dict.fromkeys(PROSE, False), "py": True})
        kinds = self._found.to_test([kind for kinds in own.values() for kind in kinds])
        kinds |= generated(10 * self.pieces, np.random.default_rng(99))
        return cut(kinds, max(50, self.pieces // 40), words, np.random.default_rng(5))


def _training_set() -> str:
    """What routers learn beside each corpus, as a line."""
    found = shipped.about()
    tags, registers = found["tags"][shipped.LEARNED], found["registers"][shipped.LEARNED]
    return (
        f"beside each corpus, routers learn {found['texts'][shipped.LEARNED]:,} texts that ship, of "
        f"{tags['natural']} languages and {tags['code']} kinds of code ({', '.join(registers)}; "
        f"{', '.join(found['origins'])}, {', '.join(found['licences'])})"
    )


def _answers(router: TextRouter, texts: Sequence[str]) -> NDArray[np.str_]:
    return np.asarray(np.array(router.languages)[router.route(texts)[0].argmax(axis=1)], np.str_)


def _labelled(pieces: Pieced, length: str, languages: Sequence[str]) -> Labelled:
    texts = [text for language in languages for text in pieces[language][length]]
    return texts, np.repeat(np.array(languages), [len(pieces[language][length]) for language in languages])


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
