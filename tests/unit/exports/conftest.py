"""Finished runs as exports see them, made of what a run has and without training: models far from their beginning."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from orchestrator.artifacts import Store, write_json
from orchestrator.config.base import PluginSpec
from orchestrator.corpus.document import Document
from orchestrator.corpus.storage import TableWriter, split_file, to_table
from orchestrator.disk import file_digest
from orchestrator.models import build_model, keep_rows, save_model
from orchestrator.models.mixture import WHOLE
from orchestrator.models.mixture_files import save_mixture, write_about
from orchestrator.models.setups.moe_ce import MoECE
from orchestrator.models.setups.ple import PLE
from orchestrator.models.zoo._gguf import _PRE_TOKENIZERS, _WHOLE_WORDS_FIRST
from orchestrator.routers import Policy, save_routers
from orchestrator.routers.paper import Paper
from orchestrator.routers.prompt import Prompt
from orchestrator.routers.text.pieces import LanguageTexts
from orchestrator.tokens.kept import Kept
from orchestrator.tokens.tokenizer import (
    OUR_NAMES,
    encode,
    save_tokenizer,
    take_tokenizer,
    token_bytes,
    train_tokenizer,
)
from orchestrator.tokens.trimming import Trimming
from tests.unit.cli.conftest import mome as mome

CONTEXT = 64
TEXTS = {
    "en": ["The house is by the river, and the water is cold.", "Nobody knew what the old man's clock said at 12:30."],
    "es": ["La casa está junto al río, y el agua está fría.", "Nadie sabía qué decía el reloj del viejo a las 12:30."],
}
MODELS = {
    "gpt2": PluginSpec(type="gpt2", layers=2, width=32, heads=2),
    "mistral": PluginSpec(type="mistral", layers=2, width=32, heads=4, kv_heads=2, feed_forward=64),
    "phi": PluginSpec(type="phi", layers=2, width=64, heads=2),
}
_SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
_SIZES |= {"num_key_value_heads": 1, "head_dim": 16, "sliding_window": 8}
_KINDS = {"layer_types": ["sliding_attention", "full_attention"]}
_WINDOWS = {
    "gemma3": {"model_type": "gemma3_text", **_SIZES, **_KINDS},
    "sliding": {"model_type": "mistral", **_SIZES},
    "scaled": {"model_type": "gemma3_text", **_SIZES, **_KINDS, "sliding_window": 64, "query_pre_attn_scalar": 64},
}
MODELS |= {name: PluginSpec(type="transformers", config=config) for name, config in _WINDOWS.items()}
"""Layers that see the last tokens alone: some of them, or all."""
_SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
_OLDER = {
    "bloom": {"model_type": "bloom", "hidden_size": 32, "n_layer": 2, "n_head": 2},
    "gpt_neox": {"model_type": "gpt_neox", **_SMALL},
}
MODELS |= {name: PluginSpec(type="transformers", config=config) for name, config in _OLDER.items()}
"""One whose configuration names no positions, and one whose converters read names that version 5 does not write."""


def far_apart(model: torch.nn.Module, seed: int = 7) -> torch.nn.Module:
    """Weights so large that a wrong position, order or type is seen in what comes out."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    return model


class World:
    """Makes runs in a folder, with a tokenizer as it is trained here, or with special tokens of a teacher's: these
    names in place of ours, all of them ends, and none in front of a text.
    """

    def __init__(self, folder: Path, pre: str = "gpt-2", ends: Sequence[str] | None = None) -> None:
        self.folder = folder
        texts = [text for some in TEXTS.values() for text in some]
        described = json.loads(train_tokenizer([texts * 9], 300).to_str())
        described["pre_tokenizer"] = _PRE_TOKENIZERS[pre]
        described["model"]["ignore_merges"] = pre in _WHOLE_WORDS_FIRST
        self.tokenizer = Tokenizer.from_str(json.dumps(described))
        self.tokenizer.encode_special_tokens = True
        save_tokenizer(self.tokenizer, folder / "tokenizer")
        if ends is not None:
            self._rename(described, ends)

    def _rename(self, described: dict[str, Any], ends: Sequence[str]) -> None:
        """Give the tokens 0, 1, 2 other names and roles; those without a name are text like any other."""
        vocabulary: dict[str, int] = described["model"]["vocab"]
        for number, name in enumerate(OUR_NAMES):
            del vocabulary[name]
            vocabulary[ends[number] if number < len(ends) else f"Ā{number}"] = number
        kept = zip(described["added_tokens"], ends, strict=False)
        described["added_tokens"] = [{**entry, "content": name} for entry, name in kept]
        described["model"]["unk_token"] = described["post_processor"] = None
        self.tokenizer = Tokenizer.from_str(json.dumps(described))
        self.tokenizer.encode_special_tokens = True
        folder = self.folder / "tokenizer"
        (folder / "tokenizer.json").write_text(self.tokenizer.to_str())
        (folder / "special_tokens_map.json").unlink()
        names = {"eos_token": ends[0]} if ends else {}
        write_json(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", **names})
        write_json(folder / "generation_config.json", {"eos_token_id": list(range(len(ends)))})

    def run(
        self,
        name: str,
        model: str = "gpt2",
        common: bool = False,
        rows: int = 0,
        router: str = "paper",
        reject: str = "best",
        keep: float | None = None,
        loud: int | None = None,
    ) -> Path:
        """A run with an expert of each language; `rows` more rows than the tokenizer has tokens, or fewer tokens.

        Experts say the token `loud` often.
        """
        size, spec, store = self.tokenizer.get_vocab_size() + rows, MODELS[model], Store(self.folder / name)
        experts = {each: far_apart(build_model(spec, size, CONTEXT, seed), seed) for seed, each in enumerate(TEXTS)}
        for expert in experts.values() if loud is not None else ():
            expert.get_output_embeddings().weight.data[loud] *= 4
        shared = far_apart(build_model(spec, size, CONTEXT, 9), 9) if common else None
        mixture = MoECE().assemble(experts, shared) if common else PLE().assemble(experts)
        setup = PluginSpec(type="moe_ce" if common else "ple")
        save = partial(save_mixture, mixture, setup, self.folder / "tokenizer")
        made = {
            "tokenizer": partial(take_tokenizer, self.folder / "tokenizer"),
            "router": lambda out: self._router(out, router, Policy(reject)),
            "mixture": save if keep is None else partial(self._save_cut, experts, keep),
            "corpus": _write_corpus,
        }
        artifacts = {step: store.publish(step, step * 8, {"step": step}, write) for step, write in made.items()}
        store.set_current("", artifacts)
        write_json(store.root / "recipe.json", _recipe(name, spec))
        return store.root

    def _save_cut(self, experts: dict[str, Any], keep: float, out: Path) -> None:
        """A mixture of experts that have the tokens of their languages alone."""
        trimming, whole = Trimming(self.folder / "tokenizer"), self.tokenizer.get_vocab_size()
        for language, expert in experts.items():
            ids = np.concatenate(encode(self.tokenizer, TEXTS[language]))
            kept = trimming.chosen(np.bincount(ids, minlength=whole), keep)
            starts, spelled = trimming.write(kept, self.folder / f"cut-{language}")
            keep_rows(expert, torch.from_numpy(kept))
            setattr(expert.config, WHOLE, whole)
            folder = out / "experts" / language
            save_model(expert, self.folder / f"cut-{language}", folder)
            about = {"tokenizer": file_digest(self.folder / "tokenizer" / "tokenizer.json"), "of": whole}
            Kept(kept, starts, spelled, about).save(folder)
        write_about(out, PluginSpec(type="ple"), tuple(experts))

    def _router(self, folder: Path, kind: str, policy: Policy) -> None:
        if kind == "prompt":
            plugin = Prompt(bits=12, pieces=200, calibration_pieces=50)
            material = {name: LanguageTexts(texts * 4, texts * 4) for name, texts in TEXTS.items()}
            routers = plugin.train(material, token_bytes(self.tokenizer), seed=1, threads=1)
            save_routers(folder, kind, routers, plugin.classifier, policy)
            return
        blocks = {name: [each[:8] for each in encode(self.tokenizer, texts)] * 6 for name, texts in TEXTS.items()}
        routers = Paper().train(blocks, 0, 1)
        save_routers(folder, "paper", routers, {"forest": "random_forest"}.get(kind, "logistic_regression"), policy)


def _write_corpus(out: Path) -> None:
    for language, texts in TEXTS.items():
        documents = [Document(str(i), "", text * 4, "files", "CC0-1.0") for i, text in enumerate(texts)]
        for split in ("train", "validation", "test"):
            with TableWriter(split_file(out, split, language)) as writer:
                writer.write(to_table(documents))


def _recipe(name: str, spec: PluginSpec) -> dict[str, Any]:
    source = {"type": "files", "options": {"path": "/somewhere/of/mine/texts"}}
    languages = {language: {"source": source, "kind": "prose"} for language in TEXTS}
    model = {"type": spec.type, "options": dict(spec.options)}
    section = {"model": model, "distillation": {"soft": {"type": "reverse_kl", "options": {}}}}
    return {"name": name, "corpus": {"languages": languages}, "teacher": {"model": model}, "experts": section}


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("exports"))


@pytest.fixture(scope="session")
def world_of_digits(tmp_path_factory: pytest.TempPathFactory) -> World:
    """One whose tokenizer cuts texts as SmolLM's: each digit is a word."""
    return World(tmp_path_factory.mktemp("digits"), "smollm")


@pytest.fixture(scope="session")
def run(world: World) -> Path:
    """A finished run of two GPT-2 experts."""
    return world.run("small")


@pytest.fixture(scope="session")
def combined(world: World) -> Path:
    """One whose experts compute beside a common expert."""
    return world.run("combined", common=True)
