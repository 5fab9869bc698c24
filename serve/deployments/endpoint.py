"""How commands find a running endpoint: a file in its run's folder, which its owner alone can read."""

from __future__ import annotations

import json
import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from orchestrator.errors import MomeError, ServingError

FILE = "serving.json"
_ADDRESS = "RAY_ADDRESS"
_TOLD = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN")
# Ray reads both when it is imported: nothing here imports it before they are set.


@contextmanager
def told_to_commands(run: Path) -> Iterator[None]:
    """For the time of the block, let commands of this user find the Ray that the endpoint runs on."""
    import ray

    told = {_ADDRESS: ray.get_runtime_context().gcs_address}
    told |= {name: os.environ[name] for name in _TOLD if name in os.environ}
    file, fresh = run / FILE, run / f".{FILE}.{secrets.token_hex(4)}"
    with suppress(OSError):  # a run that can't be written to is served all the same; RAY_ADDRESS finds it
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
            json.dump(told, stream)
        fresh.replace(file)
    try:
        yield
    finally:
        with suppress(OSError, ValueError):
            if json.loads(file.read_text(encoding="utf-8"))[_ADDRESS] == told[_ADDRESS]:
                file.unlink()


@contextmanager
def connected(run: Path) -> Iterator[None]:
    """Connect to the Ray of a run's endpoint: the one of RAY_ADDRESS, or the one that its `mome serve` started.

    Raises:
        ServingError: the run is not being served. ResourceError: its Ray can't be reached.
    """
    before = dict(os.environ)
    if not os.environ.get(_ADDRESS):
        try:
            os.environ.update(json.loads((run / FILE).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            fix = f"serve it: mome serve {run.name}; or name its cluster in {_ADDRESS}"
            raise ServingError("this run is not being served here", str(run), fix) from None
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
