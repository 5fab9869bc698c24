"""What an expert learns from its teacher, and how."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from orchestrator.config.base import PluginSpec, Section, build, plugin_of


class AlignmentConfig(Section):
    """Text in the tokens of two tokenizers, and what can be compared of it."""

    type: Literal["spans"] = "spans"
    """`spans`: where both models have read the same bytes, their distributions over what follows are compared, added up
    over classes of next texts that both tell apart."""

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, data: Any) -> Any:
        return {"type": data} if isinstance(data, str) else data


class DistillationConfig(Section):
    """Loss = alpha · CE + beta · soft (paper, equation 1)."""

    soft: plugin_of("losses", "forward_kl") | None = PluginSpec(type="forward_kl")  # type: ignore[valid-type]
    """The soft loss between the student's and the teacher's distributions; null: cross-entropy alone, no teacher."""
    hidden: plugin_of("losses.hidden", "cosine") | None = None  # type: ignore[valid-type]
    """A loss between last hidden states, added to the others with its weight; null: none."""
    schedule: plugin_of("schedules", "fixed") = PluginSpec(type="fixed")  # type: ignore[valid-type]
    """Alpha and beta at each step."""
    teacher: plugin_of("teacher", "live") = PluginSpec(type="live")  # type: ignore[valid-type]
    """Where the teacher's distributions come from: `live`, or a cache that is written once for all trainings."""
    cache: Literal["whole", "drawn"] = "whole"
    """Text that a cache is written for: `whole` serves every training, of any length and seed; `drawn` is what these
    experts' trainings draw, which is sooner written where `tokens` is a small part of the text."""
    positions: float = Field(1.0, gt=0, le=1)
    """Share of the positions that the soft loss is computed at, scaled by its inverse: less of the teacher's head to
    compute. Cross-entropy is computed at all."""
    chosen: Literal["drawn", "entropy"] = "drawn"
    """How these positions are chosen. `drawn`: anew in each step, the same in expectation as all. `entropy`: those of a
    micro-batch where the student is least certain (SE-KD, arXiv:2602.01395), another loss: the mean over these."""
    alignment: AlignmentConfig | None = None
    """How a pretrained teacher with another tokenizer than the run's is listened to; null: it has the run's."""

    @property
    def cached(self) -> bool:
        """Whether a cache is written before."""
        return self.soft is not None and bool(build("teacher", self.teacher).reads_cache)

    @model_validator(mode="after")
    def _fit_together(self) -> DistillationConfig:
        if self.chosen == "entropy" and self.positions == 1:
            raise ValueError("chosen: entropy chooses some of the positions, and positions: 1 takes all; set 0.25, say")
        if self.soft is None:
            if self.hidden is not None:
                raise ValueError("a loss between hidden states needs a teacher, and soft: null has none")
            if self.alignment is not None:
                raise ValueError("alignment is with a teacher, and soft: null has none; leave it out")
            return self
        if self.alignment is not None and self.hidden is not None:
            raise ValueError("a loss between hidden states is for a teacher with the same tokens; leave out alignment")
        if self.alignment is not None and not build("teacher", self.teacher).aligns:
            name = self.teacher.type
            raise ValueError(f"teacher: {name} can't serve other tokens than the teacher's; use hidden_cache or live")
        hidden = None if self.hidden is None else build("losses.hidden", self.hidden)
        if refusal := build("teacher", self.teacher).refusal(build("losses", self.soft), hidden):
            raise ValueError(refusal)
        return self
