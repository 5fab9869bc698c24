"""A model whose weights stay in their files says what it says in memory, to the last bit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from orchestrator.models import head, hidden_states, load_head, load_mapped, load_model, load_streamed
from orchestrator.models.files import weights_digest
from orchestrator.models.layers import layers_of
from orchestrator.models.mapped import own_type
from orchestrator.models.quick import quicken
from orchestrator.models.streamed import Stream, all_of
from orchestrator.models.zoo._weights import weight_files
from tests.unit.models.families import FAMILIES, VOCAB, build


def written(folder: Path, family: str, dtype: torch.dtype, **changes: Any) -> Path:
    """A tiny model as a run has it: in several files of any type, to be computed in fp32."""
    build(family, **changes).to(dtype).save_pretrained(folder, max_shard_size="20KB")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "dtype": "float32"}))
    assert len(weight_files(folder, family)) > 1
    return folder


def batches(count: int = 3) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(0, VOCAB, (2, 12), generator=generator) for _ in range(count)]


def said(model: Any, ids_BT: Tensor) -> tuple[Tensor, ...]:
    with torch.no_grad():
        states = hidden_states(model, ids_BT)
        return states, head(model).logits(states), model(input_ids=ids_BT, use_cache=False).logits


def asked(model: Any) -> list[Callable[[], tuple[Tensor, ...]]]:
    return [lambda ids=ids: said(model, ids) for ids in batches()]  # type: ignore[misc]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", FAMILIES)
def test_families(family: str, dtype: torch.dtype, tmp_path: Path) -> None:
    folder = written(tmp_path, family, dtype)
    loaded, streamed = load_model(folder), load_streamed(folder)
    assert (streamed.dtype, streamed.device) == (loaded.dtype, loaded.device)
    for model in (loaded, streamed):
        quicken(model, 12, bf16=False)
    expected = [said(loaded, ids) for ids in batches()]
    for found in (list(all_of(streamed, asked(streamed), 24)), [said(streamed, ids) for ids in batches()]):
        for ours, theirs in zip(found, expected, strict=True):
            assert all(map(torch.equal, ours, theirs))
    assert all(torch.isnan(parameter).all() for parameter in layers_of(streamed).parameters())  # none was left there


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", ["llama", "gemma2", "gemma3_text", "gpt_neox", "gpt2", "bloom"])
def test_heads_alone(family: str, tied: bool, tmp_path: Path) -> None:
    folder = written(tmp_path, family, torch.bfloat16, tie_word_embeddings=tied)
    loaded, alone, streamed = load_model(folder), load_head(folder), load_streamed(folder)
    assert alone.weight.dtype == torch.float32
    assert torch.equal(alone.weight, head(loaded).weight)
    assert torch.equal(head(streamed).weight, head(loaded).weight)
    assert all(map(torch.equal, said(streamed, batches()[0]), said(loaded, batches()[0])))
    assert (alone.scale, alone.cap) == (head(loaded).scale, head(loaded).cap)


def test_narrow_arithmetic_and_a_loop_of_passes(tmp_path: Path) -> None:
    folder = written(tmp_path, "llama", torch.bfloat16)

    def grown(model: Any, ids_BT: Tensor, steps: int) -> Tensor:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            for _ in range(steps):
                token = head(model).logits(hidden_states(model, ids_BT)[:, -1]).argmax(-1, keepdim=True)
                ids_BT = torch.cat([ids_BT, token], 1)
        return ids_BT

    def functions(model: Any) -> list[Callable[[], Tensor]]:  # some end before the others
        return [lambda n=n, ids=ids: grown(model, ids, n) for n, ids in enumerate(batches(), 1)]  # type: ignore[misc]

    loaded, streamed = load_model(folder), load_streamed(folder)
    expected = list(all_of(loaded, functions(loaded), 12))
    assert all(map(torch.equal, all_of(streamed, functions(streamed), 12), expected))
    assert not torch.is_inference_mode_enabled()


def test_a_layer_is_read_once_for_all_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_streamed(written(tmp_path, "llama", torch.float32))
    read: list[Tensor] = []
    whole = Stream._widened
    monkeypatch.setattr(Stream, "_widened", lambda self, tensor: read.append(tensor) or whole(self, tensor))

    def layers() -> int:
        read.clear()
        list(all_of(model, [lambda ids=ids: hidden_states(model, ids) for ids in batches(5)], 24))  # type: ignore[misc]
        return len(read)

    once = layers()
    monkeypatch.setattr("orchestrator.models.streamed.MOST", 2)
    assert layers() == 3 * once


def test_an_error_of_one_batch_is_told_and_the_model_goes_on(tmp_path: Path) -> None:
    folder = written(tmp_path, "llama", torch.float32)
    model, calls = load_streamed(folder), batches()

    def fails() -> Tensor:
        hidden_states(model, calls[0])
        raise ValueError("of a batch")

    with pytest.raises(ValueError, match="of a batch"):
        list(all_of(model, [*asked(model), fails], 24))
    with pytest.raises(IndexError):  # in the model's own code
        list(all_of(model, [*asked(model), lambda: said(model, calls[0] + VOCAB)], 24))
    assert all(map(torch.equal, said(model, calls[0]), said(load_model(folder), calls[0])))


def test_types_of_files(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    for name, types in {"one": ("bfloat16",), "two": ("bfloat16", "float32"), "small": ("float8_e4m3fn",)}.items():
        save_file({kind: torch.ones(2).to(getattr(torch, kind)) for kind in types}, tmp_path / f"{name}.safetensors")
    found = {path.stem: own_type([path]) for path in tmp_path.iterdir()}
    assert found == {"one": torch.bfloat16, "two": torch.float32, "small": torch.float32}


def test_weights_have_one_digest_in_whatever_type_they_lie(tmp_path: Path) -> None:
    folder = written(tmp_path, "gpt2", torch.bfloat16, tie_word_embeddings=True)
    assert weights_digest(load_mapped(folder), torch.float32) == weights_digest(load_model(folder))
