"""Pretrained models as people have them: types, parts, adapters, GGUF files; what is refused before text is read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from orchestrator.config.base import PluginSpec
from orchestrator.config.recipe import Recipe
from orchestrator.errors import ModelError, MomeError
from orchestrator.models import build_model, head, hidden_states, load_model, save_model
from orchestrator.models.vocabulary import own_vocabulary
from orchestrator.models.zoo.pretrained import Pretrained
from orchestrator.pipeline.plan import expected_of
from orchestrator.stages.base import Expected
from orchestrator.stages.teacher import TeacherStage
from tests.unit.models.own_tokenizers import byte_level, write

IDS = torch.arange(3, 19).reshape(2, 8)


def spec(folder: Path) -> PluginSpec:
    return PluginSpec.model_validate({"type": "pretrained", "name": str(folder)})


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return head(model).logits(hidden_states(model, IDS))


def test_parts_in_bf16_are_taken_in_fp32(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    folder = write("gpt2", tmp_path / "whole", family="qwen2")
    model = AutoModelForCausalLM.from_pretrained(folder).to(torch.bfloat16)
    model.save_pretrained(folder, max_shard_size="10KB")
    (folder / "model.safetensors").unlink(missing_ok=True)
    assert len(list(folder.glob("*.safetensors"))) > 2
    taken = build_model(spec(folder), own_vocabulary(spec(folder))[1], 16, 0)
    assert taken.dtype == torch.float32
    torch.testing.assert_close(logits(taken), logits(model.float()), rtol=0, atol=1e-4)


@pytest.mark.parametrize("family", ["bloom", "gemma2", "gpt_neo"])
def test_families_without_fused_attention_compute_eagerly(family: str, tmp_path: Path) -> None:
    folder = write("gpt2", tmp_path / "teacher", family=family, padding=8)
    taken = build_model(spec(folder), own_vocabulary(spec(folder))[1], 16, 0).eval()
    assert taken.config._attn_implementation == "eager"
    save_model(taken, folder, tmp_path / "saved")
    again = load_model(tmp_path / "saved")
    torch.testing.assert_close(logits(again), logits(taken), rtol=0, atol=1e-5)


def adapter(folder: Path, base: Path) -> Path:
    """A LoRA adapter of rank 2, as peft writes it."""
    folder.mkdir()
    about = {"peft_type": "LORA", "base_model_name_or_path": str(base), "r": 2, "lora_alpha": 6}
    about |= {"target_modules": ["q_proj"], "task_type": "CAUSAL_LM"}
    (folder / "adapter_config.json").write_text(json.dumps(about))
    name = "base_model.model.model.layers.{}.self_attn.q_proj.lora_{}.weight"
    weights = {}
    for layer in (0, 1):
        weights[name.format(layer, "A")] = torch.randn(2, 32, generator=torch.Generator().manual_seed(layer))
        weights[name.format(layer, "B")] = torch.randn(32, 2, generator=torch.Generator().manual_seed(9 + layer))
    save_file(weights, folder / "adapter_model.safetensors")
    return folder


def test_an_adapter_is_merged(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    base = write("llama3", tmp_path / "base", padding=8)
    folder = adapter(tmp_path / "adapter", base)
    _, size = own_vocabulary(spec(folder))  # its model's
    plain, merged = (build_model(spec(each), size, 16, 0) for each in (base, folder))
    q_proj = "model.layers.1.self_attn.q_proj.weight"
    added = load_file(folder / "adapter_model.safetensors")
    low, high = (added[f"base_model.model.model.layers.1.self_attn.q_proj.lora_{half}.weight"] for half in "AB")
    torch.testing.assert_close(merged.state_dict()[q_proj], plain.state_dict()[q_proj] + 3 * high @ low)
    assert sorted(merged.state_dict()) == sorted(plain.state_dict())


def test_an_adapter_that_lacks_weights_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    base = write("llama3", tmp_path / "base")
    folder = adapter(tmp_path / "adapter", base)
    weights = load_file(folder / "adapter_model.safetensors")
    save_file(
        {name: value for name, value in weights.items() if "lora_A" in name}, folder / "adapter_model.safetensors"
    )
    with pytest.raises(ModelError, match="adapter"):
        build_model(spec(folder), own_vocabulary(spec(folder))[1], 16, 0)


def gguf_file(path: Path, pre: str = "smollm", architecture: str = "llama", end: str = "<|endoftext|>") -> Any:
    """A tiny Llama in a GGUF file with a byte-level tokenizer; the model."""
    gguf = pytest.importorskip("gguf")
    pytest.importorskip("accelerate")
    from tests.unit.models.families import build

    description = json.loads(byte_level([end]).to_str())["model"]
    tokens = sorted(description["vocab"], key=description["vocab"].get)
    model = build("llama", vocab_size=len(tokens))
    writer = gguf.GGUFWriter(path, architecture)
    for name, value in {
        "block_count": 2, "context_length": 64, "embedding_length": 32, "feed_forward_length": 48, "head_count": 4,
        "head_count_kv": 2, "rope_dimension_count": 8, "vocab_size": len(tokens),
    }.items():  # fmt: skip
        getattr(writer, f"add_{name}")(value)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in description["merges"]])
    writer.add_token_types([3] + [1] * (len(tokens) - 1))
    writer.add_eos_token_id(0)
    writer.add_bos_token_id(0)
    names = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}
    names["lm_head.weight"] = "output.weight"
    parts = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate"}
    parts |= {"mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "self_attn.o_proj": "attn_output"}
    parts |= {"self_attn.v_proj": "attn_v", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k"}
    for layer in (0, 1):
        names |= {
            f"model.layers.{layer}.{ours}.weight": f"blk.{layer}.{theirs}.weight" for ours, theirs in parts.items()
        }
    for name, value in model.state_dict().items():
        if "q_proj" in name or "k_proj" in name:  # llama.cpp keeps the halves of each head in turns
            heads = value.shape[0] // 8
            value = value.reshape(heads, 2, 4, 32).swapaxes(1, 2).reshape(value.shape)
        writer.add_tensor(names[name], value.numpy().copy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


def test_a_gguf_file_is_read_with_its_own_pre_tokenizer(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from orchestrator.tokens.tokenizer import load_tokenizer

    model = gguf_file(tmp_path / "model.gguf")
    folder, size = own_vocabulary(spec(tmp_path / "model.gguf"))
    assert size == model.config.vocab_size
    tokens = load_tokenizer(folder).encode("río 3456", add_special_tokens=False).tokens
    assert tokens[-4:] == ["3", "4", "5", "6"]  # GPT-2's rules, which transformers takes, keep digits together
    taken = build_model(spec(tmp_path / "model.gguf"), size, 16, 0).eval()
    assert "GGUF tensors" not in capfd.readouterr().err  # transformers' bar
    torch.testing.assert_close(logits(taken), logits(model), rtol=0, atol=1e-4)
    save_model(taken, folder, tmp_path / "saved")
    torch.testing.assert_close(logits(load_model(tmp_path / "saved")), logits(taken), rtol=0, atol=0)


def test_a_gguf_file_without_gpt_2_s_end_token_has_no_token_more(tmp_path: Path) -> None:
    """As Llama 3's: transformers adds that token to every byte-level tokenizer."""
    gguf_file(tmp_path / "small.gguf", end="<|end_of_text|>")
    named = spec(tmp_path / "small.gguf")
    folder, size = own_vocabulary(named)
    assert "<|endoftext|>" not in (folder / "tokenizer.json").read_text()
    assert build_model(named, size, 16, 0).get_input_embeddings().weight.shape[0] == size


def test_a_gguf_file_that_is_not_there_is_not_asked_for_on_the_hub() -> None:
    assert Pretrained(name="NotHere.Q4_1.gguf").is_local
    assert not Pretrained(name="somebody/NotHere-GGUF").is_local


def test_gguf_files_that_are_refused(tmp_path: Path) -> None:
    gguf_file(tmp_path / "pre.gguf", pre="nobody-knows")
    with pytest.raises(ModelError, match="pre-tokenizer 'nobody-knows'"):
        own_vocabulary(spec(tmp_path / "pre.gguf"))
    (tmp_path / "bad.gguf").write_bytes(b"GGUF" + bytes(50))
    with pytest.raises(ModelError, match="is damaged"):
        own_vocabulary(spec(tmp_path / "bad.gguf"))
    gguf_file(tmp_path / "other.gguf", architecture="foobar")
    with pytest.raises(ModelError, match="architecture 'foobar'"):
        own_vocabulary(spec(tmp_path / "other.gguf"))
    with pytest.raises(ModelError, match="no such GGUF file"):
        own_vocabulary(spec(tmp_path / "nowhere.gguf"))


def test_a_gguf_file_needs_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MomeError, match=r"need gguf and accelerate[\s\S]*mome-orchestrator\[teachers\]"):
        own_vocabulary(spec(tmp_path / "model.gguf"))


def _config(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, **changes}))

    return change


def _word_pieces(folder: Path) -> None:
    description = json.loads((folder / "tokenizer.json").read_text())
    model = {"type": "WordPiece", "unk_token": "a", "continuing_subword_prefix": "##", "max_input_chars_per_word": 99}
    description["model"] = {**model, "vocab": description["model"]["vocab"]}
    description["decoder"] = {"type": "WordPiece", "prefix": "##", "cleanup": True}
    (folder / "tokenizer.json").write_text(json.dumps(description))


def _broken(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text('{"a')  # type: ignore[return-value]


def _cut_shard(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def _weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def changed(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        change(weights)
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    return changed


_UP = "model.layers.1.mlp.up_proj.weight"


def _as_integers(weights: dict[str, torch.Tensor]) -> None:
    weights[_UP] = weights[_UP].to(torch.int8)


def _shorter(weights: dict[str, torch.Tensor]) -> None:
    weights[_UP] = weights[_UP][:8].contiguous()


def _headless(folder: Path) -> None:
    _config(architectures=None)(folder)
    _weights(lambda each: each.pop("lm_head.weight"))(folder)


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), "has no tokenizer"),
    "more tokens than rows": (_config(vocab_size=290), "has 290 rows for tokens, the tokenizer 301"),
    "code": (_config(model_type="foo", auto_map={"AutoConfig": "conf.Foo"}), "code of its own, which is not run"),
    "unknown type": (_config(model_type="foo"), "of the type 'foo', which transformers"),
    "no head": (_config(architectures=["LlamaModel"]), "saved without a head"),
    "encoder and decoder": (_config(model_type="t5"), "is an encoder and a decoder"),
    "no causal model": (_config(model_type="vit"), "is no causal language model"),
    "something between": (_config(model_type="bert"), "between its last hidden states and its head"),
    "damaged weights": (_cut_shard, "is damaged"),
    "a weight that is not there": (_weights(lambda each: each.pop(_UP)), "1 missing"),
    "a weight of another shape": (_weights(_shorter), r"1 mismatched weights[\s\S]*\[8, "),
    "integers": (_weights(_as_integers), "holds integers"),
    "quantised": (_config(quantization_config={"quant_method": "gptq", "bits": 4}), "is quantised by gptq"),
    "a head of another kind": (_headless, "the first is lm_head.weight"),
    "weights of another name": (
        lambda folder: (folder / "model.safetensors").rename(folder / "consolidated.safetensors"),
        "has neither model.safetensors nor",
    ),
    "damaged tokenizer": (_broken("tokenizer.json"), "can't be read"),
    "damaged names": (_broken("tokenizer_config.json"), "can't be read as JSON"),
    "word pieces": (_word_pieces, r"this tokenizer \(WordPiece\)"),
    "an unknown activation": (_config(hidden_act="nosuch"), r"transformers can't take .*: KeyError: 'nosuch'"),
    "unknown positions": (_config(rope_parameters={"rope_type": "nosuch"}), "KeyError: 'nosuch'"),
    "heads that do not divide": (_config(num_attention_heads=3), "is not a multiple of the number of attention heads"),
    "a word for a number": (_config(num_hidden_layers="two"), "'num_hidden_layers' expected int"),
    "no heads": (_config(num_attention_heads=0), "ZeroDivisionError"),
    "a number for names": (_config(architectures=5), "TypeError"),
    "a filler that is no token": (_config(pad_token_id=99_999), "AssertionError: Padding_idx"),
    "short": (_config(max_position_embeddings=8), "8 positions, fewer than the context of 16"),
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write("gpt2", tmp_path_factory.mktemp("teacher") / "sound", padding=4)


def recipe(folder: Path, **changes: Any) -> Recipe:
    languages = {"en": {"source": "miniwiki"}}
    teacher = {"model": {"type": "pretrained", "name": str(folder)}, "train": False}
    given = {"name": "x", "corpus": {"languages": languages}, "teacher": teacher, "experts": {"model": "gpt2-nano"}}
    return Recipe.model_validate({**given, "blocks": {"context": 16}, **changes})


def planned(folder: Path) -> Expected:
    given = recipe(folder)
    expected = expected_of(given)
    TeacherStage(teacher=given.teacher, seed=0).cost({}, expected)
    return expected


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_plan_refuses(case: str, sound: Path, tmp_path: Path) -> None:
    harm, message = REFUSED[case]
    folder = Path(shutil.copytree(sound, tmp_path / "teacher"))
    assert planned(folder).vocab_size == 301
    harm(folder)
    with pytest.raises(MomeError, match=message) as caught:
        planned(folder)
    assert caught.value.exit_code == 2
    assert caught.value.fix


def _names(base: str) -> Callable[[Path], None]:
    def changed(folder: Path) -> None:
        about = json.loads((folder / "adapter_config.json").read_text())
        about["base_model_name_or_path"] = base.replace("SELF", str(folder))
        (folder / "adapter_config.json").write_text(json.dumps(about))

    return changed


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (_names("/nowhere/model"), "the model of this adapter is not there: /nowhere/model"),
        (_names("SELF"), "is itself an adapter"),
        (lambda folder: _weights_of_layers(folder, 3), "does not fit its model"),
        (lambda folder: _kind(folder, "NEW"), "knows no kind of adapter 'NEW'"),
    ],
    ids=["no model", "of itself", "another model", "unknown kind"],
)
def test_what_a_plan_refuses_of_adapters(
    harm: Callable[[Path], None], message: str, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    pytest.importorskip("peft")
    folder = adapter(tmp_path / "adapter", write("llama3", tmp_path / "base"))
    assert planned(folder).vocab_size == 304
    harm(folder)
    with pytest.raises(MomeError, match=message) as caught:
        planned(folder)
    assert caught.value.exit_code == 2
    assert caught.value.fix
    assert not recwarn.list


def _weights_of_layers(folder: Path, layer: int) -> None:
    weights = load_file(folder / "adapter_model.safetensors")
    save_file({name.replace(".1.", f".{layer}."): value for name, value in weights.items()},
              folder / "adapter_model.safetensors")  # fmt: skip


def _kind(folder: Path, kind: str) -> None:
    about = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**about, "peft_type": kind}))


def test_whose_tokenizer_a_recipe_takes(sound: Path) -> None:
    assert recipe(sound).tokenizer.of_teacher
    assert Recipe.model_validate(recipe(sound).model_dump()).tokenizer.of_teacher
    assert not recipe(sound, tokenizer={"vocab_size": 400}).tokenizer.of_teacher
    trained = {"model": {"type": "pretrained", "name": str(sound)}}
    assert not recipe(sound, teacher=trained).tokenizer.of_teacher
    assert recipe(sound, teacher=trained, tokenizer={"of_teacher": True}).tokenizer.of_teacher
    with pytest.raises(ValueError, match="not pretrained"):
        recipe(sound, teacher={"model": "gpt2-nano"}, tokenizer={"of_teacher": True})
    with pytest.raises(ValueError, match="name two tokenizers"):
        recipe(sound, tokenizer={"of_teacher": True, "path": str(sound)})
