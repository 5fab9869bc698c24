from __future__ import annotations

import pytest

from orchestrator.errors import ArtifactError
from serve.deployments.wire import pack, unpack
from serve.errors import OverloadedError
from serve.messages import Completion, Constraint, Delta, GenerationRequest, Sampling, TokenLogprob

SAMPLING = Sampling(stop=("\ud800", "。"), seed=2**70, logit_bias={3: -0.5}, constraint=Constraint("regex", "a+"))
LOGPROB = TokenLogprob(5, b"\xff", None, (TokenLogprob(6, b"a", -0.25),))


@pytest.mark.parametrize(
    "value",
    [
        ("ask", 1, (GenerationRequest("la \ud800 mer", SAMPLING, 2, (1, 2), False, {"en": 0.5}),), 1.5, True),
        ("whole", 2, (Completion("x", 3, 1, "stop", (4,), (LOGPROB,)),)),
        ("grown", 3, ((0, Delta("x", (1,), (LOGPROB,), "length", 4)), (1, Delta("")))),
        ("end",),
        ("give_up", 2**64, -(2**70), float("inf")),
    ],
    ids=lambda value: value[0],
)
def test_values_come_as_they_went(value: tuple[object, ...]) -> None:
    assert unpack(pack(value)) == value


def test_errors_keep_their_kind_or_their_words() -> None:
    for error in (OverloadedError("full", "here", "wait"), ArtifactError("damaged")):
        found = unpack(pack(error))
        assert type(found) is type(error)
        assert found.args == error.args
    unknown = unpack(pack(KeyError("a")))
    assert (type(unknown), str(unknown)) == (RuntimeError, "KeyError: 'a'")


@pytest.mark.parametrize("value", [object(), lambda: None, {1, 2}, Sampling])
def test_nothing_else_is_sent(value: object) -> None:
    with pytest.raises(TypeError, match="can't be sent"):
        pack(value)


def test_what_nobody_packed_is_refused() -> None:
    for data in (b"", b"\xc1", pack(("end",))[:-1]):
        with pytest.raises(ValueError):  # noqa: PT011  msgpack has several of them
            unpack(data)
