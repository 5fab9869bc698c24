"""Two tokenizers on one text: where they meet, and which classes of next texts both can tell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.config.base import PluginSpec
from orchestrator.config.recipe import BalanceConfig, BlocksConfig
from orchestrator.environment import Environment
from orchestrator.errors import ArtifactError, ModelError, TokenizerError
from orchestrator.stages.alignment import AlignmentStage
from orchestrator.stages.blocks import BlocksStage
from orchestrator.stages.tokens import TokensStage
from orchestrator.tokens.aligned import AlignedBlocks
from orchestrator.tokens.blocks import TokenBlocks
from orchestrator.tokens.classes import Vocabulary, boundaries, class_map
from orchestrator.tokens.storage import SPLITS
from orchestrator.tokens.tokenizer import save_tokenizer, token_bytes, train_tokenizer
from tests.unit.models.own_tokenizers import KINDS, write

CONTEXT = 8
DOCUMENTS = [
    "La casa número 7 está junto al río, y la casa 8 no.",
    "日本語のテキスト, naïve café  two  spaces\n\n\tand </s> <|endoftext|> in text 🙂",
    "if x == 3: return 12345\n" * 6,
    "a",
    "La casa, la casa, la casa número 12 está.\n\tif x == 9: return",
]
EXACT = ("gpt2", "llama3", "qwen", "sentencepiece")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A corpus, a tokenizer of the run's own, and pretrained teachers."""
    root = tmp_path_factory.mktemp("aligning")
    for split in SPLITS:
        path = root / "corpus" / split / "es.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(pa.table({"text": DOCUMENTS, "id": list("abcde"), "work": [""] * 5}), path)
    save_tokenizer(train_tokenizer([DOCUMENTS * 4], 290), root / "tokenizer")
    return {"root": root} | {kind: write(kind, root / kind) for kind in KINDS}


def laid(made: dict[str, Path], kind: str, out: Path, **changes: Any) -> dict[str, Path]:
    """The artifacts of a run whose teacher has a tokenizer of a kind ("own": the run's)."""
    theirs = made["root"] / "tokenizer" if kind == "own" else made[kind]
    inputs = {"corpus": made["root"] / "corpus", "tokenizer": made["root"] / "tokenizer", "teacher-tokenizer": theirs}
    env = Environment(work=out / "work")
    teacher = PluginSpec.model_validate({"type": "pretrained", "name": str(made["gpt2" if kind == "own" else kind])})
    alignment = AlignmentStage(language="es", teacher=teacher)
    config = changes.get("blocks", BlocksConfig(context=CONTEXT))
    for name, stage, tokenizer in (
        ("tokens", TokensStage(languages=("es",)), inputs["tokenizer"]),
        ("blocks", BlocksStage(blocks=config, languages=("es",), seed=0), inputs["tokenizer"]),
        ("teacher-tokens", TokensStage(languages=("es",)), theirs),
        ("alignment-es", alignment, inputs["tokenizer"]),
    ):
        inputs[name] = out / name
        inputs[name].mkdir(parents=True)
        stage.run({**inputs, "tokenizer": tokenizer}, inputs[name], env)
    return inputs


def opened(inputs: dict[str, Path], split: str = "train") -> AlignedBlocks:
    return AlignedBlocks(inputs["blocks"], split, {"es": inputs["alignment-es"]})


@pytest.mark.parametrize("kind", EXACT)
def test_where_they_meet_both_have_read_the_same_text(kind: str, made: dict[str, Path], tmp_path: Path) -> None:
    inputs = laid(made, kind, tmp_path)
    blocks, sides = opened(inputs), [Vocabulary.open(inputs[name]) for name in ("tokenizer", "teacher-tokenizer")]
    split, stream = blocks.aligned("es"), np.fromfile(inputs["blocks"] / "train" / "es.bin", np.uint16)
    met = np.flatnonzero(split.places >= 0)
    assert len(met) > 0.6 * len(split.places)
    texts = [np.array([len(text) for text in side.texts]) for side in sides]
    ours, theirs = np.cumsum(texts[0][stream]), np.cumsum(texts[1][split.stream])
    spaces = kind == "sentencepiece"  # in front of each document
    if not spaces:
        assert (ours[met] == theirs[split.places[met]]).all()
        whole = b"".join(sides[1].texts[token] for token in split.stream)
        assert b"".join(sides[0].texts[token] for token in stream) == whole
    # What follows is of one class, but where a tokenizer writes otherwise what comes before another text.
    following = [(stream[place + 1], split.stream[split.places[place] + 1]) for place in met[:-1]]
    agreed = [blocks.alignment.student[one] == blocks.alignment.teacher[other] for one, other in following]
    assert np.mean(agreed) > 0.95
    about = json.loads((inputs["alignment-es"] / "alignment.json").read_text())
    assert about["met"] == pytest.approx(len(met) / len(split.places), abs=0.02)
    assert about["unlike_documents"] == 0


def test_the_first_token_of_a_document_and_its_end_are_met(made: dict[str, Path], tmp_path: Path) -> None:
    inputs = laid(made, "gpt2", tmp_path)
    split, stream = opened(inputs).aligned("es"), np.fromfile(inputs["blocks"] / "train" / "es.bin", np.uint16)
    stream = stream[: len(split.places)]
    assert (split.places[stream == 1] >= 0).all()  # <s>: the first token of a document follows
    assert (split.places[stream == 2] < 0).all()  # </s>: the teacher has nothing after an end
    ends = np.flatnonzero(stream == 2) - 1  # </s> follows, and <|endoftext|>
    assert (split.places[ends[ends >= 0]] >= 0).all()


def test_equal_tokenizers_meet_everywhere(made: dict[str, Path], tmp_path: Path) -> None:
    blocks = opened(laid(made, "own", tmp_path))
    places, size = blocks.aligned("es").places, blocks.vocab_size
    assert (places == np.arange(len(places))).all()
    assert (blocks.alignment.student == np.arange(size)).all()
    assert (blocks.alignment.teacher == np.arange(size)).all()


def test_windows_hold_the_text_of_their_blocks_and_all_text_once(made: dict[str, Path], tmp_path: Path) -> None:
    inputs = laid(made, "llama3", tmp_path)
    for name in SPLITS:
        blocks = opened(inputs, name)
        count, split = blocks.count("es"), blocks.aligned("es")
        rows = np.stack([np.zeros(count, np.int64), np.arange(count)], axis=1)
        windows = blocks.windows(rows)
        begins, firsts, ends = split.windows.T
        assert (firsts[1:] == ends[:-1]).all()
        assert (begins < firsts).all()
        absolute = split.places.reshape(count, CONTEXT)
        assert ((windows.places >= 0) == (absolute >= 0)).all()
        for row in range(count):
            mine = windows.places[row][windows.places[row] >= 0]
            assert (windows.ids[row][mine] == split.stream[absolute[row][absolute[row] >= 0]]).all()
            assert (mine < ends[row] - begins[row]).all()


@pytest.mark.parametrize("kind", EXACT)
def test_every_class_has_tokens_of_both_and_a_text_that_all_begin_with(kind: str, made: dict[str, Path]) -> None:
    sides = [Vocabulary.open(folder) for folder in (made["root"] / "tokenizer", made[kind])]
    classes = class_map(*sides)
    assert [len(each) for each in classes] == [len(side.texts) for side in sides]
    assert (np.unique(classes[0]) == np.unique(classes[1])).all()
    for number in range(classes[0].max() + 1):
        texts = [
            side.texts[token]
            for side, own in zip(sides, classes, strict=True)
            for token in np.flatnonzero(own == number)
        ]
        root = min(texts, key=len)
        assert all(text.startswith(root) for text in texts)
        assert not root or all(root in side.known for side in sides)
    roles = boundaries(sides[0].special, sides[1].special)
    for ours, theirs in roles.values():
        assert classes[0][ours] == classes[1][theirs]


def test_a_token_goes_to_what_the_other_tokenizer_begins_its_text_with(made: dict[str, Path]) -> None:
    student, teacher = (Vocabulary.open(folder) for folder in (made["root"] / "tokenizer", made["gpt2"]))
    classes = class_map(student, teacher)
    longer = next(text for text in student.texts if len(text) > 3 and text not in teacher.known)
    begin = teacher.first([longer])[0]
    assert longer.startswith(begin)
    while begin not in student.known:
        begin = student.first([begin])[0]
    ours, theirs = token_bytes(student.tokenizer).index(longer), teacher.texts.index(begin)
    assert classes[0][ours] == classes[1][theirs]


def test_a_text_that_is_no_whole_character_begins_with_its_longest_token(made: dict[str, Path]) -> None:
    vocabulary = Vocabulary.open(made["gpt2"])
    assert vocabulary.first(["日".encode()[:2], "í".encode()[1:]]) == ["日".encode()[:1], "í".encode()[1:]]


def test_a_teacher_with_too_few_positions_is_refused(made: dict[str, Path], tmp_path: Path) -> None:
    from orchestrator.stages import alignment

    stage = AlignmentStage(
        language="es", teacher=PluginSpec.model_validate({"type": "pretrained", "name": str(made["gpt2"])})
    )
    inputs = laid(made, "gpt2", tmp_path)
    with pytest.raises(ModelError, match=r"a block of 8 tokens in es takes 999 .*positions") as error:
        stage._check_positions(999, len(opened(inputs).alignment.teacher), inputs["blocks"])
    assert "blocks.context to 4" in error.value.fix
    with pytest.raises(TokenizerError, match="does not keep text as it is"):
        alignment.check_keeps_text(Vocabulary.open(made["unigram"]))


def test_damage_is_said(made: dict[str, Path], tmp_path: Path) -> None:
    inputs = laid(made, "gpt2", tmp_path)
    assert isinstance(TokenBlocks.open(inputs["blocks"], "train"), TokenBlocks)
    np.save(inputs["alignment-es"] / "train.windows.npy", np.zeros((3, 3), np.int64))
    with pytest.raises(ArtifactError, match="other blocks"):
        opened(inputs)
    (inputs["alignment-es"] / "test.bin").unlink()
    with pytest.raises(ArtifactError, match="missing"):
        opened(inputs, "test")


@pytest.mark.parametrize("kind", EXACT)
def test_nodes_are_texts_that_the_teachers_tokens_reach_beyond(
    kind: str, made: dict[str, Path], tmp_path: Path
) -> None:
    blocks = opened(laid(made, kind, tmp_path))
    sides = [Vocabulary.open(folder) for folder in (made["root"] / "tokenizer", made[kind])]
    split, ways = blocks.aligned("es"), blocks.alignment.ways
    stream = np.fromfile(blocks.folder / "train" / "es.bin", np.uint16)
    noded = np.flatnonzero(split.nodes >= 0)
    since = 0
    for place in noded:
        before = max(each for each in range(place) if split.places[each] >= 0)
        text = b"".join(sides[0].texts[token] for token in stream[before + 1 : place + 1])
        node = split.nodes[place]
        for way in range(ways.starts[node], ways.starts[node + 1]):
            longer = sides[1].texts[ways.tokens[way]]
            assert longer.startswith(text)
            assert len(longer) > len(text)
        if ways.own[node] >= 0:
            assert sides[1].texts[ways.own[node]] == text
        if split.places[place] >= 0:
            assert split.stream[split.places[place]] == ways.own[node]
        else:  # inside of a token of the teacher's, which is one of the ways
            inside = split.stream[split.places[before] + 1]
            assert inside in ways.tokens[ways.starts[node] : ways.starts[node + 1]]
            since += 1
    assert kind == "sentencepiece" or since  # its few tokens are short


def test_a_tokenizer_of_its_own_has_no_nodes(made: dict[str, Path], tmp_path: Path) -> None:
    alignment = opened(laid(made, "own", tmp_path)).alignment
    assert not len(alignment.ways.own)


@pytest.mark.parametrize("kind", ["gpt2", "llama3", "sentencepiece"])
def test_a_document_that_is_cut_to_balance_is_cut_for_the_teacher(
    kind: str, made: dict[str, Path], tmp_path: Path
) -> None:
    balance = BalanceConfig(tokens_per_language=60, max_diff_percent=1)
    inputs = laid(made, kind, tmp_path, blocks=BlocksConfig(context=CONTEXT, balance=balance))
    cut = json.loads((inputs["blocks"] / "blocks.json").read_text())["splits"]["train"]["es"]["cut"]
    assert cut["kept"] < cut["tokens"]
    blocks, sides = opened(inputs), [Vocabulary.open(inputs[name]) for name in ("tokenizer", "teacher-tokenizer")]
    split, stream = blocks.aligned("es"), np.fromfile(inputs["blocks"] / "train" / "es.bin", np.uint16)
    ours, theirs = (
        b"".join(side.texts[token] for token in ids) for side, ids in zip(sides, (stream, split.stream), strict=True)
    )
    if kind != "sentencepiece":  # which writes spaces in front
        assert ours.startswith(theirs)
    assert 0 <= len(ours) - len(theirs) <= 12 or kind == "sentencepiece"
    assert split.widest < 80


@pytest.mark.parametrize("kind", EXACT)
def test_what_cant_follow_would_have_been_a_longer_token(kind: str, made: dict[str, Path], tmp_path: Path) -> None:
    blocks = opened(laid(made, kind, tmp_path))
    sides = [Vocabulary.open(folder) for folder in (made["root"] / "tokenizer", made[kind])]
    split, barred = blocks.aligned("es"), blocks.alignment.barred
    stream = np.fromfile(blocks.folder / "train" / "es.bin", np.uint16)
    places, found = np.flatnonzero(split.barred >= 0), 0
    for place in places:
        assert split.places[place] >= 0
        text, node = sides[0].texts[stream[place]], split.barred[place]
        for token in barred.tokens[barred.starts[node] : barred.starts[node + 1]]:
            assert text + sides[1].texts[token] in sides[0].known
            found += 1
        following = split.stream[split.places[place] + 1] if place + 1 < len(split.places) else -1
        assert following not in barred.tokens[barred.starts[node] : barred.starts[node + 1]]
    assert found
