"""From artifact folders to a :class:`Findings`: the only place of this room that reads artifacts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from orchestrator.reporting.comparison import FINISHED, Trial
from orchestrator.reporting.facts import read_json, read_tensors
from orchestrator.reporting.results import folder, learning_curves
from orchestrator.reporting.run_results import Curves
from orchestrator.study._paper.pages.data import Baseline, Evaluation, Findings, Json, Session, Setup
from orchestrator.works import by_work

Entry = Mapping[str, Any]
EVERY_POINT = 10**9
"""Curves of which lowest values are taken are not thinned."""


def read_study(inputs: Mapping[str, Path], entries: Sequence[Entry], recipe: Json) -> Findings:
    """Read what the pages need.

    Args:
        inputs: role -> artifact folder.
        recipe: as plain data.
        entries: what the roles are, see :class:`orchestrator.study._paper.report.StudyEntry`.

    Raises:
        ArtifactError: an artifact, a file of it, or a value in it is missing or damaged.
    """
    return _Reader(inputs, entries, recipe).study()


class _Reader:
    def __init__(self, inputs: Mapping[str, Path], entries: Sequence[Entry], recipe: Json) -> None:
        self.inputs, self.entries, self.recipe = inputs, entries, recipe
        self.main = read_json(folder(inputs, "main-report") / "results.json")
        self.languages: tuple[str, ...] = tuple(self.main["languages"])

    def study(self) -> Findings:
        manifests = [path / "manifest.json" for path in self.inputs.values()]
        return Findings(
            main=self.main,
            recipe=self.recipe,
            seeds=tuple(dict.fromkeys(int(entry["seed"]) for entry in self.entries)),
            setups=self._setups(),
            baselines=self._baselines(),
            chains=self._chains(),
            trials=self._trials(),
            seconds=sum(float(read_json(path)["seconds"] or 0) for path in manifests if path.exists()),
        )

    def _of(self, what: str) -> list[Entry]:
        return [entry for entry in self.entries if entry["what"] == what]

    def _by_name(self, what: str) -> dict[str, list[Entry]]:
        found: dict[str, list[Entry]] = {}
        for entry in self._of(what):
            found.setdefault(entry["name"], []).append(entry)
        return found

    def _folder(self, entry: Entry) -> Path:
        return folder(self.inputs, entry["step"])

    def _setups(self) -> dict[str, Setup]:
        types = {e["name"]: read_json(self._folder(e) / "mixture.json")["setup"]["type"] for e in self._of("mixture")}
        trainings = self._by_name("training")
        return {
            name: Setup(
                name=name,
                type=types[name],
                evaluations={entry["seed"]: self._evaluation(self._folder(entry)) for entry in entries},
                trainings=self._sessions(trainings.get(name, [])),
                joint=any(not entry["language"] for entry in trainings.get(name, [])),
            )
            for name, entries in self._by_name("evaluation").items()
        }

    def _evaluation(self, path: Path) -> Evaluation:
        context = int(read_json(path / "evaluation.json")["context"])
        return Evaluation(self.languages, read_tensors(path / "block_losses.safetensors"), context)

    def _baselines(self) -> dict[str, Baseline]:
        context = int(self.main["blocks"]["context"])
        students = self._by_name("student")
        found = {}
        for name, entries in self._by_name("measure").items():
            tensors = {e["seed"]: read_tensors(self._folder(e) / "block_losses.safetensors") for e in entries}
            losses = {
                seed: {
                    language: by_work(each[f"loss/{language}"] / context, each[f"works/{language}"])
                    for language in self.languages
                }
                for seed, each in tensors.items()
            }
            trainings = {entry["seed"]: self._session(entry) for entry in students.get(name, [])}
            found[name] = Baseline(name, losses, trainings)
        return found

    def _chains(self) -> dict[str, dict[int, list[Session]]]:
        return {name: self._sessions(entries) for name, entries in self._by_name("session").items()}

    def _sessions(self, entries: Sequence[Entry]) -> dict[int, list[Session]]:
        found: dict[int, list[Session]] = defaultdict(list)
        for entry in entries:
            found[entry["seed"]].append(self._session(entry))
        return dict(found)

    def _session(self, entry: Entry) -> Session:
        path = self._folder(entry)
        facts = read_json(path / "training.json")
        curves = learning_curves(path / "metrics.jsonl", self.languages, EVERY_POINT)["validation_by_language"]
        a_step = facts["tokens"] / max(1, facts["steps"])
        by_tokens = {name: [(step * a_step, loss) for step, loss in curve] for name, curve in curves.items()}
        learned = tuple(str(entry["language"]).split(",")) if entry["language"] else self.languages
        return Session(learned, facts, by_tokens)

    def _trials(self) -> dict[str, list[Trial]]:
        found: dict[str, dict[tuple[str, int], list[Entry]]] = {}
        for entry in self._of("trial"):
            sweep, _, configuration = str(entry["name"]).partition(": ")
            found.setdefault(sweep, {}).setdefault((configuration, entry["seed"]), []).append(entry)
        return {
            sweep: [self._trial(sweep, name, seed, entries) for (name, seed), entries in trials.items()]
            for sweep, trials in found.items()
        }

    def _trial(self, sweep: str, name: str, seed: int, entries: Sequence[Entry]) -> Trial:
        """A trial; means over the experts that it trained."""
        folders = [self._folder(entry) for entry in entries]
        facts = [read_json(path / "training.json") for path in folders]
        curves = [learning_curves(path / "metrics.jsonl", self.languages) for path in folders]
        return Trial(
            name=name,
            config=self.recipe["study"]["sweeps"][sweep]["configurations"][name],
            seed=seed,
            curve=[(round(step), loss) for step, loss in _mean_curve([each["validation"] for each in curves])],
            final_loss=fmean(each["final_validation_loss"] for each in facts),
            status=FINISHED,
            error="",
            weights=_weights(curves[0]),
            tokens=sum(each["tokens"] for each in facts),
            seconds=sum(each["seconds"] for each in facts),
            tokens_per_second=fmean(each["tokens_per_second"] for each in facts),
        )


def _mean_curve(curves: Sequence[Sequence[Sequence[float]]]) -> list[tuple[float, float]]:
    """The mean at the steps that all curves have."""
    found = [{step: loss for step, loss in curve} for curve in curves]  # noqa: C416  # points are lists, not pairs
    return [(step, fmean(curve[step] for curve in found)) for step in sorted(set.intersection(*map(set, found)))]


def _weights(curves: Curves) -> list[tuple[int, float, float]]:
    beta = {step: value for step, value in curves["beta"]}  # noqa: C416
    return [(round(step), alpha, beta[step]) for step, alpha in curves["alpha"] if step in beta]
