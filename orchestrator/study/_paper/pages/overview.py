"""The first page: claims and verdicts of all questions, and what they rest on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import yaml

from orchestrator.reporting import sentences
from orchestrator.reporting.document import Document, Listing, Page, Section
from orchestrator.reporting.formats import compact, duration, listing
from orchestrator.reporting.tables import Table
from orchestrator.study._paper.pages.claims import RULE, Answer, Claim, Verdict, claims_table
from orchestrator.study._paper.pages.data import Findings, Json


def overview(study: Findings, answers: Sequence[Answer], paper: Json) -> Page:
    """The page, with links to the others."""
    claims = [claim for answer in answers for claim in answer.claims]
    pages = {claim.question: f"{answer.page.name}.html" for answer in answers for claim in answer.claims}
    sections = [
        Section("verdicts", "Claims and verdicts", (), _tables(claims, pages)),
        Section("rules", "How verdicts come about", (RULE, _seeds(study))),
        Section("paper", "Beside the paper", (sentences.not_comparable(study.main, paper),)),
    ]
    if absent := _absent(study):
        sections.append(Section("absent", "What was not asked", absent))
    description = str(study.recipe.get("description", ""))
    title = f"Study “{study.main['name']}”"
    document = Document(title, description, _facts(study), (_counts(claims),), tuple(sections))
    return Page("index", "Overview", document)


def configuration(study: Findings) -> Page:
    """The last page: the recipe."""
    text = yaml.safe_dump(study.recipe, sort_keys=False, allow_unicode=True, width=100)
    section = Section("configuration", "Recipe", (), (Listing("The recipe in full, with its defaults", text),))
    return Page("configuration", "Configuration", Document("Configuration", "", (), (), (section,)))


def verdicts(answers: Sequence[Answer]) -> tuple[str, ...]:
    """The verdicts on what was asked, in sentences."""
    asked = [claim for answer in answers for claim in answer.claims if claim.effect and claim.leads]
    return tuple(f"{claim.question}. {claim.sentence}" for claim in asked)


def _tables(claims: Sequence[Claim], pages: Mapping[str, str]) -> tuple[Table, ...]:
    theirs = [claim for claim in claims if claim.paper]
    others = [claim for claim in claims if not claim.paper]
    tables = [claims_table("The paper's claims", theirs, pages)]
    return (*tables, claims_table("Beyond the paper", others, pages)) if others else tuple(tables)


def _counts(claims: Sequence[Claim]) -> str:
    counts = Counter(claim.verdict for claim in claims)
    words: dict[Verdict, str] = {
        "holds": "hold",
        "does not hold": "do not hold",
        "open": "are open",
        "not asked": "were not asked",
    }
    return (
        f"Of {len(claims)} claims {listing([f'{counts[key]} {word}' for key, word in words.items() if key in counts])}."
    )


def _facts(study: Findings) -> tuple[tuple[str, str], ...]:
    experts = [study.main["models"][language]["parameters"] for language in study.languages]
    return (
        ("Languages", ", ".join(study.languages)),
        ("Seeds", ", ".join(map(str, study.seeds))),
        ("Setups", ", ".join(setup.label for setup in study.setups.values())),
        ("Baselines", str(len(study.baselines))),
        ("Expert parameters", compact(max(experts))),
        ("Computing time", duration(study.seconds)),
    )


def _seeds(study: Findings) -> str:
    if len(study.seeds) > 1:
        return f"Everything was trained with {len(study.seeds)} seeds on the same data, teacher and caches."
    return (
        "Everything was trained with one seed: intervals cover the choice of held-out documents and not that of a "
        "seed, which may well matter more. Of validations along the way (RQ1, RQ2, RQ6, Recipe) losses of blocks are "
        "not kept: there the spread between an expert and the teacher on held-out text stands in, and intervals are "
        "estimates. study.seeds=[1,2,3] trains two more, beside what is here."
    )


def _absent(study: Findings) -> tuple[str, ...]:
    told = []
    if not study.chains:
        told.append("Forgetting (study.forgetting): no sessions of languages one after the other.")
    sweeps = [name for name in ("rq1", "rq2", "recipe") if name not in study.trials]
    if sweeps:
        told.append(f"Comparisons of experts (study.sweeps): {listing(sweeps)}.")
    if not study.baselines:
        told.append("Baselines (study.baselines).")
    setups = [label for key, label in (("ple", "PLE"), ("jeet", "JEET"), ("moe_ce", "MoE-CE")) if not study.first(key)]
    if setups:
        told.append(f"Setups (study.setups): {listing(setups)}.")
    return tuple(told)
