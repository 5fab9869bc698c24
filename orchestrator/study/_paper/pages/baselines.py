"""The page on baselines: mixtures beside dense, merged and token-routed students of equal data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, inf
from statistics import fmean
from typing import TYPE_CHECKING

from orchestrator.errors import MomeError
from orchestrator.reporting.document import Section
from orchestrator.reporting.effects import Effect, Runs, bounds, effect, level, minus, nats, span
from orchestrator.reporting.formats import MISSING, compact, perplexity, share, significant
from orchestrator.reporting.tables import Cell, Table, table
from orchestrator.study._paper.pages import settings
from orchestrator.study._paper.pages.claims import Answer, answer
from orchestrator.study._paper.pages.data import Findings, Json, Setup
from orchestrator.study._paper.pages.setups import variants

if TYPE_CHECKING:
    from orchestrator.models.sizes import Size


@dataclass(frozen=True)
class System:
    """A row of the table.

    Attributes:
        key: in `results.json`.
        label: for people.
        runs: losses.
        size: None where it can't be known.
        tokens: trained on; None where that was not kept.
        built_on: tokens that its experts had been trained on before.
        baseline: whether it is one, and not a setup of the study or the teacher.
    """

    key: str
    label: str
    runs: Runs
    size: Size | None
    tokens: int | None
    built_on: int = 0
    baseline: bool = False


def baselines(study: Findings, paper: Json) -> Answer:  # noqa: ARG001
    """Mixtures, ensembles of their experts, students, and the teacher."""
    systems = _systems(study)
    reference = systems[0]
    differences = {each.key: effect(minus(each.runs, reference.runs), study.confidence) for each in systems[1:]}
    numbers = {
        "baselines": {system.key: _numbers(system, differences.get(system.key)) for system in systems},
        "baselines_reference": reference.key,
    }
    sections = [
        Section("losses", "Losses", (), (_losses(systems, differences, study),)),
        Section("sizes", "Sizes and tokens", (), (_sizes(systems),)),
    ]
    question = "What do students of the same data and tokens reach that are no mixtures of modular experts?"
    told = [] if study.baselines else ["The study has no baselines of its own (study.baselines)."]
    told += [_sentence(each, reference, differences[each.key]) for each in systems if each.baseline]
    return answer("baselines", "Baselines", question, (), sections, numbers, summary=told)


def _systems(study: Findings) -> list[System]:
    sizes = _Sizes(study)
    shown = sorted(variants(study), key=lambda variant: variant.setup is not study.first("ple"))
    found = [System(v.key, v.label, v.runs, sizes.mixture(v.setup, common=v.common), _tokens(v.setup)) for v in shown]
    independent = study.first("ple")
    if independent is not None:
        for model, key, what in (("average", "ensemble_even", "even"), ("soft", "ensemble_soft", "soft")):
            label = f"BTM ensemble of {independent.label}, {what}"
            runs = settings.named(independent, model)
            found.append(System(key, label, runs, sizes.ensemble(), _tokens(independent), baseline=True))
    for name, baseline in study.baselines.items():
        config = (study.recipe["study"].get("baselines") or {}).get(name, {})
        first = next(iter(baseline.trainings.values()), None)
        begun = config.get("initialise", "random") != "random" and independent is not None
        built_on = (_tokens(independent) or 0) if begun and independent else 0
        tokens = first.tokens if first else None
        found.append(
            System(name, name, baseline.losses, sizes.student(config.get("model")), tokens, built_on, baseline=True)
        )
    teacher = settings.named(next(iter(study.setups.values())), "teacher")
    facts = study.main["models"]["teacher"]
    found.append(System("teacher", "teacher", teacher, sizes.of(study.recipe["teacher"]["model"]), facts.get("tokens")))
    return found


def _tokens(setup: Setup) -> int | None:
    sessions = next(iter(setup.trainings.values()), ())
    return sum(session.tokens for session in sessions) if sessions else None


class _Sizes:
    """Sizes of models by their specifications; None where one can't be built here."""

    def __init__(self, study: Findings) -> None:
        self.expert_spec = study.recipe["experts"]["model"]
        self.experts = len(study.languages)
        self.vocab_size, self.context = study.main["blocks"]["vocab_size"], study.main["blocks"]["context"]
        self.expert = self.of(self.expert_spec)

    def of(self, spec: Json | str) -> Size | None:
        from orchestrator.config.base import PluginSpec
        from orchestrator.models.sizes import model_size

        try:
            return model_size(PluginSpec.model_validate(spec), self.vocab_size, self.context)
        except MomeError:
            return None

    def student(self, spec: Json | str | None) -> Size | None:
        return self.of(spec) if spec else self.expert

    def mixture(self, setup: Setup, *, common: bool) -> Size | None:
        from orchestrator.config.base import PluginSpec
        from orchestrator.models.sizes import mixture_size, outer_size

        if self.expert is None:
            return None
        spec = PluginSpec.model_validate(self.expert_spec)
        shared = outer_size(spec, self.vocab_size, self.context) if setup.joint else None
        return mixture_size(self.expert, self.experts, self.expert if common else None, shared)

    def ensemble(self) -> Size | None:
        from orchestrator.models.sizes import Size

        if self.expert is None:
            return None
        held = self.experts * self.expert.parameters
        return Size(held, held, self.experts * self.expert.flops_per_token)


def _losses(systems: Sequence[System], differences: Mapping[str, Effect], study: Findings) -> Table:
    best = min(_mean(system) for system in systems)
    rows: list[list[Cell | str]] = []
    for system in systems:
        found = differences.get(system.key)
        each = [perplexity(exp(_mean(system, language))) for language in study.languages]
        less = Cell(nats(found), span(found)) if found else MISSING
        mean = _mean(system)
        rows.append([system.label, Cell(significant(mean, 4), strong=mean == best), less, *each])
    columns = ("model", "mean loss", f"less {systems[0].label}", *(f"perplexity {lang}" for lang in study.languages))
    note = (
        f"On the {study.main['split']} split, mixtures through the router. Mean loss over the languages in nats a "
        f"token; differences with {share(study.confidence, 0)} intervals over "
        f"{study.over}; above zero is worse. Bold: the lowest."
    )
    return table("Losses of mixtures and baselines", columns, rows, note=note)


def _sizes(systems: Sequence[System]) -> Table:
    rows: list[list[Cell | str]] = []
    for system in systems:
        size = system.size
        counts = [size.parameters, size.active_parameters, size.flops_per_token] if size else [None] * 3
        more = f"on {compact(system.built_on)} of the experts" if system.built_on else ""
        rows.append([system.label, *map(compact, counts), Cell(compact(system.tokens), more)])
    columns = ("model", "parameters", "active parameters", "FLOPs a token", "tokens trained on")
    note = (
        "Active parameters: those that a token is computed with. FLOPs: of a forward pass, attention included. A "
        "learned gate between expert and common expert, of two vectors, is not counted."
    )
    return table("Sizes, cost of a token, training", columns, rows, note=note)


def _sentence(system: System, reference: System, found: Effect) -> str:
    low, high = found.interval or (-inf, inf)
    verdict = f"{'worse' if found.value > 0 else 'better'} than {reference.label}"
    if low <= 0 <= high:
        verdict = f"no difference to {reference.label} is certain"
    around = f"{bounds(found.interval)}, {found.covers}" if found.interval else found.covers
    return f"{system.label}: {verdict}, {nats(found)} nats a token ({around})."


def _mean(system: System, language: str = "") -> float:
    """Mean loss over seeds, of a language or over all."""
    runs = system.runs.values()
    return fmean(level({language: losses[language]} if language else losses) for losses in runs)


def _numbers(system: System, difference: Effect | None) -> Json:
    languages = next(iter(system.runs.values()))
    size = system.size
    return {
        "loss": _mean(system),
        "perplexity": {language: exp(_mean(system, language)) for language in languages},
        "difference": difference.data() if difference else None,
        "parameters": size.parameters if size else None,
        "active_parameters": size.active_parameters if size else None,
        "flops_per_token": size.flops_per_token if size else None,
        "tokens": system.tokens,
        "built_on_tokens": system.built_on,
    }
