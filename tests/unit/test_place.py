import os
from pathlib import Path

import pytest

from orchestrator.errors import ResourceError
from orchestrator.place import runs_folder


@pytest.mark.parametrize(
    "address", ["s3://bucket/runs", "gs://b", "hdfs://host:9000/x", "file:///tmp/runs", "https://a/b"]
)
def test_an_address_is_no_folder(address):
    with pytest.raises(ResourceError, match="address") as caught:
        runs_folder(Path(address))
    assert "--runs /FOLDER" in caught.value.fix


def test_a_job_s_own_folder_is_refused_however_it_is_named(tmp_path, monkeypatch):
    package = tmp_path / "ray" / "session_1" / "runtime_resources" / "working_dir_files" / "_ray_pkg_1f"
    package.mkdir(parents=True)
    (tmp_path / "linked").symlink_to(package)
    monkeypatch.chdir(package)
    for runs in (Path("runs"), Path("deep/runs"), package / "runs", tmp_path / "linked" / "runs"):
        with pytest.raises(ResourceError, match="temporary folder") as caught:
            runs_folder(runs)
        assert "--runs /FOLDER" in caught.value.fix
    assert runs_folder(tmp_path / "runs") == tmp_path / "runs"


@pytest.mark.parametrize("name", ["runs", "a:b/runs", "s3", "runtime_resources/runs"])
def test_folders_are_folders(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert runs_folder(Path(name)) == tmp_path / name


def test_a_name_that_is_no_utf8_is_refused(tmp_path):
    with pytest.raises(ResourceError, match=r"not UTF-8[\s\S]*a\\xff"):
        runs_folder(tmp_path / os.fsdecode(b"a\xff"))
