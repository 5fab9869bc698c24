"""Growing a mixture: an expert more, one less or one anew, as steps around what is there and is not made again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from orchestrator.artifacts import Artifact, Store
from orchestrator.config.base import PluginSpec
from orchestrator.config.recipe import Recipe, TeacherConfig
from orchestrator.errors import ModelError, VocabularyError
from orchestrator.mixtures.change import Change, changed_recipe, is_joint
from orchestrator.mixtures.version import Version
from orchestrator.mixtures.versions import EXPERT, Versions
from orchestrator.pipeline.graph import DATA, Step, learning_inputs, steps_of
from orchestrator.pipeline.plan import Plan, plan_around
from orchestrator.stages.added_blocks import AddedBlocksStage
from orchestrator.stages.corpus import CorpusStage
from orchestrator.stages.grown_blocks import GrownBlocksStage
from orchestrator.stages.grown_corpus import GrownCorpusStage
from orchestrator.stages.remaining_experts import RemainingExpertsStage
from orchestrator.stages.teacher import TeacherStage
from orchestrator.stages.tokens import TokensStage
from orchestrator.tokens.storage import SPLITS, read_json


@dataclass(frozen=True)
class Growth:
    """A change of a version, planned.

    Attributes:
        change: of what.
        version: that it begins from.
        recipe: of what is done.
        plan: of the steps.
        kept: parts of the version that stay, by name.
    """

    change: Change
    version: Version
    recipe: Recipe
    plan: Plan
    kept: Mapping[str, Artifact]

    def publish(self, artifacts: Mapping[str, Artifact]) -> Version:
        """Make what the steps have made, with what stays, the current version. For the holder of the run's lock."""
        before = Recipe.model_validate(self.version.recipe)
        # What was set for one expert's training is in that expert's manifest; the others, and later ones, keep theirs.
        corpus = before.corpus.model_copy(update={"languages": self.recipe.corpus.languages})
        sections = {"corpus": corpus, "router": self.recipe.router, "evaluation": self.recipe.evaluation}
        recipe = before.model_copy(update=sections).model_dump(mode="json")
        versions = Versions(self.plan.store.root)
        for part in self.kept.values():
            part.check()
        return versions.publish(self.change.action, self.version.number, recipe, {**artifacts, **self.kept})


def plan_growth(change: Change, version: Version, store: Store, *, adopt: bool = False) -> Growth:
    """The plan of a change: nothing of the version is made again, even where code or recipe have changed since.

    Args:
        change: to be made.
        version: to begin from.
        store: of its run.
        adopt: see :func:`orchestrator.pipeline.plan.make_plan`.

    Raises:
        RecipeError: the language is there, or is not; the last expert is to go; an override touches what is fixed.
        ModelError: a teacher of another vocabulary or tokenizer. ArtifactError: the version lacks something.
        CorpusError: a source is missing.
    """
    steps = _Steps(change, version, changed_recipe(change, version))
    made = steps.all()
    names = {step.name for step in made}
    needed = {name for step in made for name in step.inputs.values()} - names
    given = {name: version.part(steps.before.get(name, name)) for name in sorted(needed)}
    gone = {f"{EXPERT}{change.language}"} if change.kind == "remove" else set()
    kept = {name: version.part(name) for name in version.parts if name not in names | gone}
    plan = plan_around(given, made, steps.recipe, store, adopt=adopt)
    plan = replace(plan, expected=replace(plan.expected, tokens_per_language=steps.most["train"]))
    if change.teacher is not None:
        _check_teacher(plan)
    return Growth(change, version, steps.recipe, plan, kept)


def _check_teacher(plan: Plan) -> None:
    """A teacher's distributions must be over the mixture's tokens.

    Raises:
        ModelError: they are not. ResourceError: it can't be fetched.
    """
    for planned in plan.missing:
        if isinstance(planned.step.stage, TeacherStage):
            try:
                plan.cost(planned)
            except VocabularyError as error:
                fix = "give a teacher with the run's tokenizer, or leave --teacher out"
                raise ModelError(error.what, f"--teacher, {error.where}", fix) from None


@dataclass(frozen=True)
class _Steps:
    """The steps of a change: those of the grown mixture's own recipe, as far as they have to be done."""

    change: Change
    version: Version
    recipe: Recipe

    def all(self) -> list[Step]:
        """In an order in which each comes after its inputs."""
        text = self.change.text is not None or self.change.kind == "remove"
        steps = self._text() if self.change.text is not None else []
        steps += self._linked() if text else []
        steps += self._trained()
        steps += [self._graph[name] for name in (["router"] if text else []) + ["mixture", "evaluation"]]
        report = self._graph["report"]
        there = {*self.version.parts, *(step.name for step in steps)}
        inputs = {role: name for role, name in report.inputs.items() if name in there}
        return [*steps, replace(report, inputs=inputs | {step.name: step.name for step in steps})]

    @cached_property
    def _graph(self) -> dict[str, Step]:
        return {step.name: step for step in steps_of(self.recipe)}

    @cached_property
    def before(self) -> dict[str, str]:
        """Names for parts of the version that steps make anew -> part."""
        return {self._old(name): name for name in ("corpus", "blocks", "mixture")}

    def _old(self, name: str) -> str:
        return f"{name} of version {self.version.number}"

    @cached_property
    def most(self) -> dict[str, int]:
        """Split -> tokens of a language that the mixture has most of."""
        splits = read_json(self.version.part("blocks").folder / "blocks.json", "blocks")["splits"]
        most = {split: max(int(counts["tokens"]) for counts in splits[split].values()) for split in SPLITS}
        asked = self.recipe.blocks.balance.tokens_per_language
        return most if asked is None else most | {"train": asked}

    def _text(self) -> list[Step]:
        """The language's text, as blocks of the mixture's tokens."""
        language, seed = self.change.language, self.recipe.seed
        corpus = self.recipe.corpus.model_copy(update={"languages": {language: self.recipe.corpus.languages[language]}})
        blocks = AddedBlocksStage(blocks=self.recipe.blocks, languages=(language,), seed=seed, most=self.most)
        return [
            Step(f"corpus-{language}", CorpusStage(corpus=corpus, seed=seed)),
            Step(
                f"tokens-{language}",
                TokensStage(languages=(language,)),
                {"corpus": f"corpus-{language}", "tokenizer": "tokenizer"},
            ),
            Step(f"blocks-{language}", blocks, {"tokens": f"tokens-{language}"}),
        ]

    def _linked(self) -> list[Step]:
        """The mixture's text: what stays of the version's, with the language's."""
        languages, text = tuple(self.recipe.corpus.languages), self.change.text is not None
        stages = {"corpus": GrownCorpusStage(languages=languages), "blocks": GrownBlocksStage(languages=languages)}
        added = {name: f"{name}-{self.change.language}" for name in stages if text}
        return [
            Step(name, stage, {name: self._old(name)} | ({added[name]: added[name]} if text else {}))
            for name, stage in stages.items()
        ]

    def _trained(self) -> list[Step]:
        """The language's expert: the one place that knows how the experts of each setup are trained."""
        if is_joint(self.recipe):
            return self._trained_jointly()
        if self.change.kind == "remove":
            return []
        return [*self._taught(), self._redirected(self._graph[f"{EXPERT}{self.change.language}"])]

    def _trained_jointly(self) -> list[Step]:
        """A joint mixture with the expert, whose common expert, shared layers and other experts stay as they are."""
        language, initial = self.change.language, self._old("mixture")
        others = RemainingExpertsStage(languages=tuple(n for n in self.version.languages if n != language))
        taken = {"mixture": initial, "tokenizer": "tokenizer"}
        if self.change.kind == "remove":
            return [Step("joint", others, taken)]
        steps = []
        if self.change.kind == "replace":
            steps, initial = [Step("joint-others", others, taken)], "joint-others"
        joint = self._graph["joint"]
        stage = joint.stage.model_copy(update={"learn": (language,), "freeze_shared": True})
        inputs = {**learning_inputs(self.recipe, [language]), "initial": initial}
        joint = self._redirected(replace(joint, stage=stage, inputs=inputs), own_text=False)
        return [*steps, *self._taught(), joint]

    def _taught(self) -> list[Step]:
        """The teacher, where one is given, and its cache and the expert's vocabulary, where the recipe has them."""
        steps, language = [], self.change.language
        if self.change.teacher is not None:
            folder = Path(self.change.teacher).expanduser()
            name = str(folder.absolute()) if folder.exists() else self.change.teacher
            model = PluginSpec(type="pretrained", name=name)
            teacher = TeacherConfig(model=model, train=False)
            stage = TeacherStage(teacher=teacher, seed=self.recipe.seed)
            step = Step(self._teacher, stage, DATA, alone=True)
            steps.append(self._redirected(step))
        own = (self._graph.get(f"{kind}-{language}") for kind in ("vocabulary", "cache"))
        return [*steps, *(self._redirected(step) for step in own if step)]

    @property
    def _teacher(self) -> str:
        return "teacher" if self.change.teacher is None else f"teacher-{self.change.language}"

    def _redirected(self, step: Step, *, own_text: bool = True) -> Step:
        """A step that reads this language's blocks alone, where they are new, and its own teacher, where it has one."""
        places = {"teacher": self._teacher}
        if own_text and self.change.text is not None:
            places["blocks"] = f"blocks-{self.change.language}"
        return replace(step, inputs={role: places.get(name, name) for role, name in step.inputs.items()})
