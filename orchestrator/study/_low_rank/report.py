"""Stage: losses of bases, experts and what is between -> a page that says which rank keeps which share of the gain."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.environment import Environment
from orchestrator.reporting.document import Document, Link, Page, Section, write_pages
from orchestrator.reporting.effects import Effect, Runs, bounds, effect, minus, nats, only, ratio
from orchestrator.reporting.facts import read_json, read_tensors
from orchestrator.reporting.formats import MISSING, compact, interval, perplexity, share
from orchestrator.reporting.tables import Cell, Table, table
from orchestrator.stages.base import Stage
from orchestrator.works import by_work

BASE, EXPERT = "base", "expert"
MOST = 0.9
"""Share of the gain that counts as most of it."""


class LowRankReportStage(Stage):
    """Reads `low-rank-<language>@<seed>` and `main-report`; writes `index.html`, `report.md`, `results.json`, and the
    main line's report in `run/`.
    """

    recipe: dict[str, Any]
    """The recipe as plain data, without resources and tracking."""
    ranks: tuple[int, ...]
    """Ranks kept, in order."""
    seeds: tuple[int, ...]
    """Seeds of the students."""

    def run(self, inputs: Mapping[str, Path], out: Path, env: Environment) -> None:
        """See :class:`orchestrator.stages.base.Stage`.

        Raises:
            ArtifactError: an artifact is missing or damaged.
        """
        languages, context = tuple(self.recipe["corpus"]["languages"]), int(self.recipe["blocks"]["context"])
        folders = {seed: {name: inputs[f"low-rank-{name}@{seed}"] for name in languages} for seed in self.seeds}
        losses: dict[str, Runs] = {
            kept: {
                seed: {name: _losses(folder, kept, context) for name, folder in by_language.items()}
                for seed, by_language in folders.items()
            }
            for kept in (BASE, *map(str, self.ranks), EXPERT)
        }
        sizes = read_json(folders[self.seeds[0]][languages[0]] / "sizes.json")
        page, results = report(losses, sizes, self.recipe)
        write_pages([page], results, out, [Link("run/index.html", "Main run")])
        shutil.copytree(inputs["main-report"], out / "run", ignore=shutil.ignore_patterns("manifest.json"))
        for sentence in page.document.summary:
            env.log({"message": sentence})


def _losses(folder: Path, kept: str, context: int) -> Any:
    """Nats a token of blocks of `context` tokens, float64 [works]."""
    found = read_tensors(folder / "losses.safetensors")
    return by_work(found[f"loss/{kept}"] / context, found["works"])


def report(
    losses: Mapping[str, Runs], sizes: Mapping[str, int], recipe: Mapping[str, Any]
) -> tuple[Page, dict[str, Any]]:
    """The page and its numbers.

    Args:
        losses: by what is kept of an expert: "base", "4" (a rank) …, "expert".
        sizes: numbers to store it, likewise.
        recipe: as plain data.
    """
    confidence = float(recipe["evaluation"]["confidence"])
    gains = {kept: minus(losses[BASE], runs) for kept, runs in losses.items()}
    shares = {kept: ratio(gain, gains[EXPERT], confidence) for kept, gain in gains.items()}
    over = "seeds" if len(losses[BASE]) > 1 else "held-out documents; another seed may differ by more"
    cautions = (
        f"Intervals cover {share(confidence, 0)} and are over {over}.",
        f"The experts have {compact(sizes[EXPERT])} parameters and are cut after their training, without any training "
        "afterwards. What larger experts keep, or experts that train longer, this study does not tell.",
    )
    section = Section("ranks", "By rank", cautions, (_table(losses, shares, sizes, confidence),))
    optimizer = str(recipe["experts"]["training"]["optimizer"]["type"])
    facts = (("Seeds", str(len(losses[BASE]))), ("Expert parameters", compact(sizes[EXPERT])), ("Optimizer", optimizer))
    title, description = f"Study “{recipe['name']}”: low-rank experts", str(recipe.get("description", ""))
    summary = _summary(effect(gains[EXPERT], confidence), shares, sizes)
    numbers = {
        "name": recipe["name"],
        "confidence": confidence,
        "stored_numbers": dict(sizes),
        "loss": {kept: effect(runs, confidence).data() for kept, runs in losses.items()},
        "share_of_gain": {kept: found and found.data() for kept, found in shares.items()},
        "recipe": recipe,
    }
    return Page("index", "Low rank", Document(title, description, facts, summary, (section,))), numbers


def _summary(gain: Effect, shares: Mapping[str, Effect | None], sizes: Mapping[str, int]) -> tuple[str, ...]:
    told = f"An expert is better than the base by {nats(gain)} nats a token {bounds(gain.interval)}."
    found = {kept: each for kept, each in shares.items() if each and kept not in (BASE, EXPERT)}
    if not found:
        return (told, "That may be no gain, so no share of it can be told: train longer, or measure on more text.")
    enough = next((kept for kept, each in found.items() if each.interval and each.interval[0] >= MOST), None)
    return (
        told,
        *(f"{_name(kept)} keeps {_share(each)} of the gain in {_size(kept, sizes)}." for kept, each in found.items()),
        f"The lowest rank that surely keeps {share(MOST, 0)} of the gain: {enough or 'none of those tried'}.",
    )


def _table(
    losses: Mapping[str, Runs], shares: Mapping[str, Effect | None], sizes: Mapping[str, int], confidence: float
) -> Table:
    def level(runs: Runs) -> Cell:
        found = effect(runs, confidence).transformed(math.exp)
        return Cell(perplexity(found.value), interval(found.interval))

    languages = tuple(next(iter(losses[BASE].values())))
    rows: list[list[Cell | str]] = [
        [_name(kept), _size(kept, sizes), _share(shares[kept]), *(level(only(runs, each)) for each in languages)]
        for kept, runs in losses.items()
    ]
    columns = ("Kept", "Stored beside the base", "Share of the gain", *(f"Perplexity, {each}" for each in languages))
    note = (
        "The share is of the mean gain from base to expert over all languages. Below zero, a rank is worse than the "
        f"base; {MISSING}: there may be no gain."
    )
    return table("What is kept of the experts", columns, rows, (1,), note)


def _name(kept: str) -> str:
    return f"Rank {kept}" if kept.isdecimal() else f"The {kept}"


def _size(kept: str, sizes: Mapping[str, int]) -> str:
    return f"{compact(sizes[kept])} numbers, {share(sizes[kept] / sizes[EXPERT], 0)} of an expert"


def _share(found: Effect | None) -> str:
    if found is None:
        return MISSING
    ends = f" [{', '.join(share(end, 0) for end in found.interval)}]" if found.interval else ""
    return (share(found.value, 0) + ends).replace("-", "−")
