"""A GGUF file for llama.cpp and what is built on it, with a Modelfile for Ollama."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import ModelError, TokenizerError
from orchestrator.exports._base import ExpertExport
from orchestrator.exports._check import Opened
from orchestrator.exports._gguf_models import FAMILIES, Family
from orchestrator.exports._gguf_tokens import ENDS, Vocabulary, vocabulary_of
from orchestrator.exports._source import Expert

FILE, MODELFILE = "model.gguf", "Modelfile"
_TIES = {"f32": 0.01, "f16": 0.05, "q8_0": 0.5}


@dataclass(frozen=True)
class GGUF(ExpertExport):
    """`model.gguf` for llama.cpp, and a `Modelfile` with which `ollama create` takes it.

    For GPT-2, Llama, Mistral and Phi with byte-level BPE as MoME trains it, or as GPT-2, SmolLM, Llama 3 and Qwen 2
    have it. What llama.cpp would read otherwise without a word, another pre-tokenizer for instance, is refused.
    """

    tool: ClassVar[str] = "llama.cpp"
    packages: ClassVar[tuple[str, ...]] = ("gguf",)
    checked_by: ClassVar[tuple[str, ...]] = ("xllamacpp",)

    type: Literal["f32", "f16", "q8_0"] = "f16"
    """How matrices are stored: in fp32, fp16, or 8 bits with a scale for every 32 weights."""

    @property
    def tie(self) -> float:
        """See :class:`ExpertExport`: llama.cpp rounds activations, keys and values too."""
        return _TIES[self.type]

    def write_expert(self, expert: Expert, out: Path) -> None:
        """See :class:`ExpertExport`."""
        import gguf

        model: Any = expert.alone(self.tool)
        family = _family(model, expert)
        vocabulary = _told(vocabulary_of(expert, self.tool), expert)
        writer = gguf.GGUFWriter(out / FILE, family.name)
        writer.add_name(f"{expert.source.name} {expert.name}")
        writer.add_file_type(getattr(gguf.LlamaFileType, _FILE_TYPES[self.type]))
        family.describe(writer, model.config)
        _write_vocabulary(writer, vocabulary)
        for name, array in family.tensors(model):
            data, kind = stored(array, self.type)
            writer.add_tensor(name, data, raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        (out / MODELFILE).write_text(_modelfile(family.context(model.config)), encoding="utf-8")

    @contextmanager
    def open(self, folder: Path) -> Iterator[Opened]:
        """See :class:`ExpertExport`."""
        from orchestrator.exports._llama_cpp import LlamaCpp

        with LlamaCpp(folder / FILE, _ends_of(folder / FILE)) as opened:
            yield opened


_FILE_TYPES = {"f32": "ALL_F32", "f16": "MOSTLY_F16", "q8_0": "MOSTLY_Q8_0"}


def _family(model: Any, expert: Expert) -> Family:
    """How llama.cpp knows the architecture.

    Raises:
        ModelError: it does not, or not with these options.
    """
    kind = str(model.config.model_type)
    if kind not in FAMILIES:
        fix = "take --to hf, --to onnx or --to ctranslate2"
        what = f"GGUF files are written for {', '.join(FAMILIES)}, and the expert {expert.name} is a {kind}"
        raise ModelError(what, str(expert.folder), fix)
    found = FAMILIES[kind]
    if reason := found.refuses(model.config):
        raise ModelError(f"llama.cpp can't hold the expert {expert.name}: {reason}", str(expert.folder), "take --to hf")
    return found


def _told(vocabulary: Vocabulary, expert: Expert) -> Vocabulary:
    """The same.

    Raises:
        TokenizerError: a file can't say so many special tokens.
    """
    counts = {"begins a text with": (vocabulary.begin, 1), "ends answers by": (vocabulary.ends, len(ENDS))}
    for does, (tokens, most) in counts.items():
        if len(tokens) > most:
            what = f"llama.cpp knows {most} of each kind, and the tokenizer {does} {len(tokens)} tokens"
            raise TokenizerError(what, str(expert.folder / "tokenizer.json"), "take --to hf or --to onnx")
    return vocabulary


def stored(array: NDArray[np.float32], kind: str) -> tuple[NDArray[Any], Any]:
    """A tensor as it is stored, with its type: matrices as asked for, vectors in fp32."""
    import gguf

    types = gguf.GGMLQuantizationType
    is_matrix = array.ndim == 2
    if kind == "q8_0" and is_matrix and array.shape[1] % 32 == 0:
        return gguf.quants.quantize(array, types.Q8_0), types.Q8_0
    if kind != "f32" and is_matrix:
        return array.astype(np.float16), types.F16
    return array, types.F32


def _write_vocabulary(writer: Any, vocabulary: Vocabulary) -> None:
    import gguf

    kinds = gguf.TokenType
    writer.add_tokenizer_model("gpt2")
    # Without it llama.cpp cuts texts by other rules, and says nothing.
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types([kinds.CONTROL if special else kinds.NORMAL for special in vocabulary.special])
    writer.add_token_merges(vocabulary.merges)
    for begin in vocabulary.begin:
        writer.add_bos_token_id(begin)
    adds = (writer.add_eos_token_id, writer.add_eot_token_id, writer.add_eom_token_id)
    for end, add in zip(vocabulary.ends, adds, strict=False):
        add(end)
    if vocabulary.unknown is not None:
        writer.add_unk_token_id(vocabulary.unknown)
    writer.add_add_bos_token(bool(vocabulary.begin))
    writer.add_add_eos_token(False)


def _modelfile(context: int) -> str:
    """For Ollama: the prompt as it is, without a chat's template."""
    return f'FROM ./{FILE}\nTEMPLATE """{{{{ .Prompt }}}}"""\nPARAMETER num_ctx {context}\n'


def _ends_of(file: Path) -> set[int]:
    """Ids of the end tokens that a file names."""
    import gguf

    reader = gguf.GGUFReader(file)
    fields = (reader.get_field(f"tokenizer.ggml.{name}_token_id") for name in ENDS)
    return {int(field.contents()) for field in fields if field is not None}
