from __future__ import annotations

import struct
from pathlib import Path

import pytest

from benchmarks import _router_found
from benchmarks._router_found import find
from benchmarks.router import Routing

WORDS = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu"

pytestmark = pytest.mark.long


def catalogue(messages: dict[str, str], head: str = "Content-Type: text/plain; charset=UTF-8\n") -> bytes:
    """A compiled message catalogue, as gettext has them."""
    pairs = [
        (key.encode(), value.encode("utf-8", "surrogateescape"))
        for key, value in sorted({"": head, **messages}.items())
    ]
    begin = 28 + 16 * len(pairs)
    tables, data = ([], []), b""
    for side in (0, 1):
        for pair in pairs:
            tables[side].append(struct.pack("<II", len(pair[side]), begin + len(data)))
            data += pair[side] + b"\0"
    head_ = struct.pack("<7I", 0x950412DE, 0, len(pairs), 28, 28 + 8 * len(pairs), 0, 0)
    return head_ + b"".join(tables[0]) + b"".join(tables[1]) + data


DAMAGED = {
    "no catalogue": b"no catalogue",
    "nothing": b"",
    "cut short": catalogue({"open": "abrir"})[:40],
    "no plural rule": catalogue({}, "Content-Type: text/plain; charset=UTF-8\nPlural-Forms:\n"),
    "an empty plural rule": catalogue({}, "Plural-Forms: nplurals=2; plural=;\n"),
    "a plural rule that is none": catalogue({}, "Plural-Forms: nplurals=2; plural=(n;\n"),
    "no such charset": catalogue({}, "Content-Type: text/plain; charset=klingon\n"),
    "another charset": catalogue({"open": "\udcff\udcfe"}),
}


def install(locales: Path, language: str, content: bytes, name: str = "program") -> None:
    folder = locales / language / "LC_MESSAGES"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.mo").write_bytes(content)


def messages(count: int = 40) -> bytes:
    return catalogue({f"open Foo {n}": f"{WORDS} Foo {n}%d <b>open</b> {WORDS}" for n in range(count)})


def test_messages_are_seen_or_unseen_and_lose_their_english(tmp_path: Path) -> None:
    for language in ("es", "se", "fr", "pt_BR", "nds"):
        install(tmp_path, language, messages())
    found = find(tmp_path).to_test(["phrases/fr"])
    assert {kind for kind in found if "/." not in kind} == {"seen/es", "unseen/se"}
    assert set(found["unseen/se"][0].split()) == set(WORDS.split())


@pytest.mark.parametrize("what", DAMAGED)
def test_damaged_catalogues_are_skipped_and_counted(tmp_path: Path, what: str) -> None:
    install(tmp_path, "mn", DAMAGED[what], "damaged")
    install(tmp_path, "mn", messages(), "whole")
    found = find(tmp_path)
    assert [path.name for path in found.skipped] == ["damaged.mo"]
    assert "phrases/mn" in found.texts


def test_the_count_is_in_the_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(tmp_path, "mn", DAMAGED["no plural rule"])
    monkeypatch.setattr(_router_found, "LOCALES", tmp_path)
    bench = Routing()
    (row,) = bench._skipped()
    assert (row.metric, row.ours) == ("skipped", 1)
    assert row.baseline > 1
    assert "program.mo" in capsys.readouterr().err


def test_a_machine_without_catalogues_has_none(tmp_path: Path) -> None:
    assert {kind.partition("/")[0] for kind in find(tmp_path / "nowhere").texts} == {"code"}


def test_files_have_no_comments_and_tell_seen_from_unseen(tmp_path: Path) -> None:
    found = find(tmp_path)
    kinds = found.to_test(["code/py"])
    assert {"seen/.css", "seen/.c", "unseen/.cmake"} <= set(kinds)
    assert not {"unseen/.css", "seen/.cmake", "seen/.h"} & set(kinds)
    assert "seen/.c" not in found.to_test(["code/c"])
    assert not any("/*" in text for text in kinds["seen/.css"])
