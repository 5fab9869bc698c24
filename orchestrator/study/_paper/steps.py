"""The steps of a study: the main line with every setup and seed, baselines, forgetting and sweeps, each made once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.config.base import PluginSpec, build
from orchestrator.config.loading import changed
from orchestrator.config.recipe import Recipe
from orchestrator.pipeline.graph import Step, expert_seed, learning_inputs, main_line
from orchestrator.pipeline.plan import ancestors
from orchestrator.stages.base import Stage
from orchestrator.stages.joint import JointStage
from orchestrator.stages.report import ReportStage
from orchestrator.study._paper.report import StudyEntry, StudyReportStage, What
from orchestrator.study._paper.sweep import StudySweep
from orchestrator.study.students.config import StudentConfig
from orchestrator.study.students.measure import MeasureStage
from orchestrator.study.students.merged import MergedStage
from orchestrator.study.students.student import StudentStage

Names = dict[str, str]
"""Name of a step in its recipe's main line -> its name in the study."""
Setups = Mapping[str, PluginSpec]
Students = Mapping[str, StudentConfig]


@dataclass
class Builder:
    """Collects steps, each once.

    Steps that are equal in stage and inputs are one, whatever asks for them: seeds share data, teacher and caches, and
    a sweep's trial may be an expert of a mixture.

    Attributes:
        steps: by name.
        entries: what the report is told of them.
    """

    steps: dict[str, Step] = field(default_factory=dict)
    entries: list[StudyEntry] = field(default_factory=list)
    _alike: dict[str, list[str]] = field(default_factory=dict)

    def add(self, step: Step) -> str:
        """The name of a step that is equal to this one, which is added where there is none."""
        alike = self._alike.setdefault(repr((step.place, step.stage.identity(), sorted(step.inputs.items()))), [])
        for name in alike:
            known = self.steps[name].stage
            if known == step.stage or known.external() == step.stage.external():
                return name
        assert step.name not in self.steps, step.name
        self.steps[step.name] = step
        alike.append(step.name)
        return step.name

    def add_line(
        self, line: Sequence[Step], suffix: str, wanted: Iterable[str] | None = None, named: Sequence[str] = ()
    ) -> Names:
        """Add a main line, or what leads to the steps `wanted` of it.

        Where a name is taken, or among `named`, the step gets the suffix.
        """
        needed = None if wanted is None else ancestors(line, set(wanted))
        names: Names = {}
        for step in line:
            if needed is None or step.name in needed:
                inputs = {role: names[name] for role, name in step.inputs.items()}
                taken = step.name in self.steps or step.name in named
                name = step.name + suffix if taken else step.name
                names[step.name] = self.add(replace(step, name=name, inputs=inputs, kind=step.place))
        return names

    def train(self, name: str, kind: str, stage: Stage, inputs: Mapping[str, str]) -> str:
        """Add a step by its parts."""
        return self.add(Step(name, stage, dict(inputs), kind=kind))

    def note(self, step: str, what: What, seed: int, name: str = "", language: str = "") -> None:
        """Tell the report of a step."""
        self.entries.append(StudyEntry(step=step, what=what, name=name, seed=seed, language=language))


def seed_steps(
    builder: Builder,
    recipe: Recipe,
    setups: Setups,
    baselines: Students,
    sweeps: Mapping[str, StudySweep],
    forgetting: bool,
    seed: int,
    suffix: str,
) -> None:
    """Add all that is trained with one seed.

    Args:
        builder: what they are added to.
        recipe: the experiment.
        setups, baselines, sweeps, forgetting: the study's.
        seed: of the experts.
        suffix: of the names of steps that an earlier seed has taken.

    Raises:
        RecipeError: a sweep's configuration is not valid.
    """
    seeded = changed(recipe, {"experts.training.seed": seed, "study": None}, f"seed {seed}")
    names = builder.add_line(main_line(seeded), suffix)
    _setups(builder, seeded, setups, seed, suffix)
    if any(student.initialise != "random" for student in baselines.values()):
        names |= builder.add_line(main_line(_apart(seeded)), suffix, wanted=_experts(recipe.corpus.languages))
    _baselines(builder, seeded, baselines, names, seed, suffix)
    if forgetting:
        _forgetting(builder, seeded, setups, names, seed, suffix)
    for name, sweep in sweeps.items():
        _trials(builder, seeded, name, sweep, seed, suffix)


def _experts(languages: Iterable[str]) -> list[str]:
    return [f"expert-{language}" for language in languages]


def _apart(recipe: Recipe) -> Recipe:
    """The recipe with independent experts."""
    return recipe.model_copy(update={"setup": PluginSpec(type="ple")})


def _setups(builder: Builder, recipe: Recipe, setups: Setups, seed: int, suffix: str) -> None:
    for name, setup in setups.items():
        own = "" if setup == recipe.setup else f"-{name}"
        names = builder.add_line(main_line(recipe.model_copy(update={"setup": setup})), own + suffix, named=["joint"])
        builder.note(names["evaluation"], "evaluation", seed, name)
        builder.note(names["mixture"], "mixture", seed, name)
        for step in ("joint", *_experts(recipe.corpus.languages)):
            if step in names:
                builder.note(names[step], "training", seed, name, step.partition("-")[2])


def _baselines(builder: Builder, recipe: Recipe, baselines: Students, names: Names, seed: int, suffix: str) -> None:
    languages = tuple(recipe.corpus.languages)
    for name, student in baselines.items():
        inputs = {role: names[step] for role, step in learning_inputs(recipe, languages).items()}
        begun = student.initialise != "random"
        experts = {expert: names[expert] for expert in _experts(languages)} if begun else {}
        if student.initialise == "average" and student.tokens == 0:
            step = builder.train(name + suffix, "merged", MergedStage(), {"tokenizer": names["tokenizer"], **experts})
        else:
            step = builder.train(name + suffix, "student", _student(recipe, student, languages), inputs | experts)
        measured = MeasureStage(evaluation=recipe.evaluation, languages=languages)
        losses = builder.train(
            f"measure-{name}{suffix}", "measure", measured, {"blocks": names["blocks"], "model": step}
        )
        builder.note(step, "student", seed, name)
        builder.note(losses, "measure", seed, name)


def _student(recipe: Recipe, student: StudentConfig, learned: Sequence[str]) -> StudentStage:
    return StudentStage(
        student=student,
        experts=recipe.experts,
        languages=tuple(learned),
        validated=tuple(recipe.corpus.languages),
        seed=expert_seed(recipe),
    )


def _forgetting(builder: Builder, recipe: Recipe, setups: Setups, names: Names, seed: int, suffix: str) -> None:
    """Students and mixtures that learn one language after the other, all at once, and a last one later (Table 6)."""
    languages = tuple(recipe.corpus.languages)
    # What is measured is the end of each session, and the next one goes on from there.
    last = changed(recipe, {"experts.training.publish": "last"}, "forgetting")

    def session(name: str, stage: StudentStage | JointStage, learned: Sequence[str], initial: str = "") -> str:
        inputs = {role: names[step] for role, step in learning_inputs(recipe, learned).items()}
        label = "-".join((name, *learned)) if len(learned) == 1 else name
        kind = "joint" if isinstance(stage, JointStage) else "student"
        step = builder.train(label + suffix, kind, stage, inputs | ({"initial": initial} if initial else {}))
        builder.note(step, "session", seed, name, ",".join(learned))
        return step

    session("single-session", _student(recipe, StudentConfig(), languages), languages)
    previous = ""
    for language in languages:
        previous = session("sequential", _student(last, StudentConfig(), [language]), [language], previous)
    for name, setup in setups.items():
        if not build("models.setups", setup).joint:
            continue
        session(f"together-{name}", _joint(recipe, setup, languages, languages), languages)
        previous = ""
        for language in languages:
            stage = _joint(last, setup, languages, [language])
            previous = session(f"sequential-{name}", stage, [language], previous)
        if len(languages) > 1:
            before, new = languages[:-1], languages[-1:]
            first = session(f"before-{name}", _joint(last, setup, before, before), before)
            for label, freeze in (("added", False), ("added-frozen", True)):
                session(f"{label}-{name}", _joint(last, setup, languages, new, freeze), new, first)


def _joint(
    recipe: Recipe, setup: PluginSpec, languages: Sequence[str], learn: Sequence[str], freeze_shared: bool = False
) -> JointStage:
    return JointStage(
        setup=setup,
        experts=recipe.experts,
        languages=tuple(languages),
        learn=tuple(learn),
        freeze_shared=freeze_shared,
        seed=expert_seed(recipe),
    )


def _trials(builder: Builder, recipe: Recipe, name: str, sweep: StudySweep, seed: int, suffix: str) -> None:
    trained = sweep.languages or tuple(recipe.corpus.languages)[:1]
    for number, (configuration, changes) in enumerate(sweep.configurations.items()):
        trial = changed(recipe, {**sweep.overrides, **changes}, f"study.sweeps.{name}: {configuration!r}")
        wanted = _experts(trained)
        names = builder.add_line(main_line(_apart(trial)), f".{name}-{number}{suffix}", wanted)
        for language, step in zip(trained, wanted, strict=True):
            builder.note(names[step], "trial", seed, f"{name}: {configuration}", language)


def with_reports(builder: Builder, recipe: Recipe, shown: dict[str, Any]) -> tuple[Step, ...]:
    """All steps, the report of the main line, and the study's, which is the run's report."""
    main = [step.name for step in main_line(recipe)]
    run = Step("main-report", ReportStage(recipe=shown), {name: name for name in main}, kind="report")
    noted = dict.fromkeys(entry.step for entry in builder.entries)
    inputs = {name: name for name in (*noted, "router", "blocks", "teacher", "main-report")}
    stage = StudyReportStage(recipe=shown, entries=tuple(builder.entries))
    return (*builder.steps.values(), run, Step("report", stage, inputs, kind="study"))
