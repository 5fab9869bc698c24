"""Tokenization beside `tokenizers` alone, and packing, on one core."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks._rows import Row, compare
from orchestrator.config.recipe import BlocksConfig, TokenizerConfig
from orchestrator.corpus.sources.miniwiki import Miniwiki
from orchestrator.environment import Environment
from orchestrator.stages.base import Stage
from orchestrator.stages.blocks import BlocksStage
from orchestrator.stages.tokenizer import TokenizerStage
from orchestrator.stages.tokens import TokensStage


@dataclass(frozen=True)
class Packing:
    """The embedded English corpus many times over, through the stages as they run."""

    copies: int = 60
    vocab_size: int = 4096
    context: int = 128
    repeats: int = 5

    def rows(self) -> Iterator[Row]:
        """Tokens a second of the tokens stage beside `encode_batch`, and of the blocks stage beside the goal of 1M."""
        os.environ["RAYON_NUM_THREADS"] = "1"  # one core, for the stage and for the library alone
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            texts = [document.text for document in Miniwiki().documents("en")]
            _write_corpus(root / "corpus", {"train": texts * self.copies, "validation": texts, "test": texts})
            corpus = {"corpus": root / "corpus"}
            settings = TokenizerConfig(vocab_size=self.vocab_size)
            _run(TokenizerStage(tokenizer=settings, languages=("en",), seed=0), corpus, root / "tokenizer")
            stage, inputs = TokensStage(languages=("en",)), {**corpus, "tokenizer": root / "tokenizer"}
            encoded = texts * (self.copies + 2)
            ours, alone = [], []
            for repeat in range(self.repeats):
                out = root / f"tokens-{repeat}"
                ours.append(_seconds(lambda out=out: _run(stage, inputs, out)))  # type: ignore[misc]
                alone.append(_seconds(lambda: _encode_alone(root / "tokenizer", encoded)))
            yield self._speeds("tokenization, beside tokenizers alone", root, ours, alone)
            blocks = BlocksStage(blocks=BlocksConfig(context=self.context), languages=("en",), seed=0)
            packed = [
                _seconds(lambda out=root / f"blocks-{n}": _run(blocks, {"tokens": root / "tokens-0"}, out))  # type: ignore[misc]
                for n in range(self.repeats)
            ]
            yield self._speeds("packing, beside 1M tokens/s", root, packed, [_tokens(root) / 1e6])

    def _speeds(self, case: str, root: Path, ours: list[float], baseline: list[float]) -> Row:
        count = _tokens(root)
        return compare(case, "speed", "tokens/s", [count / t for t in ours], [count / t for t in baseline])


def _write_corpus(folder: Path, splits: Mapping[str, list[str]]) -> None:
    for split, texts in splits.items():
        (folder / split).mkdir(parents=True)
        columns = {"id": [str(i) for i in range(len(texts))], "text": texts}
        table = pa.table({**columns, "title": columns["id"], "source": columns["id"], "licence": columns["id"]})
        pq.write_table(table, folder / split / "en.parquet", row_group_size=1000)


def _run(stage: Stage, inputs: Mapping[str, Path], out: Path) -> None:
    out.mkdir()
    stage.run(inputs, out, Environment(work=out.with_name(out.name + ".work")))


def _encode_alone(folder: Path, texts: list[str]) -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    for start in range(0, len(texts), 1000):
        encoded = tokenizer.encode_batch_fast(texts[start : start + 1000], add_special_tokens=False)
        _ = [each.ids for each in encoded]


def _tokens(root: Path) -> int:
    return sum(path.stat().st_size for path in root.glob("tokens-0/*/*.bin")) // 2  # uint16


def _seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start
