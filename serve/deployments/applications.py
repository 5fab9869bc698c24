"""An application of Serve for each expert, named by what it is: whoever changes one changes no other."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from ray import serve
from ray.serve.config import AutoscalingConfig

from orchestrator.artifacts import MANIFEST, check_files
from orchestrator.config.routing import COMMON
from orchestrator.disk import file_digest
from serve.deployments.registry import Served, Table
from serve.deployments.settings import ServeArguments
from serve.expert import ExpertReplica
from serve.files import MixtureFiles
from serve.messages import SOFT
from serve.router import RouterReplica

HEALTH_SECONDS = 2.0
STARTS = 2
"""How often a replica that fails to start is tried before its application is given up."""
_EXPERT_FIELDS = {"expert_cpus", "expert_gpus", "expert_threads", "precision", "slots", "queue", "prefix_tokens",
                  "min_replicas", "max_replicas", "target_ongoing_requests", "upscale_delay_s", "downscale_delay_s",
                  "scale_to_zero_delay_s", "max_ongoing_requests", "max_queued_requests", "grace_s",
                  "coalesce_s", "one_process"}  # fmt: skip


class Applications:
    """The applications of one endpoint.

    Args:
        endpoint: name of the endpoint's own application; the others' begin with it.
        arguments: its settings.
        resources: of the cluster, by Ray's names.
    """

    def __init__(self, endpoint: str, arguments: ServeArguments, resources: Mapping[str, float] | None = None) -> None:
        self._endpoint, self._arguments, self._resources = endpoint, arguments, resources or {}

    def table(self, files: MixtureFiles) -> Table:
        """A version of the mixture as it would be served.

        Raises:
            ArtifactError: a file has changed since it was published, or can't be read.
        """
        experts = {name: self.expert(name, folder) for name, folder in files.experts.items()}
        table = Table(files.version, files.tokenizer, files.router, experts)
        return self.completed(table)

    def expert(self, name: str, folder: Path) -> Served:
        """An expert as it would be served.

        Raises:
            ArtifactError: a file has changed since it was published, or can't be read.
        """
        check_files(folder)
        settings = self._arguments.model_dump_json(include=_EXPERT_FIELDS)
        return Served(folder, f"{self._endpoint}-expert-{name}-{_digest(contents(folder), settings)}")

    def completed(self, table: Table) -> Table:
        """The table with what depends on all its experts, where that is deployed: their router, and they together."""
        given, routing, mixed, experts = self._arguments, None, None, table.experts
        if not given.inline_router:
            names = json.dumps([*table.experts, str(table.tokenizer), str(table.router)])
            routing = f"{self._endpoint}-router-{_digest(contents(table.router), names, given.model_dump_json())}"
        if given.soft or given.one_process:
            parts = {name: self.expert(name, each.folder).application for name, each in table.experts.items()}
            all_ = f"{self._endpoint}-experts-{_digest(json.dumps(parts))}"
            mixed = Served(table.tokenizer, all_, SOFT) if given.soft else None
            if given.one_process:
                experts = {name: Served(each.folder, all_, name) for name, each in table.experts.items()}
        return replace(table, experts=experts, routing=routing, mixed=mixed)

    def build(self, table: Table) -> dict[str, serve.Application]:
        """Every application of a table, by name."""
        alone = {name: each for name, each in table.experts.items() if not each.within}
        most = self._arguments.most_replicas(max(1, len(alone)), self._resources)
        built = {each.application: self._expert(f"expert-{name}", each.folder, most) for name, each in alone.items()}
        for all_ in table.applications - set(built) - {table.routing}:
            built[all_] = self._expert("experts", {name: each.folder for name, each in table.experts.items()}, most)
        if table.routing:
            built[table.routing] = self._router(table)
        return built

    def _expert(self, name: str, folder: Path | Mapping[str, Path], most: int) -> serve.Application:
        given = self._arguments
        deployment = serve.deployment(
            ExpertReplica,
            name=name,
            ray_actor_options={"num_cpus": given.expert_cpus, "num_gpus": given.expert_gpus},
            max_ongoing_requests=given.max_ongoing_requests,
            max_queued_requests=given.max_queued_requests,
            **self._scaling(most),
            **common_options(given),
        )
        device = "cuda" if given.expert_gpus else "cpu"
        options = {"slots": given.slots, "queue": given.queue, "prefixes": given.prefix_tokens}
        return deployment.bind(folder, device, given.threads, given.precision, options, given.coalesce_s)

    def _router(self, table: Table) -> serve.Application:
        given = self._arguments
        deployment = serve.deployment(
            RouterReplica,
            name="router",
            ray_actor_options={"num_cpus": given.router_cpus},
            num_replicas=given.ingress_replicas,
            max_ongoing_requests=1000,
            **common_options(given),
        )
        return deployment.bind(table.tokenizer, table.router, tuple(table.experts))

    def _scaling(self, most: int) -> Mapping[str, Any]:
        given = self._arguments
        if given.min_replicas == most:
            return {"num_replicas": given.min_replicas}
        scaling = AutoscalingConfig(
            min_replicas=given.min_replicas,
            initial_replicas=max(1, given.min_replicas),  # an expert that can't start is seen at once
            max_replicas=most,
            target_ongoing_requests=given.target_ongoing_requests,
            upscale_delay_s=given.upscale_delay_s,
            downscale_delay_s=given.downscale_delay_s,
            downscale_to_zero_delay_s=given.scale_to_zero_delay_s,
            metrics_interval_s=2.0,
            look_back_period_s=max(4.0, min(30.0, given.upscale_delay_s)),
        )
        return {"autoscaling_config": scaling}


def common_options(given: ServeArguments) -> dict[str, Any]:
    """Options of every deployment."""
    return {
        "graceful_shutdown_timeout_s": given.grace_s,
        "graceful_shutdown_wait_loop_s": 0.2,
        "health_check_period_s": HEALTH_SECONDS,
        "max_constructor_retry_count": STARTS,
    }


def contents(folder: Path) -> str:
    """A digest of what a published folder holds: of its artifact where an expert shares parts with others."""
    folder = folder.absolute()
    for artifact in (folder, *folder.parents)[:4]:
        if (artifact / MANIFEST).is_file():
            files = json.loads((artifact / MANIFEST).read_text(encoding="utf-8")).get("files", {})
            name = folder.relative_to(artifact).as_posix()
            shared = (artifact / COMMON).is_dir()
            return json.dumps([name, {n: each for n, each in files.items() if shared or n.startswith(f"{name}/")}])
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return json.dumps({str(path.relative_to(folder)): file_digest(path) for path in found})


def _digest(*texts: str) -> str:
    return sha256(json.dumps(texts).encode()).hexdigest()[:12]
