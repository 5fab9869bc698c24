"""Whether a recipe fits a described cluster, how long it takes there, and what that costs, before anything is paid."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from orchestrator.api.plans import RunPlan, planned_run
from orchestrator.api.recipes import read_recipe
from orchestrator.artifacts import Store
from orchestrator.config.cluster_file import ClusterFile, read_cluster
from orchestrator.config.recipe import Recipe
from orchestrator.errors import ResourceError
from orchestrator.nodes import Cluster, Node, shapes
from orchestrator.pipeline.graph import Step
from orchestrator.pipeline.plan import make_plan
from orchestrator.plugins import suggest
from orchestrator.resources import Allocation, expected_on


@dataclass(frozen=True)
class ClusterCheck:
    """What a recipe needs of a described cluster.

    Attributes:
        plan: of all its steps, on the largest number of nodes that the file allows.
        nodes: that are at work at the same time, at most.
        hourly: dollars an hour of these nodes and the head; None: without prices.
    """

    plan: RunPlan
    nodes: tuple[Node, ...]
    hourly: float | None

    @property
    def dollars(self) -> float | None:
        """Of the whole run, where these nodes are there from its beginning to its end; None: without prices."""
        return None if self.hourly is None else self.hourly * self.plan.seconds / 3600

    @property
    def outlook(self) -> tuple[str, ...]:
        """Sentences on nodes and money."""
        kinds = Counter(node.kind for node in self.nodes)
        named = ", ".join(f"{count} x {kind}" for kind, count in kinds.items())
        fits = f"it fits; at work at the same time, at most: {shapes(self.nodes)} ({named})"
        if self.hourly is None or self.dollars is None:
            return (fits,)
        without = "machines that start or idle come on top"
        return fits, f"at most ${self.hourly:.2f} an hour, with the head; in all about ${self.dollars:.2f} ({without})"


def check_cluster(
    recipe: Recipe | Path | str, file: Path | str, *overrides: str, prices: Mapping[str, float] | None = None
) -> ClusterCheck:
    """Check a recipe against the description of a cluster. Nothing is started, and nothing is asked of a provider.

    Example:
        >>> from orchestrator.api.clusters import check_cluster
        >>> found = check_cluster("paper", "cluster.yaml", prices={"head": 0.4, "gpu": 10.5, "gpu-spot": 4.2})
        >>> found.plan.seconds, found.hourly, found.dollars

    Args:
        recipe: a recipe, its file, or the name of one that comes with MoME.
        file: Ray's cluster file, or KubeRay's RayCluster, RayJob or RayService.
        overrides: fields of the recipe to change.
        prices: dollars an hour of a node by type, the head's too; None: without them.

    Raises:
        ResourceError: the file describes no cluster, the recipe does not fit, or a price is of no type of the file.
        MomeError: the recipe can't work.
    """
    found, described = read_recipe(recipe, overrides), read_cluster(Path(file))
    if described.document is not None:
        with suppress(ImportError):  # without Ray the file's own keys are checked all the same
            from orchestrator.cluster.shapes import check_schema

            check_schema(described.document, described.file)
    _check_prices(described, prices or {})
    cluster = described.largest(found.resources.device != "cpu")
    each, alone = expected_on(found.resources, cluster)
    with TemporaryDirectory() as nothing:  # what this machine has made says nothing of what the cluster has
        plan = make_plan(found, Store(Path(nothing)))
        planned = planned_run(found, plan, False, cluster)
    steps = [each.step for each in plan.steps]
    _check_memory(planned, steps, cluster, each, alone)
    nodes = _at_work(planned, steps, cluster, each, alone)
    return ClusterCheck(planned, nodes, _hourly(described, nodes, prices) if prices else None)


def _check_prices(described: ClusterFile, prices: Mapping[str, float]) -> None:
    for name, price in prices.items():
        if name not in described.kinds:
            raise ResourceError(f"there is no node type {name!r}", "--price", suggest(name, described.kinds))
        if not 0 < price < float("inf"):
            raise ResourceError(f"{price:g} is no price", f"--price {name}", "give dollars an hour, more than 0")


def _hourly(described: ClusterFile, nodes: Sequence[Node], prices: Mapping[str, float]) -> float:
    """Dollars of nodes and the head.

    Raises:
        ResourceError: the price of one is missing.
    """
    paid = Counter(node.kind for node in nodes)
    paid[described.head] = max(1, paid[described.head])
    if missing := sorted(paid.keys() - prices.keys()):
        what = f"the price of {' and '.join(missing)} is missing"
        raise ResourceError(what, "--price", " ".join(f"--price {name}=DOLLARS" for name in missing))
    return sum(count * prices[kind] for kind, count in paid.items())


def _check_memory(plan: RunPlan, steps: Sequence[Step], cluster: Cluster, each: Allocation, alone: Allocation) -> None:
    """Make sure that the workers of a training have room on a node, where the description says what that has."""
    sizes = {step.name: step.cost.memory_bytes for step in plan.steps}
    for step in steps:
        share = alone if step.alone else each
        if not step.stage.distributed or share.device != "cpu":  # a GPU's memory is in no description
            continue
        for node in cluster.nodes:
            beside = min(node.places(share.cpus_per_worker, 0), share.workers * share.slots)
            if node.memory and beside * sizes[step.name] > node.memory:
                what = f"{beside} workers of {step.name} need {beside * sizes[step.name] / 1e9:.3g} GB"
                where = f"{cluster.source}: {node.kind}, with {node.memory / 1e9:.3g} GB"
                raise ResourceError(what, where, "fewer resources.slots, or nodes with more memory")


def _at_work(
    plan: RunPlan, steps: Sequence[Step], cluster: Cluster, each: Allocation, alone: Allocation
) -> tuple[Node, ...]:
    """The nodes that the trainings fill when most of them are at work."""
    planned = {step.name: step for step in plan.steps}
    most, ends = 1, list[float]()
    for step in sorted(
        (s for s in steps if s.stage.distributed or s.stage.accelerated), key=lambda step: planned[step.name].begins
    ):
        begins, seconds = planned[step.name].begins, planned[step.name].seconds
        while ends and ends[0] <= begins:
            heapq.heappop(ends)
        heapq.heappush(ends, begins + seconds)
        most = max(most, len(ends))
    found = (
        cluster.filled(share.workers * count, share.cpus_per_worker, share.gpus_per_worker)
        for share, count in ((each, most), (alone, 1))
    )
    return max(found, key=len)
