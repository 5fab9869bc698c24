"""Claims and their verdicts, computed from an effect's interval by one rule."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from orchestrator.reporting.document import Document, Page, Section
from orchestrator.reporting.effects import Effect
from orchestrator.reporting.formats import GAP, share, signed
from orchestrator.reporting.tables import Cell, Table, table
from orchestrator.study._paper.pages.data import Json

MARGIN = 0.05
"""Nats a token that count as nothing: 5 % of perplexity."""
RECIPE = "Recipe"
"""The question of the page on recipes."""
MANY = 200
"""Seeds that nobody trains."""
RULE = (
    "A claim says where a number lies: below zero, within a margin, above a bound. It holds if the whole interval lies "
    "there, does not hold if none of the interval does, and is open otherwise or where there is no interval. Intervals "
    "are over seeds (Student's t, paired by seed) where there are two or more. With one seed they are over documents "
    "of held-out text, and another seed may differ by more. Each verdict stands for itself: of twenty intervals one is "
    f"expected to miss. {MARGIN:g} nats a token, 5{GAP}% of perplexity, count as nothing."
)

Verdict = Literal["holds", "does not hold", "open", "not asked"]
MARKS: Mapping[Verdict, str] = {"holds": "✓", "does not hold": "✗", "open": "?", "not asked": "–"}


@dataclass(frozen=True)
class Claim:
    """A claim of the paper, or a promise of its idea, as a region that a number should lie in.

    Attributes:
        question: that it belongs to: "RQ1".
        text: what it says, without a full stop.
        number: what the number is, in a few words.
        paper: the paper's number as text; "" for what the paper did not measure.
        effect: ours; None where it was not asked.
        missing: why.
        least, most: ends of the region, themselves not in it.
        unit: of the numbers.
    """

    question: str
    text: str
    number: str
    paper: str
    effect: Effect | None
    missing: str = "the study does not ask"
    least: float = -math.inf
    most: float = math.inf
    unit: Literal["nat", "share"] = "nat"

    @property
    def verdict(self) -> Verdict:
        """See :data:`RULE`."""
        if self.effect is None:
            return "not asked"
        if self.effect.interval is None:
            return "open"
        low, high = self.effect.interval
        if self.least < low and high < self.most:
            return "holds"
        return "does not hold" if high <= self.least or low >= self.most else "open"

    @property
    def leads(self) -> bool:
        """Whether it is told at the top: a claim of the paper's, or on its recipe."""
        return bool(self.paper) or self.question == RECIPE

    @property
    def region(self) -> str:
        """Where the number should lie, in words."""
        if math.isinf(self.least):
            return f"below {self._bound(self.most)}"
        if math.isinf(self.most):
            return f"above {self._bound(self.least)}"
        return f"between {self._bound(self.least)} and {self._bound(self.most)}"

    @property
    def ours(self) -> str:
        """Our number."""
        return "–" if self.effect is None else self._show(self.effect.value)

    @property
    def around(self) -> str:
        """The interval of our number and what it covers."""
        if self.effect is None:
            return ""
        low, high = self.effect.interval or (0.0, 0.0)
        return self.effect.covers if low == high else f"[{self._show(low)}, {self._show(high)}], {self.effect.covers}"

    @property
    def sentence(self) -> str:
        """The verdict with its number."""
        if self.effect is None:
            return f"Not asked: {self.text} ({self.missing})."
        unit = " nats a token" if self.unit == "nat" else ""
        paper = f" The paper: {self.paper}." if self.paper else ""
        numbers = f"{self.number}: {self.ours}{unit} ({self.around})."
        return f"{self.verdict.capitalize()}: {self.text}. {numbers[0].upper()}{numbers[1:]}{paper}"

    @property
    def what_would_change_it(self) -> str:
        """What it would take to come to another verdict, from the numbers."""
        effect = self.effect
        if effect is None:
            return self.missing[0].upper() + self.missing[1:] + "."
        if effect.over_seeds is None:
            return effect.more
        low, high = effect.over_seeds
        half, distance = (high - low) / 2, self._distance(effect.value)
        if not half:
            return "Nothing that more seeds could bring: all gave the same."
        if self.verdict == "open":
            needed = effect.seeds * (half / distance) ** 2 if distance else math.inf
            if needed > MANY:
                return "Hardly more seeds: the number is too near the bound."
            return f"About {max(math.ceil(needed), effect.seeds + 1)} seeds that spread as these {effect.seeds} do."
        return f"Seeds that spread {distance / half:.1f} times as widely as these {effect.seeds} do."

    def data(self) -> Json:
        """For `results.json`."""
        return {
            "question": self.question,
            "claim": self.text,
            "number": self.number,
            "paper": self.paper,
            "effect": None if self.effect is None else self.effect.data(),
            "region": [self.least, self.most],
            "verdict": self.verdict,
        }

    def _distance(self, value: float) -> float:
        return min(abs(value - bound) for bound in (self.least, self.most) if math.isfinite(bound))

    def _show(self, value: float) -> str:
        return share(value) if self.unit == "share" else signed(value)

    def _bound(self, value: float) -> str:
        return share(value, 0) if self.unit == "share" else signed(value, 2) if value else "zero"


@dataclass(frozen=True)
class Answer:
    """A page with the claims it is about, and its part of `results.json`."""

    page: Page
    claims: tuple[Claim, ...]
    numbers: Json


def answer(
    name: str,
    label: str,
    question: str,
    claims: Sequence[Claim],
    sections: Sequence[Section],
    numbers: Json,
    *,
    summary: Sequence[str] = (),
) -> Answer:
    """A page about a question: the verdicts, what would change them, and the numbers behind them.

    Args:
        name: of the file.
        label: in the navigation.
        question: in words.
        claims: judged on the page.
        sections: tables and figures.
        numbers: for `results.json`.
        summary: sentences after the verdicts.
    """
    told = (*(claim.sentence for claim in claims if claim.effect and claim.leads), *summary)
    missing = tuple(dict.fromkeys(f"Not asked: {claim.missing}." for claim in claims if not claim.effect))
    judged = [Section("verdicts", "Verdicts", (), (_verdicts(claims),))] if claims else []
    document = Document(label, question, (), told + missing, (*judged, *sections))
    return Answer(Page(name, label, document), tuple(claims), numbers)


def claims_table(caption: str, claims: Sequence[Claim], pages: Mapping[str, str]) -> Table:
    """Claims with the paper's number, ours, and the verdict.

    Args:
        caption: of the table.
        claims: in their order.
        pages: question -> its page, to lead to.
    """
    rows = [[Cell(claim.question, link=pages.get(claim.question, "")), *_cells(claim)] for claim in claims]
    return table(caption, ("question", "claim", "the paper", "here", "verdict"), rows, words=(1, 4), note=_NOTE)


_NOTE = (
    "In nats a token unless a unit is given. The paper gives no intervals and no number of seeds. The first page "
    "says how verdicts come about."
)


def _cells(claim: Claim) -> list[Cell]:
    what = Cell(claim.text, f"({claim.number}: {claim.region})")
    verdict = Cell(f"{MARKS[claim.verdict]}{GAP}{claim.verdict.replace(' ', GAP)}", strong=True)
    return [what, Cell(claim.paper or "–"), Cell(claim.ours, claim.around), verdict]


def _verdicts(claims: Sequence[Claim]) -> Table:
    rows = [[*_cells(claim), Cell(claim.what_would_change_it)] for claim in claims]
    columns = ("claim", "the paper", "here", "verdict", "what would change it")
    return table("Claims and verdicts", columns, rows, words=(3, 4), note=_NOTE)
