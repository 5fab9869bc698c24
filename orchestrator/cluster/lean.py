"""Ray's TorchTrainer with fewer processes a training: start-up is dominated by starting processes.

Ray Train has no public switch for them, so this file, and no other one, imports what is private in Ray Train. A Ray
that has it elsewhere is used by its public interface alone, which a line says.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Literal, NamedTuple

Group = Literal["none", "told", "joined"]
"""How workers are connected: not at all; by themselves, see :mod:`orchestrator.cluster.meeting`; or by Ray Train."""


class _Parts(NamedTuple):
    """What is private: the trainer below TorchTrainer, and what starts a process each.

    Attributes:
        base: TorchTrainer's base class.
        data: manages Ray Data sets, which no stage uses.
        cleaner: removes the placement group of a controller that died, which :mod:`orchestrator.cluster.groups` does.
        scaling: asks for nodes, by way of an actor of Ray Data that a controller waits a second for, which
            :mod:`orchestrator.cluster.room` does.
    """

    base: Any
    data: Any
    cleaner: Any
    scaling: Any


def make_trainer(function: Callable[..., None], *, group: Group, **arguments: Any) -> Any:
    """A trainer of Ray Train whose `fit` runs `function` on every worker.

    Args:
        function: the train function.
        arguments: as TorchTrainer takes them.
        group: unless Ray joins the workers, the controller is spared torch: 3 s and 150 MB.
    """
    parts = _parts()
    if parts is None:
        return _torch_trainer()(function, **arguments)
    unused = (parts.data, parts.cleaner)
    base: Any = _torch_trainer() if group == "joined" else parts.base
    if group == "told":
        from orchestrator.cluster.meeting import Meeting

        arguments["backend_config"] = Meeting()
    scaling: Any = parts.scaling

    class Lean(base):  # type: ignore[misc, valid-type]
        def _create_default_callbacks(self) -> list[Any]:
            return [callback for callback in super()._create_default_callbacks() if not isinstance(callback, unused)]

        def _initialize_and_run_controller(self, **given: Any) -> Any:
            if type(given["scaling_policy"]) is scaling:
                given["scaling_policy"] = Still(self.scaling_config)
            return super()._initialize_and_run_controller(**given)

    class Still(scaling):  # type: ignore[misc]
        def after_controller_start(self, train_run_context: Any) -> None:
            pass

        def _maybe_send_resource_request(self) -> None:
            pass

    return Lean(function, **arguments)


@cache
def _parts() -> _Parts | None:
    try:
        from ray.train.v2._internal.callbacks import DatasetsCallback
        from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
        from ray.train.v2._internal.execution.scaling_policy import FixedScalingPolicy
        from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

        _ = DataParallelTrainer._create_default_callbacks, DataParallelTrainer._initialize_and_run_controller
        _ = FixedScalingPolicy.after_controller_start, FixedScalingPolicy._maybe_send_resource_request
    except (ImportError, AttributeError):
        import ray

        print(f"Ray {ray.__version__} starts more processes a training than it needs to: its parts have moved")
        return None
    return _Parts(DataParallelTrainer, DatasetsCallback, PlacementGroupCleanerCallback, FixedScalingPolicy)


def _torch_trainer() -> Any:
    from ray.train.torch import TorchTrainer  # imports torch

    return TorchTrainer
