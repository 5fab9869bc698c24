"""Laws of every setup of a mixture: sequences don't see each other, files give the same model, parts are apart."""

from __future__ import annotations

import json
import pickle
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from orchestrator import plugins
from orchestrator.config.base import PluginSpec
from orchestrator.errors import ArtifactError, ModelError
from orchestrator.models import build_model
from orchestrator.models.inference import Inference, routed_logits
from orchestrator.models.mixture import Mixture
from orchestrator.models.mixture_files import load_mixture, save_mixture

LANGUAGES = ("en", "fr", "de", "py")
VOCABULARY, CONTEXT = 70, 12
ARCHITECTURES = {
    "gpt2": PluginSpec(type="gpt2", layers=2, width=16, heads=2),
    "mistral": PluginSpec(type="mistral", layers=1, width=16, heads=2, kv_heads=1),
}
ROOM, OPTIONS = "models.setups", {}
SETUPS = {
    **{name: PluginSpec(type=name) for name in plugins.available("models.setups")},
    "moe_ce with a gate": PluginSpec(type="moe_ce", combiner="gate"),
}
NAMES = tuple(SETUPS)


def setup_of(spec: PluginSpec) -> Any:
    return plugins.create("models.setups", spec.type, spec.options)


def build(spec: PluginSpec, architecture: str = "gpt2", languages: tuple[str, ...] = LANGUAGES) -> Mixture:
    """A mixture of random weights, everything in it different."""
    setup = setup_of(spec)

    def model(seed: int) -> nn.Module:
        return build_model(ARCHITECTURES[architecture], VOCABULARY, CONTEXT, seed)

    mixture = setup.assemble(
        {language: model(seed) for seed, language in enumerate(languages)}, model(99) if setup.has_common else None
    )
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in mixture.parameters():  # norms, biases and gates away from 0 and 1, predictions away from even
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    return mixture.eval()


@pytest.fixture
def spec(name: str) -> PluginSpec:
    return SETUPS.get(name) or PluginSpec(type=name, **OPTIONS.get(name, {}))


BUILT: dict[tuple[str, str], Mixture] = {}


@pytest.fixture(params=ARCHITECTURES)
def mixture(request: pytest.FixtureRequest, name: str, spec: PluginSpec) -> Mixture:
    """Built once, and a copy for each test."""
    if (name, request.param) not in BUILT:
        BUILT[name, request.param] = build(spec, request.param)
    return deepcopy(BUILT[name, request.param])


@pytest.fixture
def ids() -> torch.Tensor:
    return torch.randint(0, VOCABULARY, (9, CONTEXT), generator=torch.Generator().manual_seed(1))


@pytest.fixture
def probabilities() -> np.ndarray:
    return np.random.default_rng(2).dirichlet(np.full(len(LANGUAGES), 0.5), size=9)


def weights(probabilities: np.ndarray, mixture: Mixture, **options: Any) -> torch.Tensor:
    found = Inference(**options).weights(probabilities, mixture.languages, mixture.common is not None)
    return torch.from_numpy(found).float()


USES: tuple[dict[str, Any], ...] = (
    {},
    {"mode": "soft"},
    {"mode": "average"},
    {"experts": ("fr", "py")},
    {"experts": ("de",), "mode": "soft"},
)


@torch.inference_mode()
@pytest.mark.parametrize("options", USES, ids=str)
def test_a_mixed_batch_is_each_sequence_alone_in_any_order(mixture, ids, probabilities, options):
    weights_BE = weights(probabilities, mixture, **options)
    for common in (True, False):
        logits = routed_logits(mixture, ids, weights_BE, common)
        assert logits.shape == (len(ids), CONTEXT, VOCABULARY)
        for row in range(len(ids)):
            alone = routed_logits(mixture, ids[row : row + 1], weights_BE[row : row + 1], common)[0]
            torch.testing.assert_close(logits[row], alone, rtol=0, atol=1e-5)
        order = torch.randperm(len(ids), generator=torch.Generator().manual_seed(3))
        torch.testing.assert_close(
            routed_logits(mixture, ids[order], weights_BE[order], common), logits[order], rtol=0, atol=1e-5
        )


@torch.inference_mode()
def test_the_routed_expert_serves_with_its_own_logits(mixture, ids):
    weights_BE = torch.eye(4)[torch.arange(9) % 4]
    logits = routed_logits(mixture, ids, weights_BE, common=False)
    for row in range(9):
        expert = mixture.experts[LANGUAGES[row % 4]]
        torch.testing.assert_close(logits[row], expert(ids[row : row + 1]).logits[0], rtol=0, atol=1e-5)


@torch.inference_mode()
def test_several_experts_mix_probabilities(mixture, ids, probabilities):
    logits = routed_logits(mixture, ids, weights(probabilities, mixture, mode="soft"))
    single = [routed_logits(mixture, ids, torch.eye(4)[[index] * 9]).softmax(-1) for index in range(4)]
    expected = sum(torch.from_numpy(probabilities)[:, index, None, None] * p for index, p in enumerate(single))
    torch.testing.assert_close(logits.softmax(-1).double(), expected, rtol=1e-4, atol=1e-6)


@torch.inference_mode()
def test_an_expert_that_serves_no_sequence_is_not_run(mixture, ids):
    ran: list[str] = []
    for language, expert in mixture.experts.items():
        expert.base_model.register_forward_hook(lambda *_, name=language: ran.append(name))
    routed_logits(mixture, ids, torch.eye(4)[[1, 3, 1, 1, 3, 3, 1, 1, 1]])
    assert ran == ["fr", "py"]


def test_files_give_the_same_logits(mixture, spec, ids, tokenizer, tmp_path):
    save_mixture(mixture, spec, tokenizer, tmp_path)
    again = load_mixture(tmp_path)
    assert again.languages == mixture.languages
    with torch.inference_mode():
        for common in (True, False):
            weights_BE = torch.eye(4)[torch.arange(9) % 4]
            assert torch.equal(
                routed_logits(again, ids, weights_BE, common), routed_logits(mixture, ids, weights_BE, common)
            )
        if mixture.common is not None:
            assert torch.equal(
                routed_logits(again, ids, torch.zeros(9, 4)), routed_logits(mixture, ids, torch.zeros(9, 4))
            )
    names = {name: again.part_of(name) for name, _ in again.named_parameters()}
    assert names == {name: mixture.part_of(name) for name, _ in mixture.named_parameters()}
    assert not list(tmp_path.rglob("*.bin")) + list(tmp_path.rglob("*.pt")), "no pickles"


def test_transformers_opens_every_expert_without_our_code(mixture, spec, ids, tokenizer, tmp_path):
    from transformers import AutoModelForCausalLM

    save_mixture(mixture, spec, tokenizer, tmp_path)
    for language in LANGUAGES:
        model = AutoModelForCausalLM.from_pretrained(tmp_path / "experts" / language, trust_remote_code=False)
        with torch.inference_mode():
            torch.testing.assert_close(model(ids).logits, mixture.experts[language](ids).logits, rtol=0, atol=1e-5)


def test_other_experts_stay_as_they_are_when_one_goes(mixture, ids):
    weights_BE = torch.eye(4)[[0, 1, 3, 0, 1, 3, 0, 1, 3]]
    with torch.inference_mode():
        before = routed_logits(mixture, ids, weights_BE)
        mixture.keep(("en", "fr", "py"))
        assert mixture.languages == ("en", "fr", "py")
        assert torch.equal(routed_logits(mixture, ids, weights_BE[:, [0, 1, 3]]), before)


def test_other_experts_stay_as_they_are_when_one_comes(mixture, spec, ids):
    setup, weights_BE = setup_of(spec), torch.eye(4)[torch.arange(9) % 4]
    with torch.inference_mode():
        before = routed_logits(mixture, ids, weights_BE)
    kind = "mistral" if "mistral" in mixture.experts["en"].config.model_type else "gpt2"
    grown = setup.grow(mixture, {"es": build_model(ARCHITECTURES[kind], VOCABULARY, CONTEXT, 50)}).eval()
    with torch.inference_mode():
        assert grown.languages == (*LANGUAGES, "es")
        assert torch.equal(routed_logits(grown, ids, torch.eye(5)[torch.arange(9) % 4]), before)


def test_parts_are_named_and_shared_layers_are_one(mixture, spec):
    parts = {mixture.part_of(name) for name, _ in mixture.named_parameters()}
    setup = setup_of(spec)
    assert parts - {"shared", "common"} == set(LANGUAGES)
    assert ("common" in parts) == setup.has_common
    assert ("shared" in parts) == setup.joint
    embeddings = {id(expert.get_input_embeddings().weight) for expert in mixture.experts.values()}
    assert len(embeddings) == (1 if setup.joint else len(LANGUAGES))


def test_is_a_plugin_that_pickles(spec):
    setup = setup_of(spec)
    assert pickle.loads(pickle.dumps(setup)) == setup


class TestRefused:
    def test_no_expert_left_to_serve(self):
        with pytest.raises(ModelError, match="no expert is left to serve"):
            Inference(experts=()).weights(np.ones((1, 4)), LANGUAGES, has_common=False)
        with pytest.raises(ModelError, match="the common expert is off"):
            Inference(experts=(), common=False).weights(np.ones((1, 4)), LANGUAGES, has_common=True)
        assert not Inference(experts=()).weights(np.ones((1, 4)), LANGUAGES, has_common=True).any()

    def test_a_language_that_no_expert_serves(self):
        with pytest.raises(ModelError, match="no expert serves 'es'"):
            Inference(experts=("es",)).weights(np.ones((1, 4)), LANGUAGES, has_common=True)

    @pytest.mark.parametrize(("change", "setups"), [({"width": 32}, ("jeet", "moe_ce")), ({"tie": False}, ("jeet",))])
    def test_experts_that_cannot_share(self, change, setups):
        base = ARCHITECTURES["gpt2"]
        other = PluginSpec(type="gpt2", **{**base.options, **change})
        experts = {"en": build_model(base, VOCABULARY, CONTEXT, 0), "fr": build_model(other, VOCABULARY, CONTEXT, 0)}
        for name in setups:
            common = build_model(base, VOCABULARY, CONTEXT, 1) if name == "moe_ce" else None
            with pytest.raises(ModelError, match="can't share layers or states"):
                setup_of(PluginSpec(type=name)).assemble(experts, common)
        assert setup_of(PluginSpec(type="ple")).assemble(experts).languages == ("en", "fr")

    def test_another_vocabulary(self, spec):
        experts = {
            name: build_model(ARCHITECTURES["gpt2"], size, CONTEXT, 0) for name, size in (("en", 70), ("fr", 71))
        }
        with pytest.raises(ModelError, match="knows 71 tokens"):
            setup_of(spec).assemble(experts, experts["en"])

    @pytest.mark.parametrize("missing", ["mixture.json", "experts/fr/config.json", "experts/fr/model.safetensors"])
    def test_a_folder_that_lacks_a_file(self, spec, tokenizer, tmp_path, missing):
        save_mixture(build(spec), spec, tokenizer, tmp_path)
        (tmp_path / missing).unlink()
        with pytest.raises(ArtifactError):
            load_mixture(tmp_path)

    def test_experts_that_disagree_on_what_they_share(self, tokenizer, tmp_path):
        spec = SETUPS["jeet"]
        save_mixture(build(spec), spec, tokenizer, tmp_path / "one")
        other = build(spec, languages=("fr",))
        nn.init.ones_(other.experts["fr"].get_input_embeddings().weight)
        save_mixture(other, spec, tokenizer, tmp_path / "two")
        target = tmp_path / "one" / "experts" / "fr" / "model.safetensors"
        target.write_bytes((tmp_path / "two" / "experts" / "fr" / "model.safetensors").read_bytes())
        with pytest.raises(ArtifactError, match="share their embedding and it differs"):
            load_mixture(tmp_path / "one")


@pytest.fixture
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    (folder / "tokenizer.json").write_text(json.dumps({}))
    return folder
