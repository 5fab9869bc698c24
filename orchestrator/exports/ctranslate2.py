"""A folder for CTranslate2, which is fast on CPUs."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from orchestrator.artifacts import write_json
from orchestrator.errors import ModelError
from orchestrator.exports._base import ExpertExport
from orchestrator.exports._check import Opened
from orchestrator.exports._source import Expert
from orchestrator.exports._tokens import ReadTokens, copy_tokenizer_files, write_generation
from orchestrator.exports.hf import write_folder
from orchestrator.models.zoo._base import quiet

_ROLES = ("bos_token", "eos_token", "unk_token")
_TIES = {"float32": 1e-3, "float16": 0.05, "int8": 0.5}


@dataclass(frozen=True)
class CTranslate2(ExpertExport):
    """A folder that `ctranslate2.Generator` opens, with the tokenizer beside it.

    It is converted by CTranslate2's own converter, from the rows that the tokenizer has tokens for: the converter stops
    at others. CTranslate2 takes tokens, not text: encode by `tokenizer.json`, the begin token first.
    """

    tool: ClassVar[str] = "CTranslate2"
    packages: ClassVar[tuple[str, ...]] = ("ctranslate2",)
    checked_by: ClassVar[tuple[str, ...]] = ("ctranslate2",)

    type: Literal["float32", "float16", "int8"] = "float32"
    """How weights are stored. With int8 a head that is tied to the embedding is stored in 8 bits too."""

    @property
    def tie(self) -> float:
        """See :class:`ExpertExport`."""
        return _TIES[self.type]

    def write_expert(self, expert: Expert, out: Path) -> None:
        """See :class:`ExpertExport`."""
        from ctranslate2.converters import TransformersConverter

        _check_attention(expert)
        with tempfile.TemporaryDirectory() as scratch:
            plain, made = Path(scratch) / "hf", Path(scratch) / "made"
            write_folder(expert, plain, self.tool)
            try:
                with quiet():
                    TransformersConverter(str(plain)).convert(str(made), quantization=self.type)
            except (ValueError, AttributeError, KeyError, RuntimeError, NotImplementedError) as error:
                what = f"CTranslate2 can't convert the expert {expert.name}: {str(error).splitlines()[0]}"
                raise ModelError(what, str(expert.folder), "take --to hf or --to onnx") from None
            _name_tokens(made / "config.json", expert)
            for file in made.iterdir():
                shutil.move(file, out / file.name)
            copy_tokenizer_files(plain, out)
            write_generation(expert, out)

    @contextmanager
    def open(self, folder: Path) -> Iterator[Opened]:
        """See :class:`ExpertExport`."""
        yield _Opened(folder, self.type)


def _check_attention(expert: Expert) -> None:
    """Refuse what CTranslate2 converts and computes otherwise, without a word.

    Raises:
        ModelError: layers that see the last tokens alone, or scores that are scaled by another number than the width of
            a head.
    """
    config = json.loads((expert.folder / "config.json").read_text(encoding="utf-8"))
    window, kinds = config.get("sliding_window"), config.get("layer_types")
    slides = window is not None and (not kinds or "sliding_attention" in kinds)
    why = ""
    if slides and window < config.get("max_position_embeddings", window):
        why = f"layers see the last {window} tokens alone, of which CTranslate2 makes something else"
    scale = config.get("query_pre_attn_scalar")
    if scale is not None and scale != config.get("head_dim"):
        why = f"its scores are scaled by query_pre_attn_scalar={scale}, which CTranslate2 does not read"
    if why:
        what = f"CTranslate2 can't hold the expert {expert.name}: {why}"
        raise ModelError(what, str(expert.folder), "take --to hf or --to onnx")


def _name_tokens(file: Path, expert: Expert) -> None:
    """Let a converted folder name a token of each role: CTranslate2 does not open one that says null.

    Where the tokenizer has none, a token of another role stands in. Nothing reads it: prompts hold ids of the
    vocabulary alone, and who generates says what ends an answer.
    """
    config = json.loads(file.read_text(encoding="utf-8"))
    stand_in = expert.tokenizer.name(max(expert.tokenizer.end, 0))
    missing = {role: stand_in for role in _ROLES if role in config and config[role] is None}
    write_json(file, config | missing)


class _Opened(ReadTokens):
    """See :class:`Opened`."""

    def __init__(self, folder: Path, kind: str) -> None:
        import ctranslate2

        super().__init__(folder)
        self.version = ctranslate2.__version__
        # Where the processor has no float16, CTranslate2 takes the nearest that it has.
        compute = {"float16": "default"}.get(kind, kind)
        self._generator: Any = ctranslate2.Generator(str(folder), device="cpu", compute_type=compute)

    def greedy(self, ids: Sequence[int], count: int) -> list[int]:
        made = self._generator.generate_batch(
            [self.tokens_of(ids)],
            beam_size=1,
            sampling_topk=1,
            max_length=count,
            include_prompt_in_result=False,
            end_token=self.ends,
        )
        return [int(token) for token in made[0].sequences_ids[0] if token not in self.ends]
