"""Run folders that can't be written to: a word and what to type, never a traceback."""

import errno
import fcntl
import os
import stat
from pathlib import Path

import pytest

from orchestrator.artifacts import Store, disk_errors, write_json
from orchestrator.errors import ResourceError, RunLockedError
from orchestrator.locks import locked


def refuse(monkeypatch, name, number):
    """Let the system refuse to do something, as the owner of everything it is never refused."""

    def refused(self, *_, **__):
        raise OSError(number, os.strerror(number), str(self))

    monkeypatch.setattr(Path, name, refused)


@pytest.mark.parametrize("below", ["runs", "runs/name"], ids=["runs", "the run"])
def test_a_path_that_is_a_file(tmp_path, below):
    (tmp_path / "runs").mkdir() if "/" in below else None
    (tmp_path / below).write_text("a file")
    with pytest.raises(ResourceError, match="can't be written") as caught, locked(tmp_path / "runs" / "name"):
        pass
    assert str(tmp_path / below) in str(caught.value)
    assert "--runs" in caught.value.fix


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS], ids=errno.errorcode.get)
@pytest.mark.parametrize("act", ["mkdir", "open"])
def test_a_folder_that_may_not_be_written_to(tmp_path, monkeypatch, number, act):
    refuse(monkeypatch, act, number)
    with pytest.raises(ResourceError, match=os.strerror(number)), locked(tmp_path / "runs" / "name"):
        pass
    with pytest.raises(ResourceError, match=os.strerror(number)):
        write_json(tmp_path / "runs" / "name" / "a.json", {})


def test_a_folder_of_stages_that_is_a_file_or_another_s(tmp_path, monkeypatch):
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "step").write_text("")
    with pytest.raises(ResourceError, match="can't be written"):
        Store(tmp_path).publish("step", "ab" * 32, {}, lambda out: None)


def test_what_a_stage_may_not_read_is_no_matter_of_the_run_s_folder(tmp_path):
    source = tmp_path / "source"
    with pytest.raises(PermissionError), disk_errors(tmp_path / "run" / "stages" / "corpus" / "abc"):
        raise PermissionError(errno.EACCES, "Permission denied", str(source))
    with pytest.raises(FileExistsError), disk_errors(tmp_path / "abc"):
        raise FileExistsError(errno.EEXIST, "File exists", str(tmp_path / ".abc.1" / "model"))


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP], ids=errno.errorcode.get)
def test_a_file_system_without_locks_is_not_called_a_run_at_work(tmp_path, monkeypatch, number):
    def refused(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refused)
    with pytest.raises(ResourceError, match="can't be locked") as caught, locked(tmp_path):
        pass
    assert not isinstance(caught.value, RunLockedError)


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_folder_without_leave_to_write(tmp_path):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(ResourceError, match="Permission denied"), locked(tmp_path / "name"):
        pass
    tmp_path.chmod(stat.S_IRWXU)
