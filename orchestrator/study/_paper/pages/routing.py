"""The page on the router (RQ3): the paper's Table 3 and Figure 9."""

from __future__ import annotations

from orchestrator.reporting import model_sections, sentences
from orchestrator.reporting.effects import Effect
from orchestrator.reporting.formats import share
from orchestrator.study._paper.pages.claims import Answer, Claim, answer
from orchestrator.study._paper.pages.data import Findings, Json

GOOD = 0.99
"""Accuracy from which a router counts as accurate."""


def router(study: Findings, paper: Json) -> Answer:
    """RQ3."""
    facts = study.main["router"]
    score = facts["classifiers"][facts["used"]]["full"]
    low, high = score["accuracy_interval"]
    number = paper["table3_router"]["logistic_regression"]["accuracy"]
    claim = Claim(
        "RQ3",
        "A router sends sequences to the expert of their language accurately",
        "accuracy",
        share(number),
        Effect(score["accuracy"], (low, high), covered="held-out blocks"),
        least=GOOD,
        unit="share",
    )
    question = (
        f"Can we train a router that accurately routes input sequences to one of the {len(study.languages)} experts? "
        "(section 4.4)"
    )
    sections = [model_sections.router(study.main, paper)]
    numbers = {"table3_router": study.main["table3_router"], "router": facts}
    told = [sentences.router(facts), "What its mistakes cost the mixtures is under RQ4."]
    return answer("rq3", "RQ3 router", question, [claim], sections, numbers, summary=told)
