import pickle

import pytest

from orchestrator import errors
from orchestrator.errors import MomeError

CLASSES = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, MomeError)]


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_survives_crossing_a_process(cls):
    error = pickle.loads(pickle.dumps(cls("what", "where", "fix")))
    assert type(error) is cls
    assert (error.what, error.where, error.fix) == ("what", "where", "fix")


def test_message_names_what_where_and_next():
    assert str(MomeError("no text", "a.txt", "add some")) == "no text\n  where: a.txt\n  next:  add some"
    assert str(MomeError("no text")) == "no text"
