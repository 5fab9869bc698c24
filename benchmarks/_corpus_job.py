"""A process that runs one step over generated documents, or decides on hashes alone; prints seconds and peak memory."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.config.base import PluginSpec
from orchestrator.config.recipe import BlocksConfig, CorpusConfig, TokenizerConfig
from orchestrator.corpus.build import decide
from orchestrator.corpus.deduplication import PERMUTATIONS
from orchestrator.corpus.staging import UNASSIGNED, Staged
from orchestrator.environment import Environment
from orchestrator.memory import PeakMemory
from orchestrator.processes import ProcessMap
from orchestrator.stages.base import Stage
from orchestrator.stages.blocks import BlocksStage
from orchestrator.stages.corpus import CorpusStage
from orchestrator.stages.tokenizer import TokenizerStage
from orchestrator.stages.tokens import TokensStage

LANGUAGES = ("en",)


def main() -> None:
    """Do the job in the first argument."""
    job = json.loads(sys.argv[1])
    begin = time.perf_counter()
    with PeakMemory() as memory:
        _simulate(int(job["simulate"]), Path(job["scratch"])) if "simulate" in job else _step(job)
    print(json.dumps({"seconds": time.perf_counter() - begin, "peak": memory.own}))


def _step(job: Mapping[str, Any]) -> None:
    folder, name = Path(job["folder"]), str(job["step"])
    stage, reads = _stages(str(job["text"]), int(job["vocab_size"]))[name]
    (folder / name).mkdir()
    pool = ProcessMap(int(job["workers"]))
    environment = Environment(work=folder / f"{name}.work", map=pool, threads=int(job["workers"]))
    stage.run({each: folder / each for each in reads}, folder / name, environment)
    pool.close()


def _stages(text: str, vocab_size: int) -> dict[str, tuple[Stage, tuple[str, ...]]]:
    source = PluginSpec(type="files", path=text)
    corpus = CorpusConfig.model_validate({"languages": {"en": {"source": source}}, "min_characters": 1})
    tokenizer = TokenizerConfig(vocab_size=vocab_size, max_characters_per_language=5_000_000)
    return {
        "corpus": (CorpusStage(corpus=corpus, seed=1), ()),
        "tokenizer": (TokenizerStage(tokenizer=tokenizer, languages=LANGUAGES, seed=1), ("corpus",)),
        "tokens": (TokensStage(languages=LANGUAGES), ("corpus", "tokenizer")),
        "blocks": (BlocksStage(blocks=BlocksConfig(context=128), languages=LANGUAGES, seed=1), ("tokens",)),
    }


def _simulate(count: int, scratch: Path) -> None:
    """Decide on so many documents by their hashes, one in twenty of which repeats the one before it."""
    draw = np.random.default_rng(15)
    with (scratch / "signatures.bin").open("wb") as file:
        for start in range(0, count, 100_000):
            rows = draw.integers(0, 2**32, (min(100_000, count - start), PERMUTATIONS), dtype=np.uint32)
            rows[20::20] = rows[19:-1:20]
            file.write(rows.tobytes())
    keys = draw.integers(0, 2**64, count, dtype=np.uint64)
    keys[40::40] = keys[39:-1:40]
    ids = np.arange(count, dtype=np.uint64)
    staged = Staged("en", scratch, ids, ids, keys, np.full(count, UNASSIGNED, np.int8), Counter(), {}, {}, {"rows": 0})
    source = PluginSpec(type="files", path="simulated")
    decide([staged], CorpusConfig.model_validate({"languages": {"en": {"source": source}}}))


if __name__ == "__main__":
    main()
