"""Every setting of an endpoint, by the one name that the command line, YAML files and Python have for it."""

# No postponed annotations: Serve reads the class of `build`'s argument from its signature as it stands.

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from orchestrator.errors import ServingError
from orchestrator.plugins import suggest


class ServeArguments(BaseModel):
    """Arguments of :func:`serve.app.build`; on the command line `key=value`. Documented below each field."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    run: Path
    """Run folder, readable at this path on every node."""
    follow: bool = True
    """Serve whatever version becomes the run's current one (`mome mixture use`), by itself and without a restart."""
    keys: Path | None = None
    """File of API keys; without one, the endpoint listens on this machine alone."""
    listen: str | None = None
    """host:port at which the ingresses answer HTTP themselves, on their machine; None: Serve's proxy does."""
    proxy: bool = False
    """Have Serve's proxy answer HTTP also where `mome serve` starts a Ray of its own, on this machine alone."""
    one_process: bool = False
    """All experts in one process: less memory, and one expert's Python waits for another's. Whoever changes one expert
    starts all of them anew, beside those that answer until then."""
    soft: bool = False
    """Answer `model: soft` too: a process more, which holds every expert, unless all are in one anyway."""
    access_log: Path | None = None
    """File to which every ingress adds a line of JSON for each request; None: these are in Ray's log of the ingress."""
    log_prompts: bool = False
    """These lines have the prompts."""

    expert_cpus: float = Field(0.2, gt=0)
    """CPUs reserved for each expert replica; with the small default four experts and the ingress fit two CPUs."""
    expert_gpus: float = Field(0.0, ge=0)
    """GPUs reserved for each expert replica; above 0 it computes there."""
    expert_threads: int | None = Field(None, ge=1)
    """Threads that an expert replica computes with; where not given, the whole CPUs that are reserved, at least one."""
    precision: Literal["fp32", "bf16", "int8"] = "fp32"
    """Of the experts' products; `mome precision RUN` measures what each costs and brings."""
    slots: int = Field(8, ge=1)
    """Answers that one expert replica computes together."""
    queue: int = Field(64, ge=0)
    """Answers that wait in one expert replica at most; more are refused with 429."""
    prefix_tokens: int = Field(4096, ge=0)
    """Tokens of prompts whose keys and values an expert replica keeps for prompts that begin the same."""

    router_cpus: float = Field(0.1, gt=0)
    """CPUs reserved for each router replica."""
    ingress_cpus: float = Field(0.1, gt=0)
    """CPUs reserved for each ingress replica."""
    inline_router: bool = True
    """Route in the ingress itself, which saves a call and a process; else the router is a deployment of its own."""

    min_replicas: int = Field(1, ge=0)
    """Replicas of each expert that are always there. 0: an expert that nobody asks ends, and starts when asked."""
    max_replicas: int | None = Field(None, ge=1)
    """Replicas of each expert that load may bring, as far as the cluster has room. Where not given, as many as give
    every replica of every expert its own threads, or share of a GPU, on what the cluster has when the expert starts."""
    ingress_replicas: int = Field(1, ge=1)
    """Replicas of the ingress, and of the router where it is a deployment."""
    target_ongoing_requests: float = Field(4.0, gt=0)
    """Requests at work and waiting in one replica above which more replicas are started."""
    upscale_delay_s: float = Field(5.0, ge=0)
    """Seconds of load before another replica is started."""
    downscale_delay_s: float = Field(60.0, ge=0)
    """Seconds without load before a replica is ended."""
    scale_to_zero_delay_s: float = Field(300.0, ge=0)
    """Seconds without a request before an expert's last replica is ended, where `min_replicas` is 0."""

    max_ongoing_requests: int = Field(32, ge=1)
    """Requests that one expert replica takes on; more wait before it."""
    max_queued_requests: int = Field(64, ge=1)
    """Requests that wait before an expert, for each ingress; more are refused with 429."""
    retry_after_s: float = Field(1.0, gt=0)
    """What a refused client is told to wait, in seconds."""
    deadline_s: float = Field(60.0, gt=0)
    """Longest time for an answer, whatever the client asks for, in seconds."""
    grace_s: float = Field(30.0, ge=0)
    """Time that running answers are given to finish when the endpoint or a replica ends, in seconds."""
    coalesce_s: float = Field(0.02, ge=0)
    """A stream tells its first token at once. What follows a replica's streams tell in turn, one every so many seconds:
    of eight each every eighth time; 0: each token."""
    keep_s: float = Field(300.0, ge=0)
    """Time that an expert which is no longer served stays, so that a version can be returned to at once, in seconds."""

    @model_validator(mode="after")
    def _replicas_in_order(self) -> Self:
        if self.max_replicas is not None and self.max_replicas < self.min_replicas:
            raise ValueError("max_replicas must not be less than min_replicas")
        return self

    @model_validator(mode="after")
    def _computable(self) -> Self:
        if self.expert_gpus and self.precision == "int8":
            raise ValueError("precision int8 is computed on CPUs; take bf16 with expert_gpus")
        return self

    def most_replicas(self, experts: int, resources: Mapping[str, float]) -> int:
        """Of each expert, of so many, on a cluster with these resources (Ray's names)."""
        if self.max_replicas is not None:
            return self.max_replicas
        name, share = ("GPU", self.expert_gpus) if self.expert_gpus else ("CPU", self.threads)
        return max(1, self.min_replicas, int(resources.get(name, 0) / (experts * share)))

    @property
    def threads(self) -> int:
        """Of an expert replica."""
        return self.expert_threads or max(1, int(self.expert_cpus))


def arguments_of(run: Path | str, options: dict[str, Any]) -> ServeArguments:
    """Checked settings.

    Raises:
        ServingError: one is unknown or out of range.
    """
    try:
        return ServeArguments(run=Path(run).resolve(), **options)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "extra_forbidden":
            name = str(first["loc"][0])
            raise ServingError(
                f"there is no setting {name!r}", fix=suggest(name, ServeArguments.model_fields)
            ) from None
        field = f"{first['loc'][0]}: " if first["loc"] else ""
        raise ServingError(f"{field}{first['msg']}", fix="see serve.app.ServeArguments") from None
