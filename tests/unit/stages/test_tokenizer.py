"""The tokenizer stage: trained on training text only, or taken as given."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.config.recipe import TokenizerConfig
from orchestrator.environment import Environment
from orchestrator.errors import ResourceError, TokenizerError
from orchestrator.stages.tokenizer import TokenizerStage
from orchestrator.tokens.tokenizer import load_tokenizer

TEXTS = {"en": ["the cat sat on the mat, the cat"] * 9, "fr": ["le chat est sur le tapis, le chat"] * 9}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    for split, extra in (("train", ""), ("validation", " zyzyzyzy zyzyzyzy"), ("test", " wvwvwvwv wvwvwvwv")):
        for language, texts in TEXTS.items():
            path = tmp_path / "corpus" / split / f"{language}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.table({"text": [text + extra for text in texts]}), path)
    return tmp_path / "corpus"


def run(corpus: Path, out: Path, **options: object) -> Path:
    out.mkdir(exist_ok=True)
    stage = TokenizerStage(tokenizer=TokenizerConfig(**options), languages=("en", "fr"), seed=3)  # type: ignore[arg-type]
    stage.run({"corpus": corpus}, out, Environment(work=out.parent / "work"))
    return out


def test_trains_on_the_training_split(corpus: Path, tmp_path: Path) -> None:
    out = run(corpus, tmp_path / "out", vocab_size=275)
    assert {path.name for path in out.iterdir()} == {
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
    }
    vocabulary = load_tokenizer(out).get_vocab()
    assert len(vocabulary) == 275
    assert not [token for token in vocabulary if "zy" in token or "wv" in token]


def test_is_the_same_for_a_seed(corpus: Path, tmp_path: Path) -> None:
    first, second = (run(corpus, tmp_path / name, vocab_size=275) for name in "ab")
    assert (first / "tokenizer.json").read_bytes() == (second / "tokenizer.json").read_bytes()


def test_too_large_a_vocabulary(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=r"fewer than the 32,000 asked for"):
        run(corpus, tmp_path / "out")


def test_takes_a_given_one(corpus: Path, tmp_path: Path) -> None:
    given = run(corpus, tmp_path / "given", vocab_size=275)
    taken = run(corpus, tmp_path / "taken", path=str(given), vocab_size=275)
    assert load_tokenizer(taken).get_vocab() == load_tokenizer(given).get_vocab()
    with pytest.raises(TokenizerError, match=r"set tokenizer.vocab_size=275"):
        run(corpus, tmp_path / "other", path=str(given), vocab_size=300)


def test_a_given_one_is_part_of_the_fingerprint(corpus: Path, tmp_path: Path) -> None:
    def external(path: Path | None) -> dict[str, str]:
        config = TokenizerConfig(vocab_size=275, path=path and str(path))
        return dict(TokenizerStage(tokenizer=config, languages=("en",), seed=3).external())

    given = run(corpus, tmp_path / "given", vocab_size=275)
    before = external(given)
    (given / "tokenizer.json").write_text("{}")
    assert external(None) == {}
    assert external(given) != before
    with pytest.raises(TokenizerError, match=r"no tokenizer\.json"):
        external(tmp_path / "nowhere")


def test_full_disk(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "tokenizer.json").symlink_to("/dev/full")
    with pytest.raises(ResourceError, match="no space left"):
        run(corpus, tmp_path / "out", vocab_size=275)
