"""A study: what is trained beside a recipe's main line, on the same tokens, to answer the paper's questions."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from orchestrator.config.base import PluginSpec, Section, plugin_of

Label = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=32)]


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


class StudySweep(Section):
    """Configurations of experts that are compared with each other: a sweep's, by the names of its fields."""

    overrides: dict[str, Any] = Field(default_factory=dict)
    """Changes that all trials share: dotted recipe field -> value."""
    configurations: dict[str, dict[str, Any]] = Field(min_length=2)
    """Changes by the name of the configuration; the first is what the others are compared with."""
    description: str = ""
    """What it asks."""
    languages: tuple[str, ...] = ()
    """Experts trained in each trial; none: the recipe's first language."""
    references: tuple[dict[str, Any], ...] = ()
    """The paper's numbers."""


class StudyConfig(Section):
    """Everything is trained with every seed; data, teacher and caches are shared."""

    seeds: tuple[Annotated[int, Field(ge=0, lt=2**31)], ...] = Field((1, 2, 3), min_length=1)
    """Seeds of weights and batch order."""
    setups: dict[Label, plugin_of("models.setups")] = Field(  # type: ignore[valid-type]
        {name: PluginSpec(type=name) for name in ("ple", "jeet", "moe_ce")}, min_length=1
    )
    """Mixtures to compare, by a name for each."""
    baselines: dict[Label, StudentConfig] = Field(default_factory=dict)
    """Students to compare them with, by a name for each."""
    forgetting: bool = True
    """Measure what is forgotten: students and mixtures that learn the languages one after the other, all together, and
    a last language later (paper, section 4.7)."""
    sweeps: dict[Label, StudySweep] = Field(default_factory=dict)
    """Comparisons of experts, by the question they answer (rq1, rq2, recipe). A sweep's file may stand for one: its
    name, or `file` beside fields that it changes."""

    @model_validator(mode="after")
    def _fits_together(self) -> StudyConfig:
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("a seed is there twice")
        if clash := sorted(set(self.setups) & set(self.baselines)):
            raise ValueError(f"{clash[0]} is the name of a setup and of a baseline")
        return self
