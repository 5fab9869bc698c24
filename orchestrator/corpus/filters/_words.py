"""Words of a text for rules that count them, whatever its script; and words that a language can hardly do without."""

from __future__ import annotations

from collections import Counter
from functools import cache

from orchestrator.corpus.deduplication import comparable_units
from orchestrator.routers.text import shipped
from orchestrator.routers.text.tags import NATURAL, tags

UNSPACED = frozenset(("zh", "ja", "th", "lo", "km", "my", "bo", "yue", "wuu", "lzh", "dz"))
"""Languages whose words are not parted by spaces: their characters are counted."""
_CHARACTERS_A_WORD = 2.0
"""Characters of such a script that count as a word, about what segmenters find in Chinese and Japanese."""
_STOP_WORDS = 30
_OFTEN, _COVERAGE = 3, 0.15
"""Texts that a frequent word stands in, and the share of all words that these are, at least: languages that build
words of many parts (Korean, Finnish, Turkish) have less of them, and a text may well have none."""
_MARKS = ".,;:!?…\"'“”„«»‘’()[]{}-–—*/。，、！？；：「」『』（）।॥۔؟،؛"


def is_unspaced(language: str) -> bool:
    """Whether a language, by its name in a recipe, parts no words by spaces."""
    return not UNSPACED.isdisjoint(tags(language, NATURAL))


def words_of(text: str, language: str) -> list[str]:
    """Words between spaces; of languages without spaces their characters, and words of other scripts."""
    return comparable_units(text) if is_unspaced(language) else text.split()


def word_count(words: list[str], language: str) -> float:
    """How many words they are, where characters stand for parts of words."""
    if not is_unspaced(language):
        return len(words)
    single = sum(len(word) == 1 for word in words)
    return len(words) - single + single / _CHARACTERS_A_WORD


@cache
def stop_words(language: str) -> frozenset[str]:
    """The words (characters) of a language that are in most of its texts that ship; none where that says too little."""
    kinds = [f"{NATURAL}/{tag}" for tag in tags(language, NATURAL)]
    texts = [text for kind in kinds for some in (shipped.learned(), shipped.tested()) for text in some.get(kind, ())]
    words = [[plain for word in words_of(text, language) if (plain := bare(word))] for text in texts]
    counts = Counter(word for some in words for word in set(some))
    found = frozenset(word for word, count in counts.most_common(_STOP_WORDS) if count >= _OFTEN)
    covered = sum(word in found for some in words for word in some)
    return found if covered > _COVERAGE * sum(map(len, words)) else frozenset()


def bare(word: str) -> str:
    """A word in lower case without the marks around it."""
    return word.lower().strip(_MARKS)
