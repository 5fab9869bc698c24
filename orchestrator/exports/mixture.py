"""All experts, the router and its policy as one folder, with a short program that reads it without MoME."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from orchestrator.artifacts import write_json
from orchestrator.errors import ArtifactError, ModelError, TokenizerError
from orchestrator.exports._base import Export
from orchestrator.exports._check import compare
from orchestrator.exports._gguf_tokens import Vocabulary, vocabulary_of
from orchestrator.exports._source import Expert, Source
from orchestrator.exports._texts import texts_of
from orchestrator.exports._tokens import copy_tokenizer_files
from orchestrator.exports.onnx import ONNX
from orchestrator.routers import Chooser, Policy, load_router
from orchestrator.routers.text import ngrams, vocabulary, words
from orchestrator.routers.text.router import TextRouter
from serve.text import Tokenizer

ABOUT, ROUTER, READER = "mixture.json", "router.npz", "mixture.py"
_FORMAT = 2
_RULES = ("gpt-2", "smollm")
"""By which the reader cuts texts, by llama.cpp's names."""
_DIGITS = _RULES[1:]
"""Those by which each digit is a word."""
_PROGRAM = Path(__file__).with_name("_reader.py")
"""It is not imported: it needs ONNX Runtime."""
_CLOSE = 1e-9
"""Between probabilities here and there: sums are in another order."""


@dataclass(frozen=True)
class WholeMixture(Export):
    """A folder that answers `auto` outside MoME: `mixture.py` in it routes a text and continues it.

    The program needs numpy and onnxruntime alone, and is a reference for programs in other languages. The folder has
    `mixture.json` (experts, policy, what the router reads), `router.npz`, the run's `tokenizer.json`, and
    `experts/NAME` as `--to onnx` writes them, each with its own tokenizer.
    """

    tool: ClassVar[str] = "the reference reader"
    packages: ClassVar[tuple[str, ...]] = ("onnx", "onnxscript")
    checked_by: ClassVar[tuple[str, ...]] = ("onnxruntime",)

    def write(self, source: Source, out: Path) -> None:
        """See :class:`Export`."""
        found = {name: self._vocabulary(expert) for name, expert in source.experts.items()}
        arrays, router = _router(source)
        for name, expert in source.experts.items():
            place = out / "experts" / name
            place.mkdir(parents=True)
            ONNX().write_expert(expert, place)
        copy_tokenizer_files(source.files.tokenizer, out)  # what routers of tokens read
        np.savez(out / ROUTER, allow_pickle=False, **arrays)
        about = {
            "format": _FORMAT,
            "experts": {name: {"begin": each.begin, "ends": each.ends} for name, each in found.items()},
            "context": min(_context(expert) for expert in source.experts.values()),
            "digits": any(each.pre in _DIGITS for each in found.values()),
            "policy": asdict(Policy.of(source.files.router)),
            "router": router,
        }
        write_json(out / ABOUT, about)
        (out / READER).write_text(_PROGRAM.read_text(encoding="utf-8"), encoding="utf-8")

    def _vocabulary(self, expert: Expert) -> Vocabulary:
        """An expert's tokens.

        Raises:
            TokenizerError: the reader would cut texts otherwise.
        """
        found = vocabulary_of(expert, self.tool)
        if found.pre not in _RULES:
            what = f"{self.tool} cuts texts as {' or '.join(_RULES)}, and the run's tokenizer as {found.pre}"
            raise TokenizerError(what, str(expert.folder / "tokenizer.json"), "take --to onnx --all")
        return found

    def check(self, source: Source, folder: Path, count: int) -> Mapping[str, Any]:
        """See :class:`Export`: tokens, routes and probabilities of texts, and each expert's continuations."""
        reader = _opened(folder)
        texts = [*texts_of(source, count), "", " ", "hola", "print(1)"]
        chooser = Chooser(source.files.router, _encoder(source), list(source.experts))
        apart = 0.0
        for text, choice in zip(texts, chooser.choose(texts), strict=True):
            expert, shares, _ = reader.route(text)
            apart = max(apart, *(abs(shares[name] - choice.probabilities[name]) for name in shares))
            if expert != choice.expert or apart > _CLOSE:
                what = (
                    f"the reader routes {text[:40]!r} to {expert}, and the run to {choice.expert} ({apart:.2g} apart)"
                )
                raise ModelError(what, "mome export --check", "report this: it is a fault of MoME")
        found: dict[str, Any] = {"routes": len(texts), "probabilities_apart": float(f"{apart:.2g}")}
        for name, expert in source.experts.items():
            made = compare(expert, _Expert(reader, name), self.tool, count // len(source.experts), ONNX().tie)
            found |= {"tool": made["tool"], **{key: found.get(key, 0) + made[key] for key in ("prompts", "ties")}}
        return found


def _router(source: Source) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """The router as the reader has it: arrays, and what else it needs."""
    router: Any = load_router(source.files.router)
    languages = {"languages": list(router.languages)}
    if not isinstance(router, TextRouter):
        arrays = {"features": router.features.tokens, "idf": router.features.idf, "prior": router.prior}
        about = {"reads": "tokens", **languages, **router.classifier.settings()}
        return arrays | dict(router.classifier.tensors()), about
    arrays = {
        "weights": router.weights.astype(np.float16),  # exact: they are float16 values
        "bias": router.bias.astype(np.float64),
        "words": router.vocabulary.words,
        "ngrams": router.vocabulary.ngrams,
        "temperatures": router.calibration.temperatures(),
        "rejections": router.calibration.rejections(),
    }
    return arrays, {"reads": "text", **languages, **ngrams.described(), **words.described(), **vocabulary.described()}


def _context(expert: Expert) -> int:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(expert.folder, local_files_only=True, trust_remote_code=False)
    return int(config.max_position_embeddings)


def _encoder(source: Source) -> Any:
    tokenizer = Tokenizer(source.files.tokenizer)
    return lambda texts: [tokenizer.encode(text) for text in texts]


def _opened(folder: Path) -> Any:
    """The mixture as the program in the folder reads it.

    Raises:
        ArtifactError: the program is not there.
    """
    spec = spec_from_file_location("mome_exported_mixture", folder / READER)
    if spec is None or spec.loader is None:
        raise ArtifactError("the folder has no reader", str(folder / READER), "export the mixture again")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Mixture(folder)


class _Expert:
    """An expert in the reader; see :class:`Opened`."""

    def __init__(self, reader: Any, name: str) -> None:
        import onnxruntime

        self.version = f"on ONNX Runtime {onnxruntime.__version__}"
        self._reader, self._name = reader, name

    def encode(self, text: str) -> list[int]:
        found: list[int] = self._reader.encode(self._name, text)
        return found

    def greedy(self, ids: Any, count: int) -> list[int]:
        found: list[int] = self._reader.greedy(self._name, list(ids), count)
        return found
