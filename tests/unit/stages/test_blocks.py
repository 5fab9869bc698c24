"""The blocks stage: balanced, packed, counted exactly, and clear about what does not fit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from orchestrator.config.base import PluginSpec
from orchestrator.config.recipe import BalanceConfig, BlocksConfig
from orchestrator.environment import Environment
from orchestrator.errors import ArtifactError, CorpusError, ResourceError
from orchestrator.stages.base import Expected
from orchestrator.stages.blocks import BlocksStage
from orchestrator.tokens.blocks import TokenBlocks

EXPECTED = Expected(
    vocab_size=512, context=64, languages=2, tokens_per_language=None, teacher=PluginSpec(type="gpt2_nano")
)

SPLITS = ("train", "validation", "test")
VOCABULARY = np.stack([np.arange(100) % 4, np.arange(100) % 3], axis=1) * (np.arange(100) > 2)[:, None]
LENGTHS = {
    "train": {"en": [30] * 40, "fr": [7, 0] * 60, "de": [500] * 3},
    "validation": {"en": [40] * 3, "fr": [20] * 9, "de": [90]},
    "test": {"en": [40] * 3, "fr": [20] * 9, "de": [90]},
}


def document(split: str, language: str, row: int) -> np.ndarray:
    rng = np.random.default_rng([row, *f"{split}{language}".encode()])
    return rng.integers(3, 100, LENGTHS[split][language][row]).astype(np.uint16)


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    """An artifact of the tokens stage."""
    folder = tmp_path / "tokens"
    splits: dict[str, dict[str, dict[str, int]]] = {}
    for split, languages in LENGTHS.items():
        (folder / split).mkdir(parents=True)
        splits[split] = {}
        for language, lengths in languages.items():
            ids = np.concatenate([document(split, language, row) for row in range(len(lengths))])
            ids.tofile(folder / split / f"{language}.bin")
            np.save(folder / split / f"{language}.lengths.npy", np.array(lengths))
            np.save(folder / split / f"{language}.works.npy", np.arange(len(lengths), dtype=np.uint64) // 2)
            splits[split][language] = {"documents": len(lengths), "tokens": len(ids), "unknown": 0}
    np.save(folder / "vocabulary.npy", VOCABULARY)
    about = {"languages": ["en", "fr", "de"], "dtype": "uint16", "vocab_size": 100, "prefix_bytes": 1, "splits": splits}
    (folder / "tokens.json").write_text(json.dumps(about))
    return folder


def run(
    tokens: Path, out: Path, context: int = 16, seed: int = 1, **balance: float
) -> dict[str, dict[str, dict[str, object]]]:
    out.mkdir(exist_ok=True)
    config = BlocksConfig(context=context, balance=BalanceConfig(**balance))  # type: ignore[arg-type]
    stage = BlocksStage(blocks=config, languages=("en", "fr", "de"), seed=seed)
    stage.run({"tokens": tokens}, out, Environment(work=out.parent / "work"))
    splits: dict[str, dict[str, dict[str, object]]] = json.loads((out / "blocks.json").read_text())["splits"]
    return splits


def test_streams_are_the_selected_documents(tokens: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    splits = run(tokens, out)
    for split in SPLITS:
        for language, counts in splits[split].items():
            rows = np.load(out / "selected" / split / f"{language}.npy")
            kept = [document(split, language, row) for row in rows]
            if counts["cut"]:
                assert counts["cut"] == {"row": rows[-1], "tokens": len(kept[-1]), "kept": counts["cut"]["kept"]}  # type: ignore[index]
                kept[-1] = kept[-1][: counts["cut"]["kept"]]  # type: ignore[index]
            stream = np.concatenate([np.array([1, *each, 2], np.uint16) for each in kept])
            np.testing.assert_array_equal(np.fromfile(out / split / f"{language}.bin", np.uint16), stream)
            text_bytes, characters = VOCABULARY[stream].sum(axis=0) - len(rows)
            assert (counts["documents"], counts["tokens"]) == (len(rows), len(stream))
            assert (counts["bytes"], counts["characters"]) == (text_bytes, characters)
            middles = np.arange(len(stream) // 16 - 1) * 16 + 8
            documents = np.cumsum(stream == 1)[middles] - 1
            works = TokenBlocks.open(out, split).works(language)
            np.testing.assert_array_equal(works[: len(middles)], rows[documents] // 2)
            assert (
                counts["blocks"]
                == len(works)
                == (len(stream) - 1) // 16
                == TokenBlocks.open(out, split).count(language)
            )


def test_splits_are_balanced(tokens: Path, tmp_path: Path) -> None:
    splits = run(tokens, tmp_path / "out")
    for split in SPLITS:
        counts = [each["tokens"] for each in splits[split].values()]
        assert (max(counts) - min(counts)) / max(counts) <= 0.05  # type: ignore[operator]
    assert splits["train"]["fr"]["tokens"] == 60 * 9
    assert splits["train"]["de"]["cut"]


def test_tokens_per_language(tokens: Path, tmp_path: Path) -> None:
    splits = run(tokens, tmp_path / "out", tokens_per_language=300)
    assert all(285 <= counts["tokens"] <= 300 for counts in splits["train"].values())  # type: ignore[operator]
    assert splits["test"]["de"]["tokens"] == 92
    with pytest.raises(CorpusError, match=r"fr: fewer than the 1,000 train tokens"):
        run(tokens, tmp_path / "more", tokens_per_language=1000)


def test_same_for_a_seed(tokens: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(tokens, tmp_path / name, seed=seed)
    first, again, other = ((tmp_path / name / "train" / "en.bin").read_bytes() for name in "abc")
    assert first == again != other


def test_context_longer_than_a_stream(tokens: Path, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"a validation stream .* least text is de's: 92 tokens") as caught:
        run(tokens, tmp_path / "out", context=200)
    shorter = int(caught.value.fix.split("blocks.context=")[1].split()[0])
    run(tokens, tmp_path / "shorter", context=shorter)


def test_fewer_tokens_asked_for_than_a_block_takes(tokens: Path, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="a train stream") as caught:
        run(tokens, tmp_path / "out", context=16, tokens_per_language=15)
    assert "tokens_per_language=32 or more" in caught.value.fix


def test_a_language_without_tokens(tokens: Path, tmp_path: Path) -> None:
    (tokens / "test" / "de.bin").write_bytes(b"")
    np.save(tokens / "test" / "de.lengths.npy", np.zeros(1, np.int64))
    about = json.loads((tokens / "tokens.json").read_text())
    about["splits"]["test"]["de"] = {"documents": 1, "tokens": 0, "unknown": 0}
    (tokens / "tokens.json").write_text(json.dumps(about))
    with pytest.raises(CorpusError, match=r"a test stream has 0 tokens.*least text is de's: 0 tokens"):
        run(tokens, tmp_path / "out")


@pytest.mark.parametrize("name", ["tokens.json", "train/en.lengths.npy", "test/de.bin", "vocabulary.npy"])
def test_damaged_tokens(tokens: Path, tmp_path: Path, name: str) -> None:
    (tokens / name).write_bytes((tokens / name).read_bytes()[:-10])
    with pytest.raises(ArtifactError, match=Path(name).name) as caught:
        run(tokens, tmp_path / "out")
    assert "--force tokens" in caught.value.fix
    (tokens / name).unlink()
    with pytest.raises(ArtifactError, match=Path(name).name):
        run(tokens, tmp_path / "out")


def test_full_disk(tokens: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "train").mkdir(parents=True)
    (tmp_path / "out" / "train" / "fr.bin").symlink_to("/dev/full")
    with pytest.raises(ResourceError, match="no space left"):
        run(tokens, tmp_path / "out")


def test_cost_is_known_once_tokens_are_counted(tokens: Path) -> None:
    stage = BlocksStage(blocks=BlocksConfig(), languages=("en", "fr", "de"), seed=1)
    assert stage.cost({"tokens": None}, EXPECTED).tokens == 0
    assert stage.cost({"tokens": tokens}, EXPECTED).tokens == sum(
        sum(each) for split in LENGTHS.values() for each in split.values()
    )


def test_balance_by_bytes_and_characters(tokens: Path, tmp_path: Path) -> None:
    for unit in ("bytes", "characters"):
        spreads = []
        for by in ("tokens", unit):
            train = run(tokens, tmp_path / f"{unit}-{by}", unit=by, max_diff_percent=1)["train"]  # type: ignore[arg-type]
            amounts = [int(counts[unit]) for counts in train.values()]  # type: ignore[call-overload]
            spreads.append(1 - min(amounts) / max(amounts))
        assert spreads[1] < spreads[0]
    assert {lang: each["tokens"] for lang, each in run(tokens, tmp_path / "a")["test"].items()} == {
        lang: each["tokens"]
        for lang, each in run(tokens, tmp_path / "b", unit="bytes")["test"].items()  # type: ignore[arg-type]
    }


def test_small_languages_are_repeated_by_temperature(tokens: Path, tmp_path: Path) -> None:
    train = run(tokens, tmp_path / "out", temperature=2.0)["train"]
    largest = 3 * 502
    assert train["de"]["tokens"] == largest
    for language, own in (("en", 40 * 32), ("fr", 60 * 9)):
        wanted = largest * (own / largest) ** 0.5
        assert wanted * 0.95 <= train[language]["tokens"] <= wanted + 1  # type: ignore[operator]
    rows = np.load(tmp_path / "out" / "selected" / "train" / "fr.npy")
    assert np.bincount(rows).max() == 2
    everything = run(tokens, tmp_path / "all", temperature=1.0)["train"]
    assert [each["tokens"] for each in everything.values()] == [40 * 32, 60 * 9, largest]
