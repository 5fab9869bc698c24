"""From a recipe to its steps, and each step's fingerprint."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator import plugins
from orchestrator.artifacts import digest
from orchestrator.config.base import build
from orchestrator.config.identity import plugins_in
from orchestrator.config.recipe import Recipe, TokenizerConfig, TrainingConfig
from orchestrator.stages.alignment import AlignmentStage
from orchestrator.stages.base import Stage
from orchestrator.stages.blocks import BlocksStage
from orchestrator.stages.cache import CacheStage, Draw
from orchestrator.stages.corpus import CorpusStage
from orchestrator.stages.evaluation import EvaluationStage
from orchestrator.stages.expert import ExpertStage
from orchestrator.stages.joint import JointStage
from orchestrator.stages.mixture import MixtureStage
from orchestrator.stages.report import ReportStage
from orchestrator.stages.router import RouterStage
from orchestrator.stages.teacher import TeacherStage
from orchestrator.stages.tokenizer import TokenizerStage
from orchestrator.stages.tokens import TokensStage
from orchestrator.stages.vocabulary import VocabularyStage

DATA = {"blocks": "blocks", "tokenizer": "tokenizer"}
"""Inputs of whatever trains or measures models."""


@dataclass(frozen=True)
class Step:
    """A stage in the graph.

    Attributes:
        name: of the step.
        stage: its configuration.
        inputs: which step fills each input (role -> step name).
        alone: no other training runs beside this one, so it may use the CPUs of every slot.
        kind: what sort of step it is, which its artifacts are kept under: steps of a study have names of their own.
        origin: its name in the graph of its recipe, where it has another name in the graph of a sweep.
    """

    name: str
    stage: Stage
    inputs: Mapping[str, str] = field(default_factory=dict)
    alone: bool = False
    kind: str = ""
    origin: str = ""

    @property
    def place(self) -> str:
        """Folder of its artifacts: of its kind, or its name."""
        return self.kind or self.name


def steps_of(recipe: Recipe) -> tuple[Step, ...]:
    """The steps of an experiment in an order in which each comes after its inputs."""
    if recipe.study is not None:
        steps: tuple[Step, ...] = build("study", recipe.study).steps(recipe)
        return steps
    main = main_line(recipe)
    shown = recipe.model_dump(mode="json", exclude={"resources", "tracking"})
    return (*main, Step("report", ReportStage(recipe=shown), {step.name: step.name for step in main}))


def main_line(recipe: Recipe) -> tuple[Step, ...]:
    """The steps from text to the evaluation of one mixture."""
    languages, seed = tuple(recipe.corpus.languages), recipe.seed
    code = tuple(name for name, config in recipe.corpus.languages.items() if config.kind == "code")
    router = RouterStage(router=recipe.router, languages=languages, code_languages=code, seed=seed)
    teaching = _teaching(recipe)
    making = _joint(recipe) if build("models.setups", recipe.setup).joint else _experts(recipe)
    return (
        *_data(recipe),
        *teaching,
        *making,
        Step("router", router, {**DATA, "corpus": "corpus"}),
        Step(
            "mixture",
            MixtureStage(setup=recipe.setup, languages=languages),
            {"router": "router", **{step.name: step.name for step in making}},
        ),
        Step(
            "evaluation",
            EvaluationStage(evaluation=recipe.evaluation, languages=languages, seed=seed),
            {**DATA, "teacher": "teacher", "mixture": "mixture", **_alignments(recipe)},
            alone=True,
        ),
    )


def learning_inputs(recipe: Recipe, languages: Iterable[str]) -> dict[str, str]:
    """What a student of some languages reads: the data, and its vocabulary, teacher and caches where it needs them."""
    teacher = {"teacher": "teacher"} if recipe.experts.needs_teacher else {}
    distillation = recipe.experts.distillation
    kinds = ["cache"] * distillation.cached + ["vocabulary"] * (recipe.experts.vocabulary is not None)
    kinds += ["alignment"] * (distillation.alignment is not None)
    own = {f"{kind}-{language}": f"{kind}-{language}" for language in languages for kind in kinds}
    return {**DATA, **teacher, **own}


def expert_seed(recipe: Recipe) -> int:
    """Seed of the experts' weights and batches."""
    return _seed(recipe.experts.training, recipe.seed)


def _data(recipe: Recipe) -> tuple[Step, ...]:
    languages, seed = tuple(recipe.corpus.languages), recipe.seed
    owner = recipe.teacher.model if recipe.tokenizer.of_teacher else None
    tokenizer = TokenizerStage(tokenizer=recipe.tokenizer, teacher=owner, languages=languages, seed=seed)
    return (
        Step("corpus", CorpusStage(corpus=recipe.corpus, seed=seed)),
        Step("tokenizer", tokenizer, {"corpus": "corpus"}),
        Step("tokens", TokensStage(languages=languages), {"corpus": "corpus", "tokenizer": "tokenizer"}),
        Step("blocks", BlocksStage(blocks=recipe.blocks, languages=languages, seed=seed), {"tokens": "tokens"}),
    )


def _teaching(recipe: Recipe) -> Iterator[Step]:
    seed, distillation = recipe.seed, recipe.experts.distillation
    aligned, own_seed = _alignments(recipe), _seed(recipe.teacher.training, seed)
    teacher = TeacherStage(teacher=recipe.teacher, seed=own_seed, own_tokenizer=bool(aligned))
    yield from _aligning(recipe)
    yield Step("teacher", teacher, {**DATA, "tokenizer": "teacher-tokenizer"} if aligned else DATA, alone=True)
    precision, vocabulary = recipe.experts.training.precision, recipe.experts.vocabulary
    own = {} if vocabulary is None else {name: f"vocabulary-{name}" for name in recipe.corpus.languages}
    for language, name in own.items():
        yield Step(name, VocabularyStage(language=language, vocabulary=vocabulary), DATA)
    drawn = Draw.of(recipe.experts.training, expert_seed(recipe)) if distillation.cache == "drawn" else None
    for language in recipe.corpus.languages if distillation.cached else ():
        stage = CacheStage(language=language, teacher=distillation.teacher, precision=precision, seed=seed, drawn=drawn)
        beside = [name for name in (own.get(language), aligned.get(f"alignment-{language}")) if name]
        inputs = {"blocks": "blocks", "teacher": "teacher", **{name: name for name in beside}}
        yield Step(f"cache-{language}", stage, inputs)


def _alignments(recipe: Recipe) -> dict[str, str]:
    """Inputs of whatever reads the teacher, where its tokens are not the run's."""
    names = (f"alignment-{name}" for name in recipe.corpus.languages)
    return {} if recipe.experts.distillation.alignment is None else {name: name for name in names}


def _aligning(recipe: Recipe) -> Iterator[Step]:
    """The text in the tokens of a teacher that has others than the run, and where both meet."""
    if recipe.experts.distillation.alignment is None:
        return
    languages, model = tuple(recipe.corpus.languages), recipe.teacher.model
    taken = TokenizerStage(
        tokenizer=TokenizerConfig(of_teacher=True), teacher=model, languages=languages, seed=recipe.seed
    )
    theirs = {"tokenizer": "teacher-tokenizer", "tokens": "teacher-tokens"}
    yield Step(theirs["tokenizer"], taken)
    yield Step(
        theirs["tokens"], TokensStage(languages=languages), {"corpus": "corpus", "tokenizer": theirs["tokenizer"]}
    )
    inputs = {**DATA, "tokens": "tokens", **{f"teacher-{role}": name for role, name in theirs.items()}}
    for language in languages:
        yield Step(f"alignment-{language}", AlignmentStage(language=language, teacher=model), inputs)


def _experts(recipe: Recipe) -> tuple[Step, ...]:
    seed = expert_seed(recipe)
    return tuple(
        Step(
            f"expert-{language}",
            ExpertStage(language=language, experts=recipe.experts, seed=seed),
            learning_inputs(recipe, [language]),
        )
        for language in recipe.corpus.languages
    )


def _joint(recipe: Recipe) -> tuple[Step, ...]:
    languages = tuple(recipe.corpus.languages)
    stage = JointStage(
        setup=recipe.setup,
        experts=recipe.experts,
        languages=languages,
        learn=languages,
        seed=expert_seed(recipe),
    )
    return (Step("joint", stage, learning_inputs(recipe, languages)),)


def _seed(training: TrainingConfig, default: int) -> int:
    return default if training.seed is None else training.seed


def fingerprints(steps: Sequence[Step], given: Mapping[str, str] | None = None) -> dict[str, str]:
    """Step name -> SHA-256 of the stage with its version and configuration, what it reads from outside, and its inputs.

    Args:
        steps: each after its inputs.
        given: fingerprints of the inputs that are no step of these.

    Raises:
        MomeError: something that a stage reads from outside (a source, a pretrained model) is missing.
    """
    known = dict(given or {})
    for step in steps:
        inputs = {role: known[name] for role, name in step.inputs.items()}
        known[step.name] = digest({**step.stage.identity(), "external": step.stage.external(), "inputs": inputs})
    return known


def code_of(stage: Stage) -> set[str]:
    """Modules that a stage's work begins in: its own and its plug-ins'."""
    found = (plugins.find(spec.room, spec.type) for spec in plugins_in(stage) if spec.room)
    return {type(stage).__module__, *(module for cls in found for module in plugins.sources_of(cls))}
