"""How commands find a running endpoint: a file in its run's folder, which its owner alone can read."""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from orchestrator.errors import MomeError, ServingError

FILE = "serving.json"
_ADDRESS = "RAY_ADDRESS"
_TOLD = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN")
# Ray reads both when it is imported: nothing here imports it before they are set.


@contextmanager
def told_to_commands(run: Path, address: str) -> Iterator[None]:
    """For the time of the block, let commands of this user find the Ray that the endpoint runs on, at an address.

    Of two endpoints of a run commands find the one that began last, and when that has ended the other one.
    """
    told = {_ADDRESS: address}
    told |= {name: os.environ[name] for name in _TOLD if name in os.environ}
    file = run / FILE
    earlier = _read(file)
    if earlier.get(_ADDRESS) == address:
        earlier = {}  # of an endpoint that this one replaces on its Ray
    with suppress(OSError):  # a run that can't be written to is served all the same; RAY_ADDRESS finds it
        _write(file, told)
    if _is_there(earlier):
        print("this run is being served already: until this endpoint ends, mome serve's commands go here", flush=True)
    try:
        yield
    finally:
        with suppress(OSError):
            if _read(file).get(_ADDRESS) == told[_ADDRESS]:
                _write(file, earlier) if _is_there(earlier) else file.unlink()


def _read(file: Path) -> dict[str, str]:
    with suppress(OSError, ValueError):
        if isinstance(found := json.loads(file.read_text(encoding="utf-8")), dict):
            return found
    return {}


def _write(file: Path, told: Mapping[str, str]) -> None:
    fresh = file.with_name(f".{FILE}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
        json.dump(told, stream)
    fresh.replace(file)


def _is_there(told: Mapping[str, str]) -> bool:
    """Whether an endpoint that was told of still runs; one that was killed leaves its file."""
    host, _, port = told.get(_ADDRESS, "").rpartition(":")
    with suppress(OSError, ValueError), socket.create_connection((host.strip("[]"), int(port)), timeout=1):
        return True
    return False


@contextmanager
def connected(run: Path) -> Iterator[None]:
    """Connect to the Ray of a run's endpoint: the one of RAY_ADDRESS, or the one that its `mome serve` started.

    Raises:
        ServingError: the run is not being served. ResourceError: its Ray can't be reached.
    """
    before = dict(os.environ)
    if not os.environ.get(_ADDRESS):
        if not (told := _read(run / FILE)):
            fix = f"serve it: mome serve {run.name}; or name its cluster in {_ADDRESS}"
            raise ServingError("this run is not being served here", str(run), fix)
        os.environ.update(told)
    from orchestrator.cluster.session import session
    from orchestrator.config.recipe import ResourcesConfig

    try:
        with session(ResourcesConfig.model_construct()):
            yield
    finally:
        for name in (_ADDRESS, *_TOLD):
            if name not in before:
                os.environ.pop(name, None)


def ask(run: Path, endpoint: str, method: str, *arguments: Any) -> Any:
    """Ask the keeper of a run's endpoint.

    Args:
        run: folder of the run.
        endpoint: name of the endpoint's application.
        method: of :class:`serve.deployments.keeper.Keeper`.
        *arguments: its own.

    Raises:
        MomeError: what the keeper refuses with. ServingError: there is no endpoint, or it serves another run.
    """
    with connected(run):
        from ray import serve
        from ray.exceptions import RayError
        from ray.serve.exceptions import RayServeException

        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        try:
            handle = serve.get_deployment_handle("keeper", endpoint)
            served = Path(handle.status.remote().result()["run"])
            if served != run.resolve():
                raise ServingError(f"the endpoint serves another run: {served.name}", str(served))
            return handle.options(method_name=method).remote(*arguments).result()
        except MomeError as error:
            raise getattr(error, "cause", error) from None
        except (RayError, RayServeException) as error:
            what = f"the endpoint does not answer: {str(error).splitlines()[0]}"
            raise ServingError(what, str(run), "is it still served?") from None
