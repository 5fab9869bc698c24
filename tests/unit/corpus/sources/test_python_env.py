from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.corpus.sources import python_env
from orchestrator.corpus.sources.python_env import PythonEnv
from orchestrator.errors import CorpusError


def test_standard_library() -> None:
    documents = list(PythonEnv(max_files=60).documents("py"))
    names = [d.id for d in documents]
    assert names == sorted(names, key=lambda name: name.split("/"))
    assert len(set(names)) == len(names) >= 58
    assert all(d.id.startswith("stdlib/") and d.licence == "PSF-2.0" for d in documents)
    assert not any({"test", "tests", "site-packages"} & set(name.split("/")) for name in names)
    assert documents == list(PythonEnv(max_files=60).documents("py"))


def test_empty_files_are_no_documents() -> None:
    source = PythonEnv(max_files=400)
    sizes = [file.stat().st_size for file, _ in source._chosen().values()]
    assert 0 in sizes
    documents = list(source.documents("py"))
    assert all(document.text.strip() for document in documents)
    assert 300 < len(documents) < 400


def test_max_files_is_a_growing_sample() -> None:
    few, more = (set(PythonEnv(max_files=n)._chosen()) for n in (20, 40))
    assert len(few) == 20
    assert few < more


def test_named_package_with_its_licence() -> None:
    documents = list(PythonEnv(stdlib=False, packages=("pluggy",)).documents("py"))
    assert "pluggy/pluggy/_manager.py" in {d.id for d in documents}
    assert {d.licence for d in documents} == {"MIT License"}


def test_identity_is_of_the_files_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.py").write_text("x = 1\n")
    source = PythonEnv()

    def fingerprint(folder: str) -> str:
        monkeypatch.setattr(python_env.sysconfig, "get_path", lambda _: str(tmp_path / folder))
        return source.fingerprint("py")

    assert fingerprint("one") == fingerprint("two")
    (tmp_path / "two" / "a.py").write_text("x = 2\n")
    assert fingerprint("one") != fingerprint("two")
    monkeypatch.setattr(python_env.sys, "version", "of another build")
    before = fingerprint("one")
    monkeypatch.setattr(python_env.sys, "version", "of this build")
    assert fingerprint("one") == before
    monkeypatch.setattr(python_env.sys, "version_info", (3, 99, 0))
    assert fingerprint("one") != before


def test_identity_of_packages_is_what_their_installer_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    source = PythonEnv(stdlib=False, packages=("pluggy",))
    before = source.fingerprint("py")
    recorded = python_env._recorded(python_env.metadata.distribution("pluggy"))
    assert any(line.startswith("pluggy/_manager.py,sha256=") for line in recorded)
    monkeypatch.setattr(python_env, "_recorded", lambda _: recorded[1:])
    assert source.fingerprint("py") != before


def test_a_codec_that_is_none_of_text(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("# -*- coding: rot13 -*-\nk = 1\n")
    assert python_env._source(tmp_path / "a.py") is None


def test_package_that_is_not_installed() -> None:
    with pytest.raises(CorpusError, match="not installed") as error:
        PythonEnv(packages=("no-such-package",)).fingerprint("py")
    assert error.value.fix == "pip install no-such-package"


def test_package_under_copyleft(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(python_env, "_licence", lambda distribution: "GPL-3.0-only")
    with pytest.raises(CorpusError, match="not known to be permissive: GPL"):
        list(PythonEnv(packages=("pluggy",)).documents("py"))


def test_nothing_chosen() -> None:
    with pytest.raises(CorpusError, match="no Python files"):
        list(PythonEnv(stdlib=False).documents("py"))


@pytest.mark.parametrize(
    ("licence", "permissive"),
    [
        ("MIT", True),
        ("MIT License", True),
        ("BSD-3-Clause AND Apache-2.0", True),
        ("Apache Software License", True),
        ("GPL-2.0-only OR MIT", True),
        ("MIT AND LGPL-3.0-or-later", False),
        ("GNU General Public License v3 (GPLv3)", False),
        ("Mozilla Public License 2.0 (MPL 2.0)", False),
        ("Proprietary", False),
        ("LIMITED", False),
        ("", False),
    ],
)
def test_permissive_licences(licence: str, permissive: bool) -> None:
    assert python_env._is_permissive(licence) is permissive


def test_fingerprint_depends_on_packages() -> None:
    with_package = PythonEnv(packages=("pluggy",)).fingerprint("py")
    assert with_package != PythonEnv().fingerprint("py")
    assert with_package == PythonEnv(packages=("pluggy",)).fingerprint("py")


def test_file_that_may_not_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("tokenize.open", refuse)
    with pytest.raises(CorpusError, match="Permission denied"):
        list(PythonEnv(max_files=1).documents("py"))
