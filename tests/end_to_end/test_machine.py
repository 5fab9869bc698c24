"""What a run makes does not depend on the machine: the same recipe, with one thing around it changed."""

import pytest

from tests.end_to_end.machine import assert_same, elsewhere, run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    return run(tmp_path_factory.mktemp("usual"))


@pytest.mark.parametrize("name", ["HOME", "TMPDIR", "TZ", "LC_ALL", "LANG", "LANGUAGE", "PYTHONHASHSEED", "PATH"])
def test_one_thing_alone_changes_nothing(usual, tmp_path, name):
    assert_same(usual, run(tmp_path, **{name: elsewhere(tmp_path / "other")[name]}))


@pytest.mark.parametrize("options", [{"umask": "000"}, {"overrides": ["resources.threads=3"]}, {"cores": {0}}])
def test_cores_threads_and_umask_change_nothing(usual, tmp_path, options):
    assert_same(usual, run(tmp_path, **options))
