from __future__ import annotations

import pytest

from orchestrator.routers.text.shipped import learned
from orchestrator.routers.text.tags import CODE, NATURAL, own_kinds, tags


@pytest.mark.parametrize(
    ("tag", "names"),
    {
        "en": "en EN eng english English en-us en_GB en-wiki eng_Latn english-law us",
        "de": "de deu ger german deutsch Deutsch de-ch de-1996 de_at deu-latn german_novels",
        "fr": "fr fra fre french français francais fr-ca fr-fr-x-law",
        "es": "es spa spanish español castellano es-419",
        "pt": "pt por portuguese português pt-br pt_PT brazilian",
        "zh": "zh zho chi chinese 中文 zh-hans zh-hant-tw cmn cn mandarin",
        "sr": "sr srp serbian sr-cyrl sr-latn-rs српски",
        "ja": "ja jp jpn japanese 日本語",
        "cs": "cs cz ces cze czech čeština cs-cz",
        "el": "el gr ell gre greek ελληνικά",
        "uk": "uk ua ukr ukrainian українська",
        "ko": "ko kor korean 한국어",
        "da": "da dk dan danish",
        "no": "no nb nn nob nno norwegian norsk bokmål no-no",
        "he": "he iw heb hebrew",
        "id": "id in ind indonesian",
        "my": "my mya burmese my-mm",
        "se": "se sme northern-sami",
        "sv": "sv swe swedish",
        "pl": "pl pol polish polski",
        "ml": "ml mal malayalam",
        "gn": "gn grn guarani",
        "tl": "tl tgl fil tagalog filipino",
    }.items(),
)
def test_a_language_is_known_by_any_of_its_names(tag: str, names: str) -> None:
    assert {name: tags(name, NATURAL) for name in names.split()} == dict.fromkeys(names.split(), (tag,))


@pytest.mark.parametrize(
    ("tag", "names"),
    {
        "py": "py python Python python3 py-scripts python_3",
        "js": "js javascript nodejs js-web",
        "cpp": "cpp c++ cxx hpp cplusplus",
        "c": "c h",
        "cs": "cs c# csharp c-sharp",
        "pl": "pl perl",
        "ml": "ml ocaml",
        "rs": "rs rust",
        "go": "go golang",
        "sh": "sh bash shell",
    }.items(),
)
def test_a_kind_of_code_is_known_by_any_of_its_names(tag: str, names: str) -> None:
    assert {name: tags(name, CODE) for name in names.split()} == dict.fromkeys(names.split(), (tag,))


def test_a_name_may_be_of_several_kinds() -> None:
    assert set(tags("matlab", CODE)) == {"m", "mat"}


@pytest.mark.parametrize("name", ["xx", "medical", "my-corpus", "is-this", "in-house", "", "-", "q-en"])
def test_unknown_names_are_their_own_tag(name: str) -> None:
    assert tags(name, NATURAL) == ()
    assert own_kinds({name: False}) == {name: (f"phrases/{name}",)}


def test_languages_and_kinds_of_code_are_two_namespaces() -> None:
    found = own_kinds({"pl": False, "cs": True, "perl": True, "czech": False})
    assert found == {"pl": ("phrases/pl",), "cs": ("code/cs",), "perl": ("code/pl",), "czech": ("phrases/cs",)}
    both = [kind.partition("/")[2] for kind in learned()]
    assert {tag for tag in both if both.count(tag) > 1} >= {"cs", "gn", "ml", "pl"}, "so these are told apart"


def test_a_name_of_the_other_namespace_is_known_too() -> None:
    assert own_kinds({"js": False, "german": True}) == {"js": ("code/js",), "german": ("phrases/de",)}
