"""How callers are told what went wrong behind the ingress, and what an ingress without Ray answers by."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

from serve.errors import ContextLengthError, ExpertUnavailableError, OverloadedError, RequestError, UnknownModelError
from serve.messages import Route

pytest.importorskip("ray")
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.PydanticDeprecatedSince20")


class FakeHandle:
    """A deployment whose every call fails with `error`."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.route = self.attend = self

    def options(self, stream: bool) -> FakeHandle:
        return self

    async def remote(self, *arguments: object) -> Sequence[object]:
        raise self.error


def in_a_task(cause: Exception) -> Exception:
    """As Ray raises what a replica raised."""
    from ray.exceptions import RayTaskError

    error: Exception = RayTaskError("generate", "the replica's traceback", cause).as_instanceof_cause()
    return error


def lost() -> Exception:
    from ray.exceptions import ActorDiedError

    return ActorDiedError()


def full() -> Exception:
    from ray.serve.exceptions import BackPressureError

    return BackPressureError(num_queued_requests=64, max_queued_requests=64)


def call(error: Exception) -> object:
    from serve.deployments.lines import Exchange
    from serve.deployments.replicas import Deployed

    async def asked() -> object:
        exchange = Exchange()
        await exchange.open("127.0.0.1")
        return await Deployed("en", FakeHandle(error), exchange, 64).generate([], 1.0)  # type: ignore[arg-type]

    return asyncio.run(asked())


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (lambda: in_a_task(ContextLengthError("too long", fix="shorten it")), ContextLengthError),
        (full, OverloadedError),
        (lost, ExpertUnavailableError),
        (lambda: in_a_task(lost()), ExpertUnavailableError),
    ],
)
def test_what_a_caller_can_understand_becomes_a_request_error(
    raised: Callable[[], Exception], expected: type[RequestError]
) -> None:
    with pytest.raises(RequestError) as caught:
        call(raised())
    assert type(caught.value) is expected
    assert caught.value.what


def test_a_bug_in_a_deployment_stays_a_bug() -> None:
    with pytest.raises(KeyError):
        call(in_a_task(KeyError("oops")))


def test_a_named_expert_needs_no_router() -> None:
    from serve.chat import ChatTemplate
    from serve.deployments.lines import Exchange
    from serve.deployments.replicas import Deployed
    from serve.deployments.served import Mixture

    experts = {"en": Deployed("en", FakeHandle(lost()), Exchange(), 64)}  # type: ignore[arg-type]
    mixture = Mixture("3", 64, ChatTemplate(), experts, None)  # type: ignore[arg-type]
    assert asyncio.run(mixture.route("en", ["a", "b"])) == [Route("en", version="3")] * 2
    with pytest.raises(UnknownModelError):
        asyncio.run(mixture.route("fr", ["a"]))
