"""A teacher's own tokenizer, from its files to packed blocks: roles of special tokens, and bytes of text."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.config.base import PluginSpec
from orchestrator.config.recipe import BlocksConfig, TeacherConfig, TokenizerConfig
from orchestrator.environment import Environment
from orchestrator.evaluation.evaluated import block_bytes
from orchestrator.models import build_model, load_model
from orchestrator.stages.blocks import BlocksStage
from orchestrator.stages.teacher import TeacherStage
from orchestrator.stages.tokenizer import TokenizerStage
from orchestrator.stages.tokens import TokensStage
from orchestrator.tokens.blocks import TokenBlocks
from orchestrator.tokens.losing import lost_text
from orchestrator.tokens.special import SpecialTokens, special_tokens
from orchestrator.tokens.tokenizer import byte_lengths, load_tokenizer, token_bytes
from serve.text import Detokenizer, Tokenizer
from tests.unit.models.own_tokenizers import END, KINDS, write

DOCUMENTS = ["La casa, la río café 3.", "e\u0301xtra  ﬁn </s> <tool> 日本", "if x == 1:\n\treturn", " a space first"]
CONTEXT = 8


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def taken(teacher: Path, out: Path) -> str:
    """Make the tokenizer's artifact of a teacher; what the stage says."""
    said: list[str] = []
    spec = PluginSpec.model_validate({"type": "pretrained", "name": str(teacher)})
    (out.parent / "work").mkdir()
    out.mkdir()
    stage = TokenizerStage(
        tokenizer=TokenizerConfig(of_teacher=True), teacher=spec,
        languages=("es",), seed=0,
    )  # fmt: skip
    stage.run({}, out, Environment(work=out.parent / "work", tell=said.append))
    assert stage.external()
    return "\n".join(said)


def packed(tokenizer: Path, folder: Path) -> dict[str, Path]:
    inputs = {
        "corpus": folder / "corpus",
        "tokenizer": tokenizer,
        "tokens": folder / "tokens",
        "blocks": folder / "blocks",
    }
    for split in ("train", "validation", "test"):
        path = inputs["corpus"] / split / "es.parquet"
        path.parent.mkdir(parents=True)
        rows = {"text": DOCUMENTS, "id": list("abcd"), "work": [""] * 4}
        pq.write_table(pa.table(rows), path)
    env = Environment(work=folder / "work")
    for name, stage in (
        ("tokens", TokensStage(languages=("es",))),
        ("blocks", BlocksStage(blocks=BlocksConfig(context=CONTEXT), languages=("es",), seed=0)),
    ):
        inputs[name].mkdir()
        stage.run(inputs, inputs[name], env)
    return inputs


def test_roles(tmp_path: Path) -> None:
    roles: dict[str, SpecialTokens] = {}
    ids: dict[str, dict[str, int]] = {}
    for kind in KINDS:
        folder = write(kind, tmp_path / kind)
        tokenizer = load_tokenizer(folder)
        roles[kind], ids[kind] = special_tokens(folder, tokenizer), tokenizer.get_vocab(with_added_tokens=True)
    end = ids["gpt2"][END]
    assert roles["gpt2"] == SpecialTokens(end, (end,), None, (end,), ())
    begin, last, turn = (ids["llama3"][name] for name in ("<|begin|>", "<|end|>", "<|eot|>"))
    assert roles["llama3"] == SpecialTokens(begin, (last, turn), None, (begin,), (last,))
    end, turn = ids["qwen"][END], ids["qwen"]["<|im_end|>"]
    assert roles["qwen"] == SpecialTokens(None, (end, turn), None, (end,), ())
    assert roles["sentencepiece"] == SpecialTokens(1, (2,), 0, (1,), (2,))
    assert roles["unigram"] == SpecialTokens(0, (1,), 2, (1,), ())


def test_files_are_kept_and_what_is_lost_is_said(kind: str, tmp_path: Path) -> None:
    teacher = write(kind, tmp_path / "teacher")
    said = taken(teacher, tmp_path / "tokenizer")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "tokenizer" / name).read_bytes() == (teacher / name).read_bytes()
    assert (tmp_path / "tokenizer" / "chat_template.jinja").exists() == (kind == "llama3")
    about = json.loads((tmp_path / "tokenizer" / "about.json").read_text())
    tokenizer = load_tokenizer(tmp_path / "tokenizer")
    assert about["changes"] == list(lost_text(tokenizer))
    assert ("changes text" in said) == bool(about["changes"])
    changed = {
        "qwen": {"decomposed accents"},
        "unigram": {"ligatures and wide forms", "several spaces", "rare scripts"},
    }
    assert changed.get(kind, set()) <= set(about["changes"])
    if kind in ("gpt2", "llama3", "sentencepiece"):
        assert about["changes"] == []


def test_documents_are_packed_as_the_model_was_trained(kind: str, tmp_path: Path) -> None:
    taken(write(kind, tmp_path / "teacher"), tmp_path / "tokenizer")
    inputs = packed(tmp_path / "tokenizer", tmp_path)
    tokenizer = load_tokenizer(tmp_path / "tokenizer")
    special = special_tokens(tmp_path / "tokenizer", tokenizer)
    stream = np.fromfile(inputs["blocks"] / "train" / "es.bin", np.uint16)
    rows = np.load(inputs["blocks"] / "selected" / "train" / "es.npy")
    expected: list[int] = []
    for row in rows:
        expected += [*special.begin, *tokenizer.encode(DOCUMENTS[row], add_special_tokens=False).ids, *special.end]
    assert stream.tolist() == expected
    counts = json.loads((inputs["blocks"] / "blocks.json").read_text())["splits"]["train"]["es"]
    assert counts["tokens"] == len(expected)
    assert counts["documents"] == len(DOCUMENTS)


@pytest.mark.parametrize("kind", ["gpt2", "llama3", "qwen", "sentencepiece"])
def test_bytes_are_those_of_the_text(kind: str, tmp_path: Path) -> None:
    taken(write(kind, tmp_path / "teacher"), tmp_path / "tokenizer")
    inputs = packed(tmp_path / "tokenizer", tmp_path)
    size = sum(len(text.encode()) for text in DOCUMENTS)
    counts = json.loads((inputs["blocks"] / "blocks.json").read_text())["splits"]["train"]["es"]
    assert counts["bytes"] == size
    assert ("text_share" in counts) == (kind == "qwen")  # it composes accents: tokens stand for fewer bytes
    blocks, lengths = TokenBlocks.open(inputs["blocks"], "train"), byte_lengths(load_tokenizer(tmp_path / "tokenizer"))
    assert abs(int(block_bytes(blocks, "es", blocks.count("es"), lengths).sum()) - size) < 12  # the end is no block


def test_text_comes_back_from_the_engines_decoder(kind: str, tmp_path: Path) -> None:
    tokenizer = Tokenizer(write(kind, tmp_path / "teacher"))
    for text in ("La casa está junto al río 3.", "if x == 1: return", "</s> <|endoftext|> <s>"):
        if kind == "unigram" and "<" in text:
            continue  # its vocabulary has no such characters
        ids = tokenizer.encode_prompt(text)
        decoder = Detokenizer(tokenizer.bytes)
        spoken = "".join(decoder.push(token) for token in ids)
        assert spoken.removeprefix(" ") == text
        assert not tokenizer.ends & set(ids[len(tokenizer.special.begin) :])


def test_a_padded_teacher_is_taken_without_its_padding(kind: str, tmp_path: Path) -> None:
    folder = write(kind, tmp_path / "teacher", padding=40, max_shard_size="30KB")
    taken(folder, tmp_path / "tokenizer")
    inputs = packed(tmp_path / "tokenizer", tmp_path)
    spec = PluginSpec.model_validate({"type": "pretrained", "name": str(folder)})
    stage = TeacherStage(teacher=TeacherConfig(model=spec, train=False), seed=0)
    (tmp_path / "out").mkdir()
    stage.run(inputs, tmp_path / "out", Environment(work=tmp_path / "work"))
    model = load_model(tmp_path / "out" / "model")
    size = len(token_bytes(load_tokenizer(folder)))
    assert model.config.vocab_size == model.get_output_embeddings().weight.shape[0] == size
    special = special_tokens(tmp_path / "out" / "model", load_tokenizer(tmp_path / "out" / "model"))
    assert special == special_tokens(folder, load_tokenizer(folder))
    with pytest.raises(Exception, match="rows for tokens"):
        build_model(spec, size + 41, CONTEXT, 0)
