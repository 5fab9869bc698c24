"""The recipe: everything an experiment is made of, section by section, in the order of the data flow.

Sections that change results are part of stage fingerprints; ``resources`` and ``tracking`` say only where things run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from orchestrator.config.base import PluginSpec, Section, build, plugin_of
from orchestrator.config.corpus import CodeFilter as CodeFilter
from orchestrator.config.corpus import CorpusConfig as CorpusConfig
from orchestrator.config.corpus import DeduplicationConfig as DeduplicationConfig
from orchestrator.config.corpus import LanguageConfig as LanguageConfig
from orchestrator.config.corpus import SplitConfig as SplitConfig
from orchestrator.config.distillation import AlignmentConfig as AlignmentConfig
from orchestrator.config.distillation import DistillationConfig as DistillationConfig
from orchestrator.config.names import Fraction, Name
from orchestrator.config.resources import ResourcesConfig as ResourcesConfig
from orchestrator.config.routing import BEST, COMMON, ERROR
from orchestrator.config.routing import RouterConfig as RouterConfig
from orchestrator.config.vocabulary import TokenizerConfig as TokenizerConfig
from orchestrator.config.vocabulary import VocabularyConfig as VocabularyConfig


class BalanceConfig(Section):
    """How many tokens of each language the balanced set holds (the paper's balanced dataset creator)."""

    tokens_per_language: int | None = Field(None, ge=1)
    """Training tokens of each language; null: as many as the smallest language has."""
    max_diff_percent: float = Field(5.0, gt=0, le=100)
    """Largest difference allowed between two languages' training tokens, in percent of the larger; with a `unit` or a
    `temperature`, between its tokens and what these give it."""
    unit: Literal["tokens", "bytes", "characters"] = "tokens"
    """What the languages have equally much of in training: a text takes more bytes, or tokens, in one script than in
    another. Where it is not tokens, `tokens_per_language` is a mean over the languages."""
    temperature: float | None = Field(None, ge=1)
    """Shares of training by size^(1/temperature) in place of equal ones: 1 takes all text as it is, more repeats the
    documents of small languages. null: equal."""
    max_repeats: float = Field(4.0, ge=1)
    """How often a small language's text is taken, at most, where there is a temperature."""


class BlocksConfig(Section):
    """Packed token blocks."""

    context: int = Field(1024, ge=8)
    """Tokens of a block: the length a model sees."""
    balance: BalanceConfig = Field(default_factory=BalanceConfig)
    """Balance between the languages."""


class TrainingConfig(Section):
    """One training run, of the teacher or of an expert."""

    tokens: int | None = Field(None, ge=1)
    """Tokens to train on in all; null: `epochs` over the data."""
    epochs: float = Field(3.0, gt=0)
    """Passes over the data when `tokens` is null (the paper: 3)."""
    batch_tokens: int = Field(524_288, ge=8)
    """Tokens of an optimizer step, over all workers and accumulated micro-batches (the paper: 512 blocks of 1024)."""
    micro_batch: int = Field(32, ge=1)
    """Blocks a worker holds in memory at once."""
    sampling: Literal["mixed", "balanced", "by_language"] = "mixed"
    """Batches shuffled over all languages, with equal counts of each, or of one language at a time."""
    optimizer: plugin_of("training.optimizers", "adamw") = PluginSpec(type="adamw")  # type: ignore[valid-type]
    """Optimizer and its learning rate."""
    warmup: float = Field(0.05, ge=0, lt=1)
    """Share of the steps in which the learning rate rises from 0 (the paper: 5 %)."""
    decay: Literal["cosine", "linear", "constant", "wsd"] = "cosine"
    """How the learning rate falls after the warm-up; `wsd` (warm-up, stable, decay): over the last fifth."""
    final_lr: float = Field(0.1, ge=0, le=1)
    """Learning rate at the end, as a share of the highest."""
    clip: float = Field(1.0, gt=0)
    """Largest norm of the gradient; longer ones are scaled down to it."""
    precision: Literal["bf16", "fp32"] = "bf16"
    """Arithmetic of the forward pass; weights and optimizer state stay in fp32, as do softmaxes and losses. CPUs
    that are no faster in bf16, as measured once, compute in fp32 whatever this says; `training.json` tells which."""
    eval_every: int = Field(100, ge=1)
    """Optimizer steps between evaluations on the validation split."""
    eval_blocks: int = Field(64, ge=1)
    """Blocks of each language evaluated then."""
    checkpoint_every: int = Field(100, ge=1)
    """Optimizer steps between checkpoints; a killed run goes on from the last one."""
    publish: Literal["best", "last"] = "best"
    """Which weights become the artifact: those of the lowest validation loss, or the last."""
    seed: int | None = Field(None, ge=0, lt=2**31)
    """Seed of this training's weights and batch order; null: the recipe's. The corpus stays the same whatever it is."""


class TeacherConfig(Section):
    """The multilingual teacher."""

    model: plugin_of("models.zoo")  # type: ignore[valid-type]
    """Architecture, by name from the zoo, or `pretrained` with a path or hub name."""
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    """Its training; skipped when `model` is pretrained and `train` is false."""
    train: bool = True
    """Train the model. False: take a pretrained one as it is."""

    @model_validator(mode="after")
    def _has_weights(self) -> TeacherConfig:
        if not self.train and self.model.type != "pretrained":
            what = f"the teacher {self.model.type!r} is neither pretrained nor to be trained"
            raise ValueError(f"{what}; set teacher.train: true, or teacher.model: {{type: pretrained, name: …}}")
        return self


class ExpertsConfig(Section):
    """One expert a language, distilled from the teacher in parallel."""

    model: plugin_of("models.zoo")  # type: ignore[valid-type]
    """Architecture of every expert."""
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    """Training of each expert."""
    distillation: DistillationConfig = Field(default_factory=DistillationConfig)
    """Losses, schedule and teacher."""
    initialise: Literal["random", "teacher"] = "random"
    """Weights to begin with: random, or every second of the teacher's layers (every k-th), as DistilBERT does."""
    vocabulary: VocabularyConfig | None = None
    """Cut each expert's vocabulary to its language; null: it has the teacher's."""

    @property
    def needs_teacher(self) -> bool:
        """Whether an expert learns from the teacher or begins as a part of it."""
        return self.distillation.soft is not None or self.initialise == "teacher"


class EvaluationConfig(Section):
    """Perplexity on held-out text."""

    split: Literal["validation", "test"] = "test"
    """Split that the report's numbers come from."""
    max_blocks: int | None = Field(None, ge=1)
    """Blocks of each language, at most; null: all."""
    batch: int = Field(16, ge=1)
    """Blocks in memory at once."""
    bootstrap: int = Field(1000, ge=100)
    """Bootstrap resamples of the documents (or of the works that they are parts of) for the intervals."""
    confidence: Fraction = 0.95
    """Coverage of the intervals."""
    samples: int = Field(2, ge=0, le=20)
    """Beginnings of held-out text of each language that the teacher and its expert go on from, for the report."""


class TrackingConfig(Section):
    """The experiment tracker."""

    type: Literal["mlflow", "none"] = "mlflow"
    """MLflow at MLFLOW_TRACKING_URI, or in the run's folder where that is not set; none: only the run's own files."""
    experiment: str = "mome"
    """Name of the MLflow experiment."""


class Recipe(Section):
    """One experiment, from text to a report."""

    name: Name
    """Name of the run: its folder under `runs/`."""
    description: str = ""
    """What it is for, in a sentence or two; shown in the report."""
    seed: int = Field(17, ge=0, lt=2**31)
    """Seed of everything that is random."""
    corpus: CorpusConfig
    """Text in."""
    tokenizer: TokenizerConfig = Field(default_factory=TokenizerConfig)
    """Text to tokens."""
    blocks: BlocksConfig = Field(default_factory=BlocksConfig)
    """Tokens to balanced, packed blocks."""
    teacher: TeacherConfig
    """The multilingual model that experts learn from."""
    experts: ExpertsConfig
    """One small model a language."""
    setup: plugin_of("models.setups", "ple") = PluginSpec(type="ple")  # type: ignore[valid-type]
    """How experts make a mixture: `ple`, each on its own; `jeet` or `moe_ce`, trained together."""
    router: RouterConfig = Field(default_factory=RouterConfig)
    """Text to expert."""
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)
    """Held-out perplexity."""
    study: plugin_of("study") | None = None  # type: ignore[valid-type]
    """What is trained beside the main line, over the same data and teacher; null: the main line alone."""
    resources: ResourcesConfig = Field(default_factory=ResourcesConfig)
    """Where things run."""
    tracking: TrackingConfig = Field(default_factory=TrackingConfig)
    """Where metrics go."""

    @model_validator(mode="before")
    @classmethod
    def _tokenizer_of_the_teacher(cls, data: Any) -> Any:
        """A teacher that is taken as it is brings its tokenizer, unless the recipe has one."""
        teacher = data.get("teacher") if isinstance(data, Mapping) else None
        if not isinstance(teacher, Mapping) or "tokenizer" in data:
            return data
        model = teacher.get("model")
        kind = model.get("type") if isinstance(model, Mapping) else getattr(model, "type", model)
        if kind == "pretrained" and teacher.get("train") is False:
            return {**data, "tokenizer": {"of_teacher": True}}
        return data

    @model_validator(mode="after")
    def _tokenizer_is_one(self) -> Recipe:
        if self.tokenizer.of_teacher and self.teacher.model.type != "pretrained":
            raise ValueError("tokenizer.of_teacher: the teacher is not pretrained, so it has no tokenizer yet")
        if self.tokenizer.of_teacher and self.tokenizer.path is not None:
            raise ValueError("tokenizer: path and of_teacher name two tokenizers; leave one out")
        return self

    @model_validator(mode="after")
    def _vocabularies_of_their_own(self) -> Recipe:
        if self.experts.vocabulary is not None and build("models.setups", self.setup).joint:
            raise ValueError(f"experts.vocabulary: experts of {self.setup.type} share layers; set setup: ple")
        if self.experts.vocabulary is not None and self.study is not None:
            raise ValueError(f"experts.vocabulary: the study {self.study.type} compares experts of one vocabulary")
        return self

    @model_validator(mode="after")
    def _caches_of_one_training(self) -> Recipe:
        if self.experts.distillation.cache == "drawn":
            where = "experts.distillation.cache: drawn"
            if build("models.setups", self.setup).joint:
                raise ValueError(f"{where}: experts of {self.setup.type} are trained together; set cache: whole")
            if self.study is not None:
                raise ValueError(f"{where}: the trainings of a study share their caches; set cache: whole")
        return self

    @model_validator(mode="after")
    def _two_tokenizers(self) -> Recipe:
        if self.experts.distillation.alignment is None:
            return self
        where, experts = "experts.distillation.alignment", self.experts
        if self.teacher.model.type != "pretrained" or self.teacher.train:
            raise ValueError(f"{where}: the teacher has the run's tokens, unless it is pretrained and train: false")
        if self.tokenizer.of_teacher:
            raise ValueError(f"{where}: experts have the teacher's tokens; say in `tokenizer` which they are to have")
        if experts.vocabulary is not None or experts.initialise == "teacher":
            field = "initialise: teacher" if experts.vocabulary is None else "experts.vocabulary"
            raise ValueError(
                f"{where}: {field} is for experts that have the teacher's tokens; leave one of the two out"
            )
        if self.study is not None:
            raise ValueError(f"{where}: the study {self.study.type} compares models of one tokenizer")
        return self

    @model_validator(mode="after")
    def _rejects_go_somewhere(self) -> Recipe:
        reject, known = self.router.reject, (BEST, COMMON, ERROR, *self.corpus.languages)
        if reject not in known:
            raise ValueError(f"router.reject: {reject!r} is no policy and no language here; one of {', '.join(known)}")
        if reject == COMMON and not build("models.setups", self.setup).has_common:
            raise ValueError(f"router.reject: {self.setup.type} has no common expert; set setup: moe_ce, or best")
        return self

    @model_validator(mode="after")
    def _filters_of_languages(self) -> Recipe:
        known = {name for name, language in self.corpus.languages.items() if language.kind == "prose"}
        for spec in self.corpus.filters:
            if unknown := [name for name in build("corpus.filters", spec).languages if name not in known]:
                raise ValueError(f"corpus.filters: {spec.type} is for {unknown[0]!r}, no language of prose here")
        return self
