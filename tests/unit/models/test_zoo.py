"""Sizes of the named models, and what the zoo refuses."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch
from huggingface_hub import _CACHED_NO_EXIST

from orchestrator.config.base import PluginSpec
from orchestrator.errors import ModelError, PluginError, ResourceError
from orchestrator.models import build_model, parameter_count, save_model
from orchestrator.models.zoo import _fetching
from orchestrator.models.zoo._families import cut_rows
from orchestrator.models.zoo.pretrained import Pretrained
from orchestrator.tokens.tokenizer import save_tokenizer, train_tokenizer


def spec(name: str, /, **options: object) -> PluginSpec:
    return PluginSpec.model_validate({"type": name, **options})


# Paper, Table 2 and figure 2. Distil-GPT2's 82M is with GPT-2's own vocabulary, as Phi-1.5's 1.42B would be.
@pytest.mark.parametrize(
    ("name", "vocab", "millions", "tolerance"),
    [
        ("gpt2-medium", 32_000, 340, 0.02),
        ("gpt2-small", 32_000, 110, 0.01),
        ("distil-gpt2", 50_257, 82, 0.01),
        ("distil-gpt2", 32_000, 67.9, 0.01),
        ("moe-student", 32_000, 46.6, 0.01),
        ("mistral-440m", 32_000, 440, 0.01),
        ("mistral-1-6b", 32_000, 1600, 0.01),
        ("phi-1-34b", 32_000, 1340, 0.01),
    ],
)
def test_parameters_of_the_papers_models(name: str, vocab: int, millions: float, tolerance: float) -> None:
    assert parameter_count(spec(name), vocab, 1024) == pytest.approx(millions * 1e6, rel=tolerance)


def test_parameters_of_the_tiny_models() -> None:
    assert parameter_count(spec("gpt2-tiny-teacher"), 4096, 128) == pytest.approx(2.6e6, rel=0.02)
    assert parameter_count(spec("gpt2-tiny-expert"), 4096, 128) == pytest.approx(0.94e6, rel=0.02)
    assert parameter_count(spec("gpt2-nano"), 512, 64) <= 100_000


def test_unknown_model_names_the_nearest() -> None:
    with pytest.raises(PluginError, match="gpt2-medium"):
        build_model(spec("gpt2-medum"), 64, 16, 0)


@pytest.mark.parametrize("name", ["gpt2", "mistral", "phi"])
def test_heads_must_divide_the_width(name: str) -> None:
    with pytest.raises(PluginError, match="5 heads don't divide a width of 64; 4 would"):
        build_model(spec(name, width=64, heads=5), 64, 16, 0)


def test_key_value_heads_must_divide_the_heads() -> None:
    with pytest.raises(PluginError, match="3 key-value heads don't divide 4"):
        build_model(spec("mistral", width=64, heads=4, kv_heads=3), 64, 16, 0)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "lama"}, "no model type 'lama'"),
        ({"model_type": "llama", "hiden_size": 8}, 'no option .hiden_size.[\\s\\S]*"hidden_size"'),
        ({"model_type": "t5"}, "causal"),
    ],
)
def test_transformers_configuration_that_does_not_fit(config: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        build_model(spec("transformers", config=config), 64, 16, 0)


def test_transformers_needs_a_model_type() -> None:
    with pytest.raises(PluginError, match="model_type"):
        build_model(spec("transformers"), 64, 16, 0)


def test_logits_that_are_not_the_head_are_refused() -> None:
    config = {
        "model_type": "bert",
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    with pytest.raises(ModelError, match="its head applied to its last hidden states"):
        build_model(spec("transformers", config=config), 64, 16, 0)


# ---------------------------------------------------------------- pretrained


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tokenizer = tmp_path / "tokenizer"
    tokenizer.mkdir()
    (tokenizer / "tokenizer.json").write_text("{}")
    save_model(build_model(spec("gpt2-nano"), 64, 16, 3), tokenizer, tmp_path / "teacher")
    return tmp_path / "teacher"


def test_pretrained_folder(folder: Path) -> None:
    pretrained = spec("pretrained", name=str(folder))
    assert parameter_count(pretrained, 64, 16) == parameter_count(spec("gpt2-nano"), 64, 16)
    assert build_model(pretrained, 64, 8, 0).config.n_positions == 16


def test_pretrained_with_another_vocabulary(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"64 rows for tokens, the tokenizer 65[\s\S]*train one: teacher.model"):
        build_model(spec("pretrained", name=str(folder)), 65, 16, 0)


def test_context_longer_than_the_positions(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"16 positions, fewer than the context of 32[\s\S]*blocks.context=16"):
        build_model(spec("pretrained", name=str(folder)), 64, 32, 0)


def test_pretrained_folder_that_is_not_there(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"did you mean .*teacher"):
        build_model(spec("pretrained", name=str(folder.parent / "techer")), 64, 16, 0)
    with pytest.raises(ModelError, match=r"did you mean .*/teacher"):
        build_model(spec("pretrained", name=str(folder.parent)), 64, 16, 0)


def test_rows_beyond_the_tokenizer(folder: Path, tmp_path: Path) -> None:
    tokenizer = train_tokenizer(["a few words of text"] * 9, 260)
    save_tokenizer(tokenizer, folder)
    with pytest.raises(ModelError, match=r"260 tokens for 64 rows[\s\S]*resize_token_embeddings"):
        build_model(spec("pretrained", name=str(folder)), 65, 16, 0)


@pytest.mark.parametrize(("content", "what"), [(None, "has no weights"), (b"{}", "is damaged")])
def test_weights_are_looked_at_in_the_plan(folder: Path, content: bytes | None, what: str) -> None:
    (folder / "model.safetensors").unlink()
    if content is not None:
        (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match=what) as error:
        parameter_count(spec("pretrained", name=str(folder)), 64, 16)
    assert error.value.where.startswith(str(folder))


def test_a_missing_part_of_the_weights(folder: Path) -> None:
    index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match=r"is missing[\s\S]*model-2.safetensors"):
        parameter_count(spec("pretrained", name=str(folder)), 64, 16)


def test_pretrained_folder_with_damaged_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ModelError, match="header"):
        build_model(spec("pretrained", name=str(folder)), 64, 16, 0)


ADAPTER = '{"peft_type": "LORA", "base_model_name_or_path": "some/base"}'


def test_an_adapter_beside_weights_is_not_left_out(folder: Path) -> None:
    (folder / "adapter_config.json").write_text(ADAPTER)
    (folder / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(
        ModelError, match=r"an adapter beside its weights[\s\S]*a folder of its own[\s\S]*remove adapter_"
    ):
        parameter_count(spec("pretrained", name=str(folder)), 64, 16)


@pytest.mark.parametrize("with_config", [False, True])
def test_an_adapter_needs_peft(folder: Path, with_config: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (folder / "adapter_config.json").write_text(ADAPTER)
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    if not with_config:
        (folder / "config.json").unlink()
    with pytest.raises(ResourceError, match=r"adapter of some/base needs peft[\s\S]*mome-orchestrator\[teachers\]"):
        parameter_count(spec("pretrained", name=str(folder)), 64, 16)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "model.pt"])
def test_pickles_are_not_loaded(folder: Path, name: str) -> None:
    (folder / "model.safetensors").rename(folder / name)
    with pytest.raises(ModelError, match=rf"pickles \({name}\)[\s\S]*safetensors"):
        parameter_count(spec("pretrained", name=str(folder)), 64, 16)


def test_pickles_beside_safetensors_are_not_looked_at(folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"no pickle")
    assert build_model(spec("pretrained", name=str(folder)), 64, 16, 0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers_are_named(folder: Path, value: float) -> None:
    model = build_model(spec("gpt2-nano"), 64, 16, 3)
    with torch.no_grad():
        model.transformer.h[1].mlp.c_proj.weight[0, :2] = value
    save_model(model, folder, folder.parent / "bad")
    with pytest.raises(ModelError, match=r"2 of the 4,096 numbers in transformer\.h\.1\.mlp\.c_proj\.weight"):
        build_model(spec("pretrained", name=str(folder.parent / "bad")), 64, 16, 0)


def test_only_pickles_on_the_hub(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    def refuse(*_: object, **__: object) -> None:
        raise OSError("some-org/model does not appear to have a file named model.safetensors.")

    config = AutoConfig.from_pretrained(folder)
    monkeypatch.setattr(AutoConfig, "from_pretrained", lambda *_, **__: config)
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", refuse)
    monkeypatch.setattr("orchestrator.models.zoo.pretrained.Pretrained.file", lambda self, name: None)
    with pytest.raises(ModelError, match=r"model.safetensors[\s\S]*pickles \(.bin\), which can run code"):
        build_model(spec("pretrained", name="some-org/model"), 64, 16, 0)


def test_an_adapter_on_the_hub(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(ADAPTER)
    monkeypatch.setattr("transformers.AutoConfig.from_pretrained", lambda *_, **__: None)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda repo, name, revision: str(tmp_path / name))
    with pytest.raises(ModelError, match="some-org/model holds an adapter beside its weights"):
        parameter_count(spec("pretrained", name="some-org/model"), 64, 16)


def test_a_hub_that_does_not_answer_is_told_while_it_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_fetching, "_PATIENCE_SECONDS", 0.0)
    said = ""
    with _fetching.asking("some-org/slow"):
        for _ in range(100):
            said += capfd.readouterr().err  # it may be read while it is written
            if said.endswith("\n"):
                break
            time.sleep(0.05)
    assert "waiting for the model hub's answer on some-org/slow" in said
    assert "HF_HUB_OFFLINE=1" in said


def test_no_hub_reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ResourceError, match=r"hub can't be reached for distilgpt2[\s\S]*folder"):
        build_model(spec("pretrained", name="distilgpt2"), 64, 16, 0)


def test_a_hub_that_does_not_answer_is_not_one_that_lacks_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.errors import LocalEntryNotFoundError

    asked: list[str] = []

    def unreachable(repo: str, name: str, revision: str | None) -> str:
        asked.append(name)
        raise LocalEntryNotFoundError("cannot find the requested files in the local cache")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", unreachable)
    model = Pretrained(name="some-org/model")
    with pytest.raises(ResourceError, match="hub can't be reached for some-org/model"):
        model.tokenizer_file()
    assert asked == ["tokenizer.json"]  # and not every other file, each for half a minute
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_, **__: _CACHED_NO_EXIST)
    assert model.file("generation_config.json") is None  # the hub has said so before
    monkeypatch.undo()
    monkeypatch.setattr("huggingface_hub.hf_hub_download", unreachable)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert model.file("generation_config.json") is None


@pytest.mark.parametrize("name", ["min lärarre", "models/of/mine", "mine/"])
def test_a_folder_that_is_not_there_is_no_name_of_the_hub(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "min lärare").mkdir()
    (tmp_path / "min lärare" / "config.json").touch()
    monkeypatch.chdir(tmp_path)
    hint = "did you mean .*min lärare" if name.startswith("min l") else "give a folder"
    for ask in (lambda m: m.tokenizer_file(), lambda m: m.configuration(64, 16)):
        with pytest.raises(ModelError, match=rf"there is no folder '{name}' in [\s\S]*{hint}"):
            ask(Pretrained(name=name))


def test_rows_are_cut_of_a_model_that_sees_images_too() -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**sizes, "num_key_value_heads": 1, "head_dim": 16, "vocab_size": 72, "pad_token_id": 70}
    image = {**sizes, "image_size": 28, "patch_size": 14}
    tokens = {"boi_token_index": 60, "eoi_token_index": 61, "image_token_index": 62, "mm_tokens_per_image": 4}
    config = AutoConfig.for_model("gemma3", text_config=text, vision_config=image, **tokens)
    model = cut_rows(AutoModelForCausalLM.from_config(config), 64)
    assert model.get_input_embeddings().weight.shape[0] == 64
    assert model.config.text_config.pad_token_id is None
