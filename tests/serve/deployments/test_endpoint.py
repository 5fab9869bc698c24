"""How commands find an endpoint, and which of several."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from serve.deployments.endpoint import FILE, told_to_commands


@contextmanager
def ray_somewhere() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def found(run: Path) -> str:
    return (run / FILE).read_text()


def test_of_two_endpoints_the_one_that_goes_on_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ray_somewhere() as first, ray_somewhere() as second:
        with told_to_commands(tmp_path, first):
            assert first in found(tmp_path)
            assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
            assert capsys.readouterr().out == ""
            with told_to_commands(tmp_path, second):
                assert second in found(tmp_path)
                assert "is being served already" in capsys.readouterr().out
            assert first in found(tmp_path)
        assert not (tmp_path / FILE).exists()


def test_an_endpoint_that_has_ended_meanwhile_is_not_found_any_more(tmp_path: Path) -> None:
    with ExitStack() as before, ray_somewhere() as second:
        first = before.enter_context(ray_somewhere())
        before.enter_context(told_to_commands(tmp_path, first))
        with told_to_commands(tmp_path, second):
            before.close()
            assert second in found(tmp_path)
        assert not (tmp_path / FILE).exists()


def test_an_endpoint_that_replaces_another_on_its_cluster_leaves_nothing(tmp_path: Path) -> None:
    with ray_somewhere() as cluster:
        (tmp_path / FILE).write_text(f'{{"RAY_ADDRESS": "{cluster}"}}')
        with told_to_commands(tmp_path, cluster):
            pass
        assert not (tmp_path / FILE).exists()


@pytest.mark.parametrize("damaged", ["", "[]", "{", '{"RAY_ADDRESS": "nowhere"}'])
def test_a_file_that_says_nothing_is_written_anew(tmp_path: Path, damaged: str) -> None:
    (tmp_path / FILE).write_text(damaged)
    with ray_somewhere() as address, told_to_commands(tmp_path, address):
        assert address in found(tmp_path)
    assert not (tmp_path / FILE).exists()
