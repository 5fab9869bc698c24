"""What a student is: a model of several languages that experts are compared with."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from orchestrator.config.base import Section, plugin_of


class StudentConfig(Section):
    """One student of several languages: a baseline."""

    model: plugin_of("models.zoo") | None = None  # type: ignore[valid-type]
    """Architecture; null: an expert's."""
    initialise: Literal["random", "average", "branch_train_mix"] = "random"
    """Weights to begin with: random; the experts' mean (BTM); or their feed-forwards as the experts of a token-routed
    model and the mean of the rest (BTX), for which `model` is a token-moe."""
    tokens: int | None = Field(None, ge=0)
    """Tokens to train on; null: as many as all experts together; 0: none."""
    trainable: Literal["all", "token_router"] = "all"
    """What training changes."""

    @model_validator(mode="after")
    def _fits_together(self) -> StudentConfig:
        routed = self.model is not None and self.model.type == "token-moe"
        if (self.initialise == "branch_train_mix" or self.trainable == "token_router") and not routed:
            raise ValueError("branch_train_mix and token_router need model: token-moe")
        if self.tokens == 0 and self.initialise != "average":
            raise ValueError("tokens: 0 is for initialise: average")
        return self
