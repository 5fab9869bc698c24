"""What is at work while a storm kills: overrides of the smoke recipe, and what is typed."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from tests.unit.remote.server import BUCKET

ROOT = Path(__file__).resolve().parents[2]
KINDS = ("worker", "controller", "node", "command")
MOMENTS = (*KINDS, "commit")
TRAINING = ("tokens=300000", "checkpoint_every=20", "eval_every=50")
SMALL = (
    *(f"{who}.training.{each}" for who in ("teacher", "experts") for each in TRAINING),
    *("corpus.max_documents=25", "tokenizer.vocab_size=512", "evaluation.max_blocks=4", "evaluation.bootstrap=100"),
    *("router.type={type: prompt, pieces: 200, bits: 12, calibration_pieces: 50}", "router.sequences_per_language=50"),
    *("tracking.type=none", "resources.threads=1", "resources.max_failures=1000"),
)
ADDED = "de"
PAIR = "corpus.languages={en: {source: miniwiki}, fr: {source: miniwiki}}"
THERE = "has an expert for"
"""Of the error that somebody gets who adds an expert again that is there."""
LATER = "the same command sends"
"""What a command says whose tracker was away, or too slow, at its end."""
SHORT = tuple(f"{who}.training.tokens=60000" for who in ("teacher", "experts"))


@dataclass(frozen=True)
class Scenario:
    """What is at work.

    Attributes:
        overrides: of the smoke recipe.
        sweep: fields of a sweep over it.
        until: the last steps; none: to the report.
        kinds: of what is killed.
        away: nodes do not see the runs, and reach a store.
        grows: another command then adds an expert to the mixture.
        prepared: the run is there already, made undisturbed, and only what grows it is disturbed.
        tracked: by a server.
    """

    overrides: tuple[str, ...] = ("resources.slots=2",)
    sweep: dict[str, object] = field(default_factory=dict)
    until: tuple[str, ...] = ()
    kinds: tuple[str, ...] = MOMENTS
    away: bool = False
    grows: bool = False
    prepared: bool = False
    tracked: bool = False

    def commands(self, folder: Path, calm: bool = False) -> list[list[str]]:
        """What is typed to make it in a folder of runs, one after the other; `calm`: undisturbed."""
        adding = ["expert", "add", "smoke", "--language", ADDED, "--source", "miniwiki"]
        typed = [self._words(folder), *([adding] if self.grows else [])]
        where = ["--runs", str(folder), *(["--local"] if calm and self.is_of_one_process else [])]
        return [[sys.executable, "-m", "orchestrator.cli.main", *words, *where] for words in typed]

    @property
    def is_of_one_process(self) -> bool:
        """Whether it makes the same without Ray, undisturbed."""
        return not self.away and not any(each.startswith("resources.strategy=") for each in self.overrides)

    def _words(self, folder: Path) -> list[str]:
        recipe = ROOT / "jobs" / "recipes" / "smoke.yaml"
        words, overrides = ["run", str(recipe), *SMALL, *self.overrides], {}
        if self.sweep:
            overrides = {key: yaml.safe_load(value) for key, value in (each.split("=", 1) for each in words[2:])}
            tree = {"name": "smoke", "base": str(recipe), "seeds": [1], "overrides": overrides, **self.sweep}
            file = folder.with_suffix(".yaml")
            file.write_text(yaml.safe_dump(tree), encoding="utf-8")
            words = ["sweep", str(file)]
        words += [word for step in self.until for word in ("--until", step)]
        if self.away:
            words.append(f"resources.storage=s3://{BUCKET}/{folder.name}")
        if self.tracked:
            words.append("tracking.type=mlflow")
        return words


def _zero(stage: int) -> Scenario:
    strategy = f"resources.strategy={{type: deepspeed, zero: {stage}}}"
    training = ("teacher.training.micro_batch=8", "teacher.training.tokens=900000")
    return Scenario((strategy, "resources.workers=2", "resources.slots=1", *training), until=("teacher",), kinds=KINDS)


LANGUAGES = ("en", "fr", "de", "py")
CACHES = tuple(f"cache-{language}" for language in LANGUAGES)
MUCH = ("corpus.max_documents=300", "evaluation.max_blocks=64", *SHORT)
SCENARIOS = {
    "experts": Scenario(),
    **{f"zero{stage}": _zero(stage) for stage in range(4)},
    "joint": Scenario(("setup={type: moe_ce, combiner: gate}", "resources.slots=2"), until=("experts",)),
    "tasks": Scenario(MUCH, kinds=("task",)),
    "cache": Scenario(MUCH, until=CACHES, kinds=("cache",)),
    "away": Scenario(kinds=(*MOMENTS, "storage", "upload"), until=("experts",), away=True),
    "growth": Scenario((PAIR, "resources.slots=2", *SHORT), grows=True, prepared=True),
    "tracking": Scenario(kinds=("tracker", "worker", "hang", "command"), tracked=True),
    "all": Scenario((PAIR, "resources.slots=2", *SHORT), kinds=(*MOMENTS, "tracker"), grows=True, tracked=True),
    "sweep": Scenario(sweep={"configurations": {"slow": {}, "fast": {"experts.training.optimizer.lr": 4e-3}}}),
}
