"""Forgotten knowledge (paper, section 4.7 and Table 6): what a language's loss has risen by since its lowest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import fmean

from orchestrator.reporting.effects import Effect, from_seeds
from orchestrator.study._paper.pages.data import Findings, Session, Setup
from orchestrator.study._paper.pages.noise import block_noise

Chain = Sequence[Session]
"""Sessions of which each goes on from the one before."""


NOTHING = Effect(0.0, (0.0, 0.0), covered="by construction")
"""Forgotten of what no training changes."""
UNCHANGED = Effect(0.0, (0.0, 0.0), covered="its loss never changed")
"""Forgotten where the same weights were evaluated on the same blocks: there is no noise."""


@dataclass(frozen=True)
class Forgotten:
    """Of one language.

    Attributes:
        increase: its validation loss at the end less its lowest before, in nats a token. Below zero it was never as
            low as at the end: nothing is forgotten.
        lowest: its lowest validation loss before the end.
    """

    increase: float
    lowest: float

    @property
    def share(self) -> float:
        """The increase as a share of the lowest loss."""
        return self.increase / self.lowest


def forgotten(chain: Chain, language: str) -> Forgotten | None:
    """What a chain of sessions forgets of a language.

    None where it says nothing: the language is first learned in the last of several sessions (the paper's N/A), or was
    evaluated less than twice.
    """
    learned = [number for number, session in enumerate(chain) if language in session.learned]
    losses = [loss for session in chain for _, loss in session.curves.get(language, ())]
    if not learned or len(losses) < 2 or (len(chain) > 1 and learned[0] == len(chain) - 1):
        return None
    lowest = min(losses[:-1])
    return Forgotten(losses[-1] - lowest, lowest)


@dataclass(frozen=True)
class Experiment:
    """One way to learn all languages.

    Attributes:
        key: in `results.json`.
        part: the paper's letter, and D for a language that is added.
        label: for people.
        chains: by seed; empty where nothing had to be run.
        paper: its key in the paper's Table 6; "" where the paper has no such row.
        by_construction: nothing can be forgotten, as no parameter of an earlier language changes.
    """

    key: str
    part: str
    label: str
    chains: Mapping[int, Chain]
    paper: str = ""
    by_construction: bool = False


def experiments(study: Findings) -> tuple[Experiment, ...]:
    """What the study has of A (sequential), B (single session), C (mixtures), D (mixtures that a language is added to).

    Independent experts (PLE) have their rows whenever there are any: each is trained once, on its own.
    """
    known = study.chains
    found = []
    if "sequential" in known:
        label = "one student, language after language"
        found.append(Experiment("sequential", "A", label, known["sequential"], "sequential"))
    if "single-session" in known:
        found.append(
            Experiment("single_session", "B", "one student, one session", known["single-session"], "single_session")
        )
    for setup in study.setups.values():
        found += _of_setup(setup, study) if setup.joint else _independent(setup, study)
    return tuple(sorted(found, key=lambda each: each.part))


def _independent(setup: Setup, study: Findings) -> list[Experiment]:
    if not study.chains:
        return []
    chains = {seed: _frozen(sessions) for seed, sessions in setup.trainings.items()}
    one_by_one = Experiment(setup.name, "C", f"{setup.label}, expert after expert", chains, "moe", by_construction=True)
    added = Experiment(f"{setup.name}_added", "D", f"{setup.label}, a language added", {}, by_construction=True)
    return [one_by_one, added]


def _of_setup(setup: Setup, study: Findings) -> list[Experiment]:
    known, name = study.chains, setup.name
    found = []
    if chains := known.get(f"together-{name}"):
        found.append(Experiment(name, "C", f"{setup.label}, all together", chains, "moe"))
    if chains := known.get(f"sequential-{name}"):
        label = f"{setup.label}, language after language"
        found.append(Experiment(f"{name}_sequential", "C", label, chains))
    before = known.get(f"before-{name}", {})
    for kind, what in (("added", "shared parts trained"), ("added-frozen", "shared parts frozen")):
        after = known.get(f"{kind}-{name}", {})
        if chains := {seed: [*before[seed], *after[seed]] for seed in before if seed in after}:
            key = f"{name}_{kind.replace('-', '_')}"
            found.append(Experiment(key, "D", f"{setup.label}, a language added, {what}", chains))
    return found


def _frozen(sessions: Chain) -> Chain:
    """Trainings of independent experts one after the other: outside of its own, an expert's loss stays as it is."""
    last: dict[str, float] = {}
    found = []
    for session in sessions:
        own = {language: session.curves[language] for language in session.learned if session.curves.get(language)}
        still = {language: [(0.0, loss), (float(session.tokens), loss)] for language, loss in last.items()}
        found.append(Session(session.learned, session.facts, {**still, **own}))
        last |= {language: curve[-1][1] for language, curve in own.items()}
    return found


def by_language(experiment: Experiment, study: Findings) -> dict[str, tuple[Effect, float] | None]:
    """Language -> what is forgotten of it in nats a token, and as a share; None where nothing can be said."""
    found: dict[str, tuple[Effect, float] | None] = {}
    for language in study.languages:
        if experiment.by_construction:
            new = experiment.part == "D" and language == study.languages[-1]
            found[language] = None if new else (NOTHING, 0.0)
            continue
        each = [forgotten(chain, language) for chain in experiment.chains.values()]
        values = [one for one in each if one is not None]
        found[language] = _over_seeds(values, study, language) if values else None
    return found


def _over_seeds(values: Sequence[Forgotten], study: Findings, language: str) -> tuple[Effect, float]:
    if not any(one.increase for one in values):
        return UNCHANGED, 0.0
    increases = from_seeds([one.increase for one in values], study.confidence, block_noise(study, [language]))
    return increases, fmean(one.share for one in values)


def mean_over_languages(experiment: Experiment, study: Findings) -> Effect | None:
    """The mean of what is forgotten over the languages of which something can be said."""
    per_seed = {}
    for seed, chain in experiment.chains.items():
        found = {language: forgotten(chain, language) for language in study.languages}
        per_seed[seed] = {language: one.increase for language, one in found.items() if one is not None}
    if not per_seed or not all(per_seed.values()):
        return None
    languages = list(next(iter(per_seed.values())))
    values = [sum(found.values()) / len(found) for found in per_seed.values()]
    return from_seeds(values, study.confidence, block_noise(study, languages))


def boundaries(chain: Chain) -> list[tuple[float, float, str]]:
    """Sessions on the axis of tokens: (begin, end, languages learned)."""
    ends = list(accumulate(session.tokens for session in chain))
    begins = [0, *ends[:-1]]
    names = [", ".join(session.learned) for session in chain]
    return [(float(begin), float(end), name) for begin, end, name in zip(begins, ends, names, strict=True)]


def sequence(chain: Chain, language: str) -> list[tuple[float, float]]:
    """A language's validation losses over all sessions: (tokens since the beginning, loss)."""
    return [
        (begin + tokens, loss)
        for (begin, _, _), session in zip(boundaries(chain), chain, strict=True)
        for tokens, loss in session.curves.get(language, ())
    ]
