"""Artifact folders of a made-up study, in the shapes that the stages write; numbers are fixed, nothing is trained."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

LANGUAGES = ("en", "fr", "de", "py")
CONTEXT, BLOCKS = 128, 40
NASTY = "<script>alert(1)</script> & a | pipe"
# Loss in nats a token: of the own expert, of any other, and what each setup adds.
OWN, OTHER, TEACHER, COMMON = 5.0, 6.0, 4.9, 5.5
SETUP = {"ple": 0.0, "jeet": 0.01, "moe_ce": 0.02}
ALONE = 0.15
"""What the experts of MoE-CE lose without the common expert."""
BASELINE = {"dense": 0.3, "merged": 1.5}
MISROUTED = 4
"""Block of every language that goes to the next language's expert."""
FORGOTTEN = {"en": 0.5, "fr": 0.9, "de": 1.3}
SEED_SPREAD = 0.01
NANO = {"type": "gpt2-nano"}
SWEEPS: dict[str, Any] = {
    "rq1": {
        "configurations": {"fixed 0.5": {}, "adaptive_paper": {}},
        "description": NASTY,
        "references": [{"what": "w", "paper": -0.01, "ours": ["adaptive_paper", "fixed 0.5"], "source": "section 4.2"}],
    },
    "rq2": {
        "configurations": {"combined": {}, "alternating per step": {}},
        "references": [
            {"what": "w", "paper": 0.017, "ours": ["alternating per step", "combined"], "source": "section 4.3"}
        ],
    },
    "recipe": {"configurations": {"ours": {}, "the paper's": {}, "its losses": {}}, "languages": ["en", "fr"]},
}
FINAL = {"fixed 0.5": 5.0, "adaptive_paper": 5.0, "combined": 5.0, "alternating per step": 5.16, "ours": 5.0,
         "the paper's": 7.4, "its losses": 4.98}  # fmt: skip


@dataclass
class Made:
    """A study's artifacts: what `write_study_report` takes."""

    root: Path
    main_report: Path
    languages: Sequence[str] = LANGUAGES
    inputs: dict[str, Path] = field(default_factory=dict)
    entries: list[dict[str, Any]] = field(default_factory=list)
    recipe: dict[str, Any] = field(default_factory=dict)

    def add(self, step: str, what: str, seed: int, name: str, language: str = "", **files: Any) -> Path:
        """An artifact with JSON files, noted."""
        folder = self.root / step
        if step not in self.inputs:
            folder.mkdir(parents=True)
            for stem, value in {"manifest": {"seconds": 1.5}, **files}.items():
                (folder / f"{stem}.json").write_text(json.dumps(value))
        self.inputs[step] = folder
        self.entries.append({"step": step, "what": what, "name": name, "seed": seed, "language": language})
        return folder


def write_study(
    root: Path,
    main_report: Path,
    *,
    seeds: Sequence[int] = (1,),
    setups: Sequence[str] = tuple(SETUP),
    baselines: Sequence[str] = tuple(BASELINE),
    sweeps: Sequence[str] = tuple(SWEEPS),
    forgetting: bool = True,
    languages: Sequence[str] = LANGUAGES,
) -> Made:
    """A study; `main_report` is the folder of a main line's report of the same languages."""
    made = Made(root, main_report, languages, {"main-report": main_report})
    made.recipe = {
        "name": "made-up", "description": NASTY, "experts": {"model": NANO, "training": {"eval_blocks": 32}},
        "teacher": {"model": NANO},
        "study": {
            "baselines": {"dense": {"model": None, "initialise": "random"}, "merged": {"initialise": "average"}},
            "sweeps": {name: SWEEPS[name] for name in sweeps},
        },
    }  # fmt: skip
    for number, seed in enumerate(seeds):
        shift = SEED_SPREAD * number
        for setup in setups:
            _setup(made, setup, seed, shift)
        for name in baselines:
            facts = training(OWN, 4000)
            made.add(f"{name}@{seed}", "student", seed, name, training=facts)
            folder = made.add(f"measure-{name}@{seed}", "measure", seed, name)
            measured = {f"loss/{lang}": nats(OWN + BASELINE[name] + shift, lang) for lang in languages}
            works = {f"works/{lang}": np.arange(BLOCKS) for lang in languages}
            save_file({**measured, **works}, folder / "block_losses.safetensors")
        if forgetting:
            _sessions(made, [s for s in setups if s != "ple"], seed, shift)
        for sweep in sweeps:
            for number_of, configuration in enumerate(SWEEPS[sweep]["configurations"]):
                for language in SWEEPS[sweep].get("languages", ("en",)):
                    _trial(made, sweep, number_of, configuration, language, seed, shift)
    return made


def nats(loss: float, language: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Losses of blocks summed: the same difficulties for every model."""
    difficulty = np.random.default_rng(len(language) + ord(language[0])).normal(0, 0.2, BLOCKS)
    return CONTEXT * (loss + difficulty - difficulty.mean())


def tensors(setup: str, languages: Sequence[str], shift: float = 0.0) -> dict[str, Any]:
    """An evaluation's arrays. The router prefers the own expert, then the next language's, and so on in a circle."""
    found: dict[str, Any] = {}
    for place, language in enumerate(languages):
        ranks = (np.arange(len(languages)) - place) % len(languages)
        shares = 0.5 ** (1.0 + ranks)
        probabilities = np.tile(shares / shares.sum(), (BLOCKS, 1))
        probabilities[MISROUTED] = np.roll(probabilities[MISROUTED], 1)
        for other, expert in enumerate(languages):
            loss = SETUP[setup] + shift + (OWN if expert == language else OTHER + 0.1 * ranks[other])
            found[f"loss/{expert}/{language}"] = nats(loss, language)
            if setup == "moe_ce":
                found[f"loss/alone:{expert}/{language}"] = nats(loss + ALONE, language)
        if setup == "moe_ce":
            found[f"loss/common/{language}"] = nats(COMMON, language)
        found |= {
            f"loss/{name}/{language}": nats(OWN + add, language) for name, add in (("average", 0.2), ("soft", 0.0))
        }
        found[f"loss/teacher/{language}"] = nats(TEACHER, language) * (1 + 0.01 * (np.arange(BLOCKS) % 2))
        found[f"probabilities/{language}"] = probabilities
        found[f"works/{language}"] = np.arange(BLOCKS)
    return found


def training(loss: float, tokens: int = 1000) -> dict[str, Any]:
    return {"steps": 4, "tokens": tokens, "seconds": 2.0, "tokens_per_second": 500.0, "final_validation_loss": loss,
            "best_validation_loss": loss, "parameters": 1000}  # fmt: skip


def curves(folder: Path, losses: Mapping[str, Sequence[float]]) -> None:
    """`metrics.jsonl` with an evaluation at each step; the first one twice, as after a kill."""
    count = max(map(len, losses.values()))
    rows = []
    for step in [1, *range(1, count + 1)]:
        by_language = {f"validation_loss/{lang}": found[step - 1] for lang, found in losses.items()}
        mean = sum(by_language.values()) / len(by_language)
        rows.append({"step": step, "loss": 5.0, "alpha": 0.5, "beta": 0.5})
        rows.append({"step": step, "validation_loss": mean, **by_language})
    rows[1] = {key: 0.0 if key != "step" else value for key, value in rows[1].items()}  # superseded
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def _setup(made: Made, setup: str, seed: int, shift: float) -> None:
    evaluation = {"context": CONTEXT, "split": "test", "confidence": 0.95}
    folder = made.add(f"evaluation-{setup}@{seed}", "evaluation", seed, setup, evaluation=evaluation)
    save_file(tensors(setup, made.languages, shift), folder / "block_losses.safetensors")
    about = {"format": 1, "setup": {"type": setup}, "languages": list(made.languages)}
    made.add(f"mixture-{setup}@{seed}", "mixture", seed, setup, mixture=about)
    if setup != "ple":
        folder = made.add(f"joint-{setup}@{seed}", "training", seed, setup, training=training(OWN, 4000))
        curves(folder, {lang: [6.0, 5.5, 5.2, 5.1] for lang in made.languages})
        return
    for language in made.languages:
        folder = made.add(f"expert-{language}@{seed}", "training", seed, setup, language, training=training(OWN))
        curves(folder, {language: [6.0, 5.5, 5.2, 5.1]})


def _sessions(made: Made, joint: Sequence[str], seed: int, shift: float) -> None:
    everything, falling = made.languages, [6.0, 5.5, 5.2, 5.1]

    def session(name: str, learned: Sequence[str], losses: Mapping[str, Sequence[float]], step: str = "") -> None:
        step = f"{step or '-'.join((name, *learned))}@{seed}"
        folder = made.add(step, "session", seed, name, ",".join(learned), training=training(OWN, 1000 * len(learned)))
        if not (folder / "metrics.jsonl").exists():
            curves(folder, losses)

    session("single-session", everything, dict.fromkeys(everything, falling))
    for place, language in enumerate(everything):
        session("sequential", [language], {
            lang: falling if lang == language
            else [5.1 + (FORGOTTEN.get(lang, 1.0) + shift) * k / 4 for k in range(1, 5)] if lang in everything[:place]
            else [7.0] * 4
            for lang in everything
        })  # fmt: skip
    for setup in joint:
        session(f"together-{setup}", everything, {}, f"joint-{setup}")
        for language in everything:
            session(
                f"sequential-{setup}",
                [language],
                {lang: falling if lang == language else [5.1] * 4 for lang in everything},
            )
        session(f"before-{setup}", everything[:-1], dict.fromkeys(everything[:-1], falling))
        for kind, rise in (("added", 0.08), ("added-frozen", 0.0)):
            rows = {lang: falling if lang == everything[-1] else [5.1 + rise] * 4 for lang in everything}
            session(f"{kind}-{setup}", everything[-1:], rows)


def _trial(made: Made, sweep: str, number: int, name: str, language: str, seed: int, shift: float) -> None:
    loss = FINAL[name] + (0.1 if language == "fr" else 0.0) + shift * (1 + number / 10)
    step = f"expert-{language}.{sweep}-{number}@{seed}"
    folder = made.add(step, "trial", seed, f"{sweep}: {name}", language, training=training(loss))
    curves(folder, {language: [loss + 1, loss + 0.5, loss + 0.2, loss]})
