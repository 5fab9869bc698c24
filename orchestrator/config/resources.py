"""The section of a recipe that says where things run."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from orchestrator.available import WeightsPlace
from orchestrator.config.base import Section, plugin_of
from orchestrator.errors import ResourceError
from orchestrator.remote.objects import check_address


class ResourcesConfig(Section):
    """Where things run. Changes no result but for floating-point order, and is not part of any fingerprint."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device of the training workers; auto: GPUs where there are any."""
    workers: int = Field(1, ge=1)
    """Training workers of one model (data parallel)."""
    min_workers: int | None = Field(None, ge=1)
    """Least workers with which a training begins, or goes on where nodes were lost; it takes the largest divisor of
    `workers` that the cluster has GPUs (or CPUs) for, and the same batches. null: as many as `workers`."""
    slots: int | None = Field(None, ge=1)
    """Models in training at the same time; null: as many as the GPUs (or CPUs) allow."""
    cpus: float | None = Field(None, gt=0)
    """CPUs to use; null: all."""
    micro_batch: int | None = Field(None, ge=1)
    """Most blocks that a training worker computes at once: a micro-batch of more is computed in pieces. The same steps,
    with less memory, but for other random numbers of dropout and a balance of MoE layers over fewer tokens. null: whole
    micro-batches, and after a want of memory half as many."""
    teacher_weights: WeightsPlace = "auto"
    """Where the weights of a teacher lie that a cache and the evaluation compute with: in `memory`, or on `disk`, from
    where one layer is read at a time. auto: in memory, if it is large enough."""
    threads: int | None = Field(None, ge=1)
    """Compute threads of a training worker; null: the CPUs divided by the workers at work."""
    strategy: plugin_of("training.strategies") | Literal["auto"] = "auto"  # type: ignore[valid-type]
    """`single` (plain torch, one worker) or `deepspeed` (any number of workers, ZeRO 0 to 3); auto: deepspeed on GPUs
    or with several workers, single otherwise."""
    storage: str | None = Field(None, min_length=1)
    """Address of a store that all nodes reach (s3://BUCKET/FOLDER): nodes need not share the run's folder then. null:
    they do. Of no use on a cluster of the run's own."""
    max_failures: int = Field(2, ge=0)
    """Restarts of a training whose worker died, from its last checkpoint. A node that is lost costs none."""
    priority: int = Field(0, ge=-100, le=100)
    """On a cluster that runs share, trainings of a higher priority go first. Half an hour of waiting counts as one."""

    @field_validator("storage")
    @classmethod
    def _is_a_store(cls, url: str | None) -> str | None:
        try:
            if url is not None:
                check_address(url)
        except ResourceError as error:
            message = f"{error.where}: {error.what} ({error.fix})"  # the address without a login
            raise PydanticCustomError("field", "{message}", {"message": message}) from None
        return url

    @model_validator(mode="after")
    def _least_and_most(self) -> ResourcesConfig:
        if (self.min_workers or 1) > self.workers:
            raise ValueError(f"resources.min_workers is {self.min_workers} and resources.workers {self.workers}")
        return self
