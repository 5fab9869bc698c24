"""Teachers some of whose ids, between others, have no token: a run has no such ids, and its models no such rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from orchestrator.config.base import PluginSpec
from orchestrator.config.recipe import TokenizerConfig
from orchestrator.environment import Environment
from orchestrator.errors import TokenizerError
from orchestrator.models import build_model, head, hidden_states
from orchestrator.models.vocabulary import check_vocabulary, own_vocabulary
from orchestrator.stages.tokenizer import TokenizerStage
from orchestrator.tokens.closing import has_gaps, held_ids
from orchestrator.tokens.tokenizer import FILES, load_tokenizer, token_bytes
from tests.unit.models.families import build
from tests.unit.models.own_tokenizers import END, byte_level

FROM, GAP, PADDING = 280, 3, 5
TEXT = "La casa número 7 está junto al río.\n\treturn"


def gapped(folder: Path, family: str = "llama", **changes: Any) -> Any:
    """A teacher's folder: ids from 280 on are three higher, and five rows come after the last; the model."""
    described = json.loads(byte_level([END]).to_str())
    vocab = described["model"]["vocab"]
    described["model"]["vocab"] = {token: index + GAP * (index >= FROM) for token, index in vocab.items()}
    model = build(family, vocab_size=len(vocab) + GAP + PADDING, **changes)
    model.save_pretrained(folder)
    (folder / FILES[0]).write_text(json.dumps(described))
    (folder / FILES[1]).write_text(json.dumps({"eos_token": END, "tokenizer_class": "PreTrainedTokenizerFast"}))
    return model


def spec(folder: Path) -> PluginSpec:
    return PluginSpec.model_validate({"type": "pretrained", "name": str(folder)})


def run_stage(folder: Path, **options: Any) -> Path:
    out, work = folder.parent / "tokenizer", folder.parent / "work"
    out.mkdir()
    work.mkdir()
    stage = TokenizerStage(languages=("es",), seed=0, **options)
    stage.run({}, out, Environment(work=work))
    assert stage.external()["gaps"] == "closed"
    return out


def test_a_run_numbers_the_tokens_without_gaps(tmp_path: Path) -> None:
    gapped(tmp_path / "teacher")
    config = TokenizerConfig(of_teacher=True)
    out = run_stage(tmp_path / "teacher", tokenizer=config, teacher=spec(tmp_path / "teacher"))
    held, ours, theirs = held_ids(tmp_path / "teacher"), *map(load_tokenizer, (out, tmp_path / "teacher"))
    assert not set(range(FROM, FROM + GAP)) & set(held.tolist())
    assert not has_gaps(out)
    assert held[ours.encode(TEXT).ids].tolist() == theirs.encode(TEXT).ids
    assert max(ours.encode(TEXT).ids) >= FROM
    assert ours.decode(ours.encode(TEXT).ids) == TEXT
    assert token_bytes(ours) == [token_bytes(theirs)[index] for index in held]
    assert json.loads((out / "about.json").read_text())["vocab_size"] == len(held) == ours.get_vocab_size()
    assert check_vocabulary(spec(tmp_path / "teacher"), out)


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("llama", {}),
        ("llama", {"tie_word_embeddings": True}),
        ("phi", {}),
        ("gpt2", {}),
        ("gemma2", {"pad_token_id": 285}),
    ],
)
@torch.no_grad()
def test_a_teacher_has_the_rows_of_tokens_alone(tmp_path: Path, family: str, changes: dict[str, Any]) -> None:
    """So no id without a token has probability, in losses, caches, sampling and exports, which all begin with it."""
    model = gapped(tmp_path / "teacher", family, **changes)
    folder, size = own_vocabulary(spec(tmp_path / "teacher"))
    held = held_ids(folder)
    taken = build_model(spec(tmp_path / "teacher"), size, 16, 0).eval()
    ids = torch.tensor([[5, 250, 279, 280, 290]])
    ours = head(taken).logits(hidden_states(taken, ids))
    theirs = model(input_ids=torch.tensor(held)[ids]).logits[..., held]
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    assert taken.config.vocab_size == len(held) == size
    assert build_model(spec(tmp_path / "teacher"), size, 16, 0, "meta").get_input_embeddings().weight.shape[0] == size


def test_a_given_tokenizer_loses_its_gaps_too(tmp_path: Path) -> None:
    gapped(tmp_path / "given")
    size = len(held_ids(tmp_path / "given"))
    config = {"path": str(tmp_path / "given"), "vocab_size": size}
    out = run_stage(tmp_path / "given", tokenizer=TokenizerConfig.model_validate(config))
    assert sorted(load_tokenizer(out).get_vocab().values()) == list(range(size))


def test_an_added_token_that_is_read_over_another_is_refused(tmp_path: Path) -> None:
    """The package tokenizers numbers what is not in `model.vocab` by how many tokens there are, not by the file."""
    gapped(tmp_path / "teacher")
    file = tmp_path / "teacher" / FILES[0]
    described = json.loads(file.read_text())
    entry = {"id": 310, "content": "<tool>", "special": True}
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    described["added_tokens"].append({**entry, **flags})
    file.write_text(json.dumps(described))
    with pytest.raises(
        TokenizerError, match=r"the file has '<tool>' as 310, and the package tokenizers reads it as 300"
    ):
        own_vocabulary(spec(tmp_path / "teacher"))


def test_tokenizers_without_gaps_are_left_alone(tmp_path: Path) -> None:
    byte_level([END]).save(str(tmp_path / FILES[0]))
    assert not has_gaps(tmp_path)
    np.testing.assert_array_equal(held_ids(tmp_path), np.arange(300))
