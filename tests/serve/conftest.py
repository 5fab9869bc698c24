"""A finished run in miniature: a byte-level tokenizer, two random GPT-2 experts, the paper's router on a few texts."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from orchestrator.artifacts import Store
from orchestrator.routers import Policy

if TYPE_CHECKING:
    from orchestrator.config.base import PluginSpec

LANGUAGES = ("en", "fr")
CONTEXT = 64
_WORDS = {
    "en": "the house stood near a river where children played with their dog every summer morning",
    "fr": "la maison était près du fleuve où les élèves jouaient avec leur chien chaque été à l’aube",
}
PROMPTS = {"en": "the house near a river", "fr": "la maison près du fleuve"}
"""All that the prompt router knows."""


def documents(language: str, count: int, seed: int = 3) -> list[str]:
    """Texts of shuffled words."""
    draw = random.Random(f"{seed}-{language}")
    words = _WORDS[language].split()
    return [" ".join(draw.choices(words, k=12)) for _ in range(count)]


def write_tokenizer(folder: Path, vocab_size: int = 400) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<unk>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([text for language in LANGUAGES for text in documents(language, 50)], trainer)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))


def write_model(folder: Path, seed: int, vocab_size: int = 400) -> None:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=vocab_size, n_positions=CONTEXT, n_embd=32, n_layer=2, n_head=2, bos_token_id=1, eos_token_id=2,
        initializer_range=0.4,  # far-apart logits, so that greedy choices don't hang on rounding
    )  # fmt: skip
    GPT2LMHeadModel(config).save_pretrained(folder)
    write_tokenizer(folder)


def write_prompt_router(folder: Path, policy: Policy) -> Path:
    """A router whose n-grams speak for the language of their sentence; any n-gram of them is familiar."""
    from orchestrator.routers import TextRouter, save_routers
    from orchestrator.routers.text.calibration import KNOTS, SIGNALS, Calibration
    from orchestrator.routers.text.ngrams import ngram_buckets
    from orchestrator.routers.text.router import TokenBytes
    from orchestrator.routers.text.vocabulary import Vocabulary

    weights = np.zeros((1 << 16, 4), np.float32)
    for column, text in enumerate(PROMPTS.values()):
        for buckets in ngram_buckets([text], 16)[0]:
            weights[buckets, column] = weights[buckets, 3] = 1
    rejection = np.zeros((len(PROMPTS), len(KNOTS), SIGNALS + 1), np.float32)
    rejection[..., 3], rejection[..., SIGNALS] = -20, 10  # unfamiliar texts are rejected
    calibration = Calibration(np.ones(len(KNOTS), np.float32), rejection)
    router = TextRouter(
        tuple(PROMPTS), weights, np.zeros(4, np.float32), calibration, Vocabulary.of([], []), TokenBytes.of([])
    )
    folder.mkdir(exist_ok=True)
    save_routers(folder, "prompt", {"prompt": router}, "prompt", policy)
    return folder


def write_router(folder: Path, tokenizer: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    from orchestrator.routers import TokenRouter, save_routers
    from orchestrator.routers._classifiers import Linear
    from orchestrator.routers._tfidf import fit
    from serve.text import Tokenizer

    encode = Tokenizer(tokenizer).encode
    texts = [(language, text) for language in LANGUAGES for text in documents(language, 40)]
    features, matrix = fit([np.asarray(encode(text)) for _, text in texts])
    labels = [LANGUAGES.index(language) for language, _ in texts]
    fitted = LogisticRegression(C=100.0).fit(matrix, labels)
    weights = np.vstack([np.zeros_like(fitted.coef_[0]), fitted.coef_[0]])
    linear = Linear(weights, np.array([0.0, fitted.intercept_[0]]), "softmax")
    router = TokenRouter(LANGUAGES, features, linear, np.array([0.5, 0.5]))
    folder.mkdir(parents=True, exist_ok=True)
    save_routers(folder, "paper", {"logistic_regression": router}, "logistic_regression")


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`runs/fake` as the pipeline publishes it."""
    root = tmp_path_factory.mktemp("runs") / "fake"
    store = Store(root)
    published = {"tokenizer": store.publish("tokenizer", "t" * 16, {}, write_tokenizer)}
    tokenizer = published["tokenizer"].folder
    published["router"] = store.publish("router", "r" * 16, {}, lambda out: write_router(out, tokenizer))
    for seed, language in enumerate(LANGUAGES):
        step = f"expert-{language}"
        published[step] = store.publish(step, "e" * 16, {}, lambda out, seed=seed: write_model(out / "model", seed))
    store.set_current("fake", published)
    return root


def _write_mixture(folder: Path, tokenizer: Path, setup: PluginSpec) -> Path:
    """A mixture of random weights that are far apart, so that greedy choices don't hang on rounding."""
    import torch

    from orchestrator import plugins
    from orchestrator.config.base import PluginSpec
    from orchestrator.models import build_model
    from orchestrator.models.mixture_files import save_mixture

    models = []
    for seed in range(3):
        spec = PluginSpec(type="gpt2", layers=2, width=32, heads=2)
        models.append(build_model(spec, 400, 64, seed))
        with torch.no_grad():
            for parameter in models[-1].parameters():
                parameter += 0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed))
    plugin = plugins.create("models.setups", setup.type, setup.options)
    mixture = plugin.assemble({"en": models[0], "fr": models[1]}, models[2] if plugin.has_common else None)
    if plugin.has_common:
        torch.nn.init.constant_(mixture.combiners["fr"].bias, 0.7)
    save_mixture(mixture, setup, tokenizer, folder)
    return folder


@pytest.fixture(scope="session")
def write_mixture(tokenizer_folder: Path) -> Callable[[Path, Any], Path]:
    """Writes a mixture of a setup (a PluginSpec) into a folder."""
    return lambda folder, setup: _write_mixture(folder, tokenizer_folder, setup)


@pytest.fixture(scope="session")
def prompt_router() -> Callable[[Path, Policy], Path]:
    """Writes a prompt router that knows PROMPTS, with a policy, into a folder."""
    return write_prompt_router


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder)
    return folder


@pytest.fixture(scope="session")
def padded_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose vocabulary is padded beyond the tokenizer's."""
    folder = tmp_path_factory.mktemp("model")
    write_model(folder, seed=5, vocab_size=448)
    return folder


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
