"""The application: `serve run serve.app:build run=runs/quickstart`, or :func:`deploy` from Python (`mome serve`)."""

# No postponed annotations: Serve reads the class of `build`'s argument from its signature as it stands.

import io
import logging
import os
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import ray
import yaml
from ray import serve
from ray.serve.config import BackpressureConfig, HTTPOptions
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import ServeDeploySchema

from orchestrator.cluster.folders import held_folder
from orchestrator.cluster.session import is_own_cluster, session
from orchestrator.config.recipe import ResourcesConfig
from orchestrator.errors import ResourceError, ServingError
from serve.api import Keys, check_exposure
from serve.api.gate import check_log
from serve.deployments import lean
from serve.deployments.applications import Applications, common_options
from serve.deployments.endpoint import told_to_commands
from serve.deployments.forking import POSSIBLE, forking
from serve.deployments.keeper import LOGGING, Keeper
from serve.deployments.settings import ServeArguments, arguments_of
from serve.files import MixtureFiles
from serve.ingress import Ingress
from serve.router import PromptRouter

APPLICATION = "mome"
_TOGETHER = 2000
"""Requests at work in one ingress; they wait for experts there."""


def build(arguments: ServeArguments) -> serve.Application:
    """The endpoint: an ingress, and a keeper that deploys every expert as an application of its own.

    Raises:
        ArtifactError: the run is not finished, or an artifact is missing or damaged.
        ServingError: the file of keys can't be read, or the one for requests not be written.
    """
    if arguments.listen:
        check_exposure(
            arguments.listen.rpartition(":")[0].strip("[]"), Keys(arguments.keys) if arguments.keys else None
        )
        if arguments.access_log:
            check_log(arguments.access_log)
    given = {name: getattr(arguments, name) for name in ("run", "keys", "access_log")}
    places = {name: path.resolve() for name, path in given.items() if path is not None}
    arguments = arguments.model_copy(update=places)
    files = MixtureFiles.of(arguments.run)  # what is damaged is refused here
    Applications(APPLICATION, arguments).table(files)
    PromptRouter(files.tokenizer, files.router, tuple(files.experts))
    if arguments.keys is not None:
        Keys(arguments.keys)
    keeper = serve.deployment(
        Keeper,
        name="keeper",
        ray_actor_options={"num_cpus": 0},
        max_ongoing_requests=1000,
        **common_options(arguments) | {"graceful_shutdown_timeout_s": 5.0},
    )
    front = serve.deployment(
        serve.ingress()(Ingress),
        name="ingress",
        ray_actor_options={"num_cpus": arguments.ingress_cpus},
        num_replicas=arguments.ingress_replicas,
        max_ongoing_requests=_TOGETHER,
        max_queued_requests=_TOGETHER,
        backpressure_config=BackpressureConfig(status_code=429, retry_after_s=arguments.retry_after_s),
        **common_options(arguments),
    )
    deployed = secrets.token_hex(8)
    return front.bind(keeper.bind(APPLICATION, arguments, deployed), deployed, arguments)


def deploy(run: Path | str, host: str = "127.0.0.1", port: int = 8000, blocking: bool = True, **options: Any) -> None:
    """Serve a run's mixture over HTTP.

    Uses the Ray that this process is connected to, or the cluster of RAY_ADDRESS, or starts one on this machine.

    Args:
        run: run folder.
        host: address to listen at. The default takes no connections from other machines; any other needs `keys`.
        port: port to listen at.
        blocking: return at Ctrl-C or SIGTERM, once running answers have finished (`grace_s`). False: return as soon as
            it answers, and leave it running on the cluster.
        **options: fields of :class:`serve.deployments.settings.ServeArguments`.

    Raises:
        ArtifactError: the run is not finished, or an artifact is missing or damaged.
        ServingError: an option is wrong or the port is taken.
        ResourceError: the cluster can't be reached, or `blocking` is false and there is none to leave it on.
    """
    arguments = arguments_of(run, options)
    check_exposure(host, Keys(arguments.keys) if arguments.keys else None)
    alone = not (ray.is_initialized() or os.environ.get("RAY_ADDRESS"))
    if alone and blocking and not arguments.proxy:
        arguments = arguments.model_copy(update={"listen": f"{host}:{port}"})
    application = build(arguments)  # before Ray: a wrong run is refused in a second
    if alone:
        if not blocking:
            raise ResourceError(
                "there is no Ray cluster to serve on", fix="set RAY_ADDRESS, or serve in the foreground"
            )
        lean.prepare()
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    taken = _taken(host, port) if alone else nullcontext()
    with ExitStack() as ending, taken, _python(alone) as python, session(ResourcesConfig.model_construct(), python):
        if is_own_cluster():
            lean.trim()
        where = "Disabled" if arguments.listen else "HeadOnly"
        serve.start(proxy_location=where, http_options=HTTPOptions(host=host, port=port))
        try:
            ingress = serve.run(application, name=APPLICATION, route_prefix="/", logging_config=LOGGING)
            if blocking:
                _tell(ingress, "ready", seconds=5.0)  # its replicas are known now: a signal reaches them at once
                with told_to_commands(arguments.run, ray.get_runtime_context().gcs_address):
                    print(f"serving at http://{host}:{port}/v1/completions (Ctrl-C ends it)", flush=True)
                    _wait_for_signal()
                _tell(ingress, "drain", arguments.grace_s, seconds=arguments.grace_s + 5)
        finally:
            if blocking:
                # Ray tells of every process that ends, as of an error.
                ending.enter_context(redirect_stdout(io.StringIO()))
                serve.shutdown()


@contextmanager
def _python(alone: bool) -> Iterator[str | None]:
    """What starts the processes of a Ray of our own: see :mod:`serve.deployments.forking`."""
    if not (alone and POSSIBLE):
        yield None
        return
    with held_folder() as folder, forking(folder) as command:
        yield command


def settings_of(config: Path) -> dict[str, Any]:
    """The keyword arguments for :func:`deploy` in a file of Serve's, like serve/config.yaml, without its run.

    Raises:
        ServingError: it can't be read, or is no such file.
    """
    try:
        read = ServeDeploySchema.model_validate(yaml.safe_load(config.read_text(encoding="utf-8")))
        (endpoint,) = (each for each in read.applications if each.import_path == "serve.app:build")
    except (OSError, ValueError, TypeError, yaml.YAMLError) as error:
        what = f"the settings can't be read: {str(error).splitlines()[0]}"
        raise ServingError(what, str(config), "see serve/config.yaml") from None
    given = {key: value for key, value in endpoint.args.items() if key != "run"}
    return {"host": read.http_options.host, "port": read.http_options.port, **given}


def _tell(ingress: DeploymentHandle, method: str, *arguments: Any, seconds: float) -> None:
    """Call every replica of the ingress; whatever does not answer in time, or at all, is not waited for."""
    with suppress(Exception):
        ingress.broadcast(method, *arguments).results(timeout_s=seconds, return_exceptions=True)


@contextmanager
def _taken(host: str, port: int) -> Iterator[None]:
    """A port for the time of the block: two endpoints that start together may not both listen there, as ingresses may.

    Raises:
        ServingError: it is another's.
    """
    with ExitStack() as held:
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, port))
            if sys.platform == "linux":  # a name that goes with its process, whatever ends that
                held.enter_context(socket.socket(socket.AF_UNIX)).bind(f"\0mome-serve-{port}")
        except OSError as error:
            what = f"can't listen at {host}:{port}: {error.strerror}"
            raise ServingError(what, fix="choose another host or port") from None
        yield


def _wait_for_signal() -> None:
    """Until Ctrl-C, SIGTERM or the terminal's end; handlers are put back."""
    done = threading.Event()
    heard = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        heard.append(signal.SIGHUP)
    before = {number: signal.signal(number, lambda *_: done.set()) for number in heard}
    try:
        done.wait()
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
