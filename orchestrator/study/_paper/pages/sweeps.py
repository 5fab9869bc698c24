"""The pages on comparisons of experts: alpha (RQ1), alternating losses (RQ2), our recipe and the paper's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from orchestrator.config.sweep import Reference
from orchestrator.reporting import sweep
from orchestrator.reporting.comparison import Configuration, group
from orchestrator.reporting.document import Section
from orchestrator.reporting.effects import Effect, from_seeds
from orchestrator.reporting.figures import Figure
from orchestrator.reporting.formats import signed
from orchestrator.study._paper.pages.claims import MARGIN, RECIPE, Answer, Claim, answer
from orchestrator.study._paper.pages.data import Findings, Json
from orchestrator.study._paper.pages.noise import block_noise

GOAL = 0.3
"""Nats a token that our recipe should be better by than the paper's."""


def alpha(study: Findings, paper: Json) -> Answer:
    """RQ1, with the paper's Figure 7."""
    number = paper["rq1"]["adaptive_minus_fixed_eval_loss"]
    found = _Sweep(study, "rq1")
    difference = found.difference(found.reference())
    claims = [
        Claim("RQ1", "Adaptive alpha ends with a lower loss than fixed alpha 0.5", "adaptive less fixed",
              signed(number), difference, found.missing, most=0.0),
        Claim("RQ1", "Fixed alpha 0.5 is nearly as good as adaptive alpha", "adaptive less fixed",
              signed(number), difference, found.missing, least=-MARGIN, most=MARGIN),
    ]  # fmt: skip
    question = "What is the effectiveness of adaptive vs. fixed alpha methods in knowledge distillation? (section 4.2)"
    numbers = {"adaptive_minus_fixed_eval_loss": _value(difference)}
    return found.page("RQ1 alpha", question, claims, "Figure 7", {"rq1": numbers})


def alternating(study: Findings, paper: Json) -> Answer:
    """RQ2, with the paper's Figure 8."""
    theirs = paper["rq2"]
    number = theirs["alternating_eval_loss"] - theirs["combined_eval_loss"]
    found = _Sweep(study, "rq2")
    pair = found.reference()
    difference = found.difference(pair)
    text = "Both losses together end with a lower loss than both in turn"
    claim = Claim("RQ2", text, "alternating less combined", signed(number), difference, found.missing, least=0.0)
    names = ("alternating_eval_loss", "combined_eval_loss")
    losses = {name: found.loss(label) for name, label in zip(names, pair or (), strict=False)}
    question = "What is the impact of alternating losses during training on convergence and performance? (section 4.3)"
    return found.page("RQ2 alternating", question, [claim], "Figure 8", {"rq2": losses})


def recipes(study: Findings, paper: Json) -> Answer:  # noqa: ARG001
    """Our recipe against the faithful re-run of the paper's, and against the paper's losses with our optimizer."""
    found = _Sweep(study, "recipe")
    labels = [configuration.label for configuration in found.configurations]
    claims = []
    for number, label in enumerate(labels[1:]):
        text = f"“{labels[0]}” ends with a lower loss than “{label}”" + ("" if number else f", by {GOAL} nats or more")
        difference = found.difference((labels[0], label))
        claims.append(Claim(RECIPE, text, "the first less the second", "", difference, most=0.0 if number else -GOAL))
    if not claims:
        text = f"Our recipe ends with a lower loss than the paper's on equal tokens, by {GOAL} nats or more"
        claims = [Claim(RECIPE, text, "ours less the paper's", "", None, found.missing, most=-GOAL)]
    question = (
        "Does the default recipe beat the faithful re-run of the paper's at equal tokens, and what is left with the "
        "paper's losses and our optimizer?"
    )
    return found.page("Recipe", question, claims, "", {})


class _Sweep:
    """One sweep of the study; empty where the study has none of that name."""

    def __init__(self, study: Findings, name: str) -> None:
        self.study, self.name = study, name
        self.trials = study.trials.get(name, ())
        self.configurations: Sequence[Configuration] = group(self.trials) if self.trials else ()
        self.settings: Json = (study.recipe.get("study") or {}).get("sweeps", {}).get(name, {})
        self.missing = (
            f"the study's sweep {name} does not have the paper's two configurations"
            if self.trials
            else f"the study has no sweep {name}"
        )

    def reference(self) -> tuple[str, str] | None:
        """The two configurations that the sweep's first reference compares."""
        references = self.settings.get("references") or ()
        first, second = references[0]["ours"] if references else ("", "")
        return (first, second) if {first, second} <= self._known.keys() else None

    def difference(self, pair: tuple[str, str] | None) -> Effect | None:
        """Final loss of the first less that of the second, paired by seed."""
        if pair is None:
            return None
        ours, theirs = (self._known[label].losses for label in pair)
        values = [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs)]
        noise = block_noise(self.study, self.languages)
        return from_seeds(values, self.study.confidence, noise) if values else None

    def loss(self, label: str) -> float:
        """Mean final loss of a configuration."""
        return self._known[label].mean(self.study.confidence).mean

    @property
    def languages(self) -> tuple[str, ...]:
        """Of the experts trained in each trial."""
        return tuple(self.settings.get("languages") or self.study.languages[:1])

    @property
    def _known(self) -> Mapping[str, Configuration]:
        return {configuration.label: configuration for configuration in self.configurations}

    def page(self, label: str, question: str, claims: Sequence[Claim], figure: str, numbers: Json) -> Answer:
        """The page: comparison, compute, curves."""
        if not self.configurations:
            return answer(self.name, label, question, claims, (), {})
        confidence = self.study.confidence
        comparison = sweep.compared(self.configurations, confidence)
        compute = sweep.compute(self.configurations)
        told = f"Experts of {', '.join(self.languages)}, from one teacher, on equally many tokens."
        comparison = replace(comparison, sentences=(str(self.settings.get("description") or ""), told))
        sections = [self._own(section, figure) for section in (comparison, compute)]
        references = [Reference.model_validate(each) for each in self.settings.get("references") or ()]
        all_numbers = sweep.numbers(self.name, self.configurations, references, confidence)
        return answer(self.name, label, question, claims, sections, {**numbers, f"sweep_{self.name}": all_numbers})

    def _own(self, section: Section, paper_figure: str) -> Section:
        """The section with names of figures that are this page's own, and the paper's number of the curves."""

        def own(figure: Figure) -> Figure:
            also = f" The paper's {paper_figure}." if paper_figure and figure.name == "validation-loss" else ""
            return replace(figure, name=f"{self.name}-{figure.name}", caption=figure.caption + also)

        blocks = tuple(own(block) if isinstance(block, Figure) else block for block in section.blocks)
        return replace(section, blocks=blocks, sentences=tuple(filter(None, section.sentences)))


def _value(found: Effect | None) -> float:
    return math.nan if found is None else found.value
