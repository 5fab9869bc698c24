"""The application: `serve run serve.app:build run=runs/quickstart`, or :func:`deploy` from Python (`mome serve`)."""

# No postponed annotations: Serve reads the class of `build`'s argument from its signature as it stands.

import os
import signal
import socket
import threading
from pathlib import Path
from typing import Any, Literal, Self

import ray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from ray import serve
from ray.serve.config import AutoscalingConfig, HTTPOptions
from ray.serve.schema import LoggingConfig

from orchestrator.cluster.session import session
from orchestrator.config.recipe import ResourcesConfig
from orchestrator.errors import ResourceError, ServingError
from serve.api import Keys, check_exposure
from serve.chat import ChatTemplate
from serve.expert import ExpertReplica
from serve.files import MixtureFiles
from serve.ingress import Ingress
from serve.router import RouterReplica

APPLICATION = "mome"


class ServeArguments(BaseModel):
    """Arguments of :func:`build`; on the command line `key=value`. Documented below each field."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    run: Path
    """Run folder, readable at this path on every node."""
    expert_cpus: float = Field(0.2, gt=0)
    """CPUs reserved for each expert replica; it computes with that many threads, at least one. With the small default
    four experts, the router and the ingress fit two CPUs."""
    expert_gpus: float = Field(0.0, ge=0)
    """GPUs reserved for each expert replica; above 0 it computes there."""
    precision: Literal["fp32", "bf16", "int8"] = "fp32"
    """Of the experts' products; `mome precision RUN` measures what each costs and brings."""
    router_cpus: float = Field(0.1, gt=0)
    """CPUs reserved for each router replica."""
    ingress_cpus: float = Field(0.1, gt=0)
    """CPUs reserved for each ingress replica."""
    min_replicas: int = Field(1, ge=1)
    """Replicas of each expert, of the router and of the ingress that are always there."""
    max_replicas: int = Field(2, ge=1)
    """Replicas of each that load may bring, as far as the cluster has room."""
    target_ongoing_requests: float = Field(4.0, gt=0)
    """Requests at work and waiting in one replica above which more replicas are started."""
    max_ongoing_requests: int = Field(16, ge=1)
    """Requests that one replica takes on; more wait before it."""
    max_queued_requests: int = Field(64, ge=1)
    """Requests that wait before a deployment; more are refused with 503."""
    keys: Path | None = None
    """File of API keys (`mome keys`), readable at this path on every node; none: everybody may ask."""
    deadline_s: float = Field(60.0, gt=0)
    """Longest time for an answer, whatever the client asks for, in seconds."""

    @model_validator(mode="after")
    def _replicas_in_order(self) -> Self:
        if self.max_replicas < self.min_replicas:
            raise ValueError("max_replicas must not be less than min_replicas")
        return self

    @model_validator(mode="after")
    def _computable(self) -> Self:
        if self.expert_gpus and self.precision == "int8":
            raise ValueError("precision int8 is computed on CPUs; take bf16 with expert_gpus")
        return self


def build(arguments: ServeArguments) -> serve.Application:
    """The application: an ingress, the router, and one deployment for each expert, each scaled by itself.

    Raises:
        ArtifactError: the run is not finished, or an artifact is missing or damaged.
    """
    files = MixtureFiles.of(arguments.run).check()
    device = "cuda" if arguments.expert_gpus else "cpu"
    threads = max(1, int(arguments.expert_cpus))
    names = tuple(files.experts)
    router = _deployment(RouterReplica, "router", arguments, arguments.router_cpus).bind(
        files.tokenizer, files.router, names
    )
    experts: dict[str, Any] = {
        name: _deployment(
            ExpertReplica, f"expert-{name}", arguments, arguments.expert_cpus, arguments.expert_gpus
        ).bind(folder, device, threads, arguments.precision)
        for name, folder in files.experts.items()
    }
    front = _deployment(serve.ingress()(Ingress), "ingress", arguments, arguments.ingress_cpus)
    return front.bind(
        router,
        experts,
        arguments.deadline_s,
        files.version,
        files.context,
        ChatTemplate.of(files.tokenizer),
        arguments.keys and arguments.keys.resolve(),
    )


def _deployment(cls: type, name: str, arguments: ServeArguments, cpus: float, gpus: float = 0.0) -> serve.Deployment:
    return serve.deployment(
        cls,
        name=name,
        ray_actor_options={"num_cpus": cpus, "num_gpus": gpus},
        max_ongoing_requests=arguments.max_ongoing_requests,
        max_queued_requests=arguments.max_queued_requests,
        autoscaling_config=AutoscalingConfig(
            min_replicas=arguments.min_replicas,
            max_replicas=arguments.max_replicas,
            target_ongoing_requests=arguments.target_ongoing_requests,
        ),
    )


def deploy(run: Path | str, host: str = "127.0.0.1", port: int = 8000, blocking: bool = True, **options: Any) -> None:
    """Serve a run's mixture over HTTP.

    Uses the Ray that this process is connected to, or the cluster of RAY_ADDRESS, or starts one on this machine.

    Args:
        run: run folder.
        host: address to listen at. The default takes no connections from other machines; others need `keys`.
        port: port to listen at.
        blocking: return at Ctrl-C or SIGTERM, with the application shut down. False: return as soon as it answers, and
            leave it running on the cluster.
        **options: fields of :class:`ServeArguments`.

    Raises:
        ArtifactError: the run is not finished, or an artifact is missing or damaged.
        ServingError: an option is wrong or the port is taken.
        ResourceError: the cluster can't be reached, or `blocking` is false and there is none to leave it on.
    """
    arguments = _arguments(run, options)
    check_exposure(host, None if arguments.keys is None else Keys(arguments.keys))
    application = build(arguments)  # before Ray: a wrong run is refused in a second
    if not (ray.is_initialized() or os.environ.get("RAY_ADDRESS")):
        if not blocking:
            raise ResourceError(
                "there is no Ray cluster to serve on", fix="set RAY_ADDRESS, or serve in the foreground"
            )
        _check_port(host, port)
    with session(ResourcesConfig()):
        serve.start(proxy_location="HeadOnly", http_options=HTTPOptions(host=host, port=port))
        try:
            logging = LoggingConfig(enable_access_log=False)
            serve.run(application, name=APPLICATION, route_prefix="/", logging_config=logging)
            if blocking:
                print(f"serving at http://{host}:{port}/v1/completions (Ctrl-C ends it)", flush=True)
                _wait_for_signal()
        finally:
            if blocking:
                serve.shutdown()


def _arguments(run: Path | str, options: dict[str, Any]) -> ServeArguments:
    try:
        return ServeArguments(run=Path(run), **options)
    except ValidationError as error:
        first = error.errors()[0]
        field = f"{first['loc'][0]}: " if first["loc"] else ""
        raise ServingError(f"{field}{first['msg']}", fix="see serve.app.ServeArguments") from None


def _check_port(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ServingError(
                f"can't listen at {host}:{port}: {error.strerror}", fix="choose another host or port"
            ) from None


def _wait_for_signal() -> None:
    """Until Ctrl-C or SIGTERM; handlers are put back."""
    done = threading.Event()
    before = {name: signal.signal(name, lambda *_: done.set()) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        done.wait()
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
