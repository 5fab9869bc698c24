"""Every stage on a tiny input, in this process: what a golden record is taken of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from orchestrator.config.recipe import CorpusConfig, Recipe, VocabularyConfig
from orchestrator.environment import Environment
from orchestrator.pipeline.graph import steps_of
from orchestrator.stages.added_blocks import AddedBlocksStage
from orchestrator.stages.alignment import AlignmentStage
from orchestrator.stages.base import Stage
from orchestrator.stages.corpus import CorpusStage
from orchestrator.stages.grown_blocks import GrownBlocksStage
from orchestrator.stages.grown_corpus import GrownCorpusStage
from orchestrator.stages.remaining_experts import RemainingExpertsStage
from orchestrator.stages.tokenizer import TokenizerStage
from orchestrator.stages.tokens import TokensStage
from orchestrator.stages.vocabulary import VocabularyStage
from orchestrator.study._low_rank.stage import LowRankStage

MODEL = {"type": "gpt2", "layers": 2, "width": 16, "heads": 2}
TRAINING = {
    "tokens": 32 * 8 * 6,
    "precision": "fp32",
    "batch_tokens": 32 * 8,
    "micro_batch": 4,
    "optimizer": {"type": "adamw", "lr": 0.01},
    "eval_every": 3,
    "eval_blocks": 4,
}
RECIPE = Recipe.model_validate(
    {
        "name": "golden",
        "seed": 5,
        "corpus": {
            "max_documents": 30,
            "languages": {code: {"source": "miniwiki"} for code in ("en", "fr")},
            "splits": {"validation": 0.2, "test": 0.2},
        },
        "tokenizer": {"vocab_size": 400},
        "blocks": {"context": 32},
        "teacher": {"model": MODEL, "training": TRAINING},
        "experts": {"model": MODEL, "training": TRAINING, "distillation": {"teacher": "hidden_cache"}},
        "router": {"type": {"type": "prompt", "bits": 12, "pieces": 100, "calibration_pieces": 50}},
        "evaluation": {"bootstrap": 100, "max_blocks": 6},
        "study": {
            "type": "paper",
            "seeds": [1],
            "setups": {"ple": "ple", "moe_ce": "moe_ce"},
            "baselines": {"dense": {}, "merged": {"initialise": "average", "tokens": 0}},
            "forgetting": False,
        },
    }
)


def run_all(root: Path) -> dict[str, tuple[Stage, Path]]:
    """Run every kind of stage below `root`; stage class -> the first stage of it and its folder."""
    torch.set_num_threads(1)
    folders: dict[str, Path] = {}
    found: dict[str, tuple[Stage, Path]] = {}

    def run(name: str, stage: Stage, inputs: Mapping[str, Path]) -> None:
        folders[name] = root / "out" / name
        folders[name].mkdir(parents=True)
        stage.run(inputs, folders[name], Environment(work=root / "work" / name))
        found.setdefault(type(stage).__name__, (stage, folders[name]))

    steps = steps_of(RECIPE)
    for step in steps:
        if not step.kind.endswith(("report", "study")):  # reports read manifests, which only a run writes
            run(step.name, step.stage, {role: folders[name] for role, name in step.inputs.items()})
    vocabulary = VocabularyStage(language="en", vocabulary=VocabularyConfig(keep=0.9))
    run("vocabulary-en", vocabulary, {name: folders[name] for name in ("blocks", "tokenizer")})
    _align(run, folders)
    low_rank = LowRankStage(language="en", ranks=(1, 4), evaluation=RECIPE.evaluation)
    run("low-rank", low_rank, {"blocks": folders["blocks"], "base": folders["dense"], "expert": folders["expert-en"]})
    _grow(run, folders)
    return found


def _align(run, folders: Mapping[str, Path]) -> None:
    """The stage that lays a teacher's tokens beside the student's."""
    config = RECIPE.tokenizer.model_copy(update={"vocab_size": 350})
    run("other-tokenizer", TokenizerStage(tokenizer=config, languages=("fr",), seed=5), {"corpus": folders["corpus"]})
    read = {"corpus": folders["corpus"], "tokenizer": folders["other-tokenizer"]}
    run("other-tokens", TokensStage(languages=("en", "fr")), read)
    inputs = {name: folders[name] for name in ("blocks", "tokens", "tokenizer")}
    inputs |= {f"teacher-{name}": folders[f"other-{name}"] for name in ("tokenizer", "tokens")}
    run("alignment-en", AlignmentStage(language="en", teacher=RECIPE.teacher.model), inputs)


def _grow(run, folders: Mapping[str, Path]) -> None:
    """The stages of a mixture that grows by a language."""
    corpus = CorpusConfig.model_validate(
        {**RECIPE.corpus.model_dump(mode="json"), "languages": {"de": {"source": "miniwiki"}}}
    )
    run("corpus-de", CorpusStage(corpus=corpus, seed=5), {})
    run(
        "tokens-de", TokensStage(languages=("de",)), {"corpus": folders["corpus-de"], "tokenizer": folders["tokenizer"]}
    )
    added = AddedBlocksStage(
        blocks=RECIPE.blocks, languages=("de",), seed=5, most={"train": 2000, "validation": 500, "test": 500}
    )
    run("blocks-de", added, {"tokens": folders["tokens-de"]})
    grown = ("en", "fr", "de")
    run("grown-blocks", GrownBlocksStage(languages=grown), {k: folders[k] for k in ("blocks", "blocks-de")})
    run("grown-corpus", GrownCorpusStage(languages=grown), {k: folders[k] for k in ("corpus", "corpus-de")})
    remaining = RemainingExpertsStage(languages=("en",))
    run("remaining", remaining, {"mixture": folders["mixture-moe_ce"], "tokenizer": folders["tokenizer"]})
