"""Weights that exist: a folder, a GGUF file, an adapter and its model, or a model of the Hugging Face hub."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import torch
from pydantic import Field

from orchestrator.errors import ModelError, MomeError, VocabularyError
from orchestrator.models.mapped import own_type
from orchestrator.models.zoo._adapters import ADAPTER, adapted_shapes, adapter_base, merge
from orchestrator.models.zoo._base import Architecture, attention, check_complete, quiet, with_positions
from orchestrator.models.zoo._families import check_family, cut_rows, quantisation
from orchestrator.models.zoo._fetching import asking, explained, is_absent, nearest
from orchestrator.models.zoo._gguf import check_gguf, gguf_configuration, without_bar
from orchestrator.models.zoo._headers import check_headers, quantised
from orchestrator.models.zoo._own_tokenizer import advice, tokenizer_folder
from orchestrator.models.zoo._weights import check_adapter_file, check_finite, check_folder, has_weights, weight_files
from orchestrator.tokens.closing import has_gaps, held_ids

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Pretrained(Architecture):
    """``{type: pretrained, name: path/to/folder}`` or ``{type: pretrained, name: distilgpt2, revision: …}``."""

    plain_head: ClassVar[bool] = False
    name: Annotated[str, Field(min_length=1)]
    """A folder (its path begins with ``/``, ``.`` or ``~``, or exists) or a name on the hub."""
    revision: str | None = None
    """Branch, tag or commit on the hub; give a commit for results that can be repeated."""

    @property
    def located(self) -> tuple[str, ...]:
        """A folder's name says where the model lies; a hub's name and revision say which it is."""
        return ("name", "revision") if self.folder is not None else ()

    @property
    def folder(self) -> Path | None:
        """The model's folder; None where it is on the hub."""
        path = self.path
        if self.gguf is not None:
            return path.parent
        return path if (path / "config.json").is_file() or (path / ADAPTER).is_file() else None

    @property
    def files(self) -> list[Path]:
        """What the model is read from, where it lies here; an adapter's model after its own.

        Raises:
            ModelError: an adapter does not say what it is of.
        """
        if self.folder is None:
            return []
        if self.gguf is not None:
            return [self.gguf] if self.gguf.is_file() else []
        own = sorted(path for path in self.folder.iterdir() if path.is_file())
        return own + ([] if self.base is None else self.base.files)

    @property
    def gguf(self) -> Path | None:
        """The GGUF file; None where it is none."""
        return self.path if self.path.suffix == ".gguf" and self.is_local else None

    @property
    def base(self) -> Pretrained | None:
        """The model that an adapter is of; None where it is no folder with an adapter and no model.

        Raises:
            ModelError: the adapter does not say, or is damaged. ResourceError: peft is not installed.
        """
        if not (self.path / ADAPTER).is_file() or has_weights(self.path):
            return None
        return replace(self, name=adapter_base(self.path), revision=None)

    @property
    def path(self) -> Path:
        """The name as a path."""
        return Path(self.name).expanduser()

    @property
    def is_local(self) -> bool:
        """Whether the name is of something that lies here, or should: no model of the hub is called like a file."""
        return self.path.exists() or self.name.startswith(("/", ".", "~")) or self.path.suffix == ".gguf"

    def tokenizer_file(self) -> Path | None:
        """Its `tokenizer.json`, with the other files of its tokenizer beside it; None where it has none.

        Raises:
            ModelError: there is no such model. ResourceError: the hub can't be reached.
        """
        folder = tokenizer_folder(self)
        return None if folder is None else folder / "tokenizer.json"

    def configuration(self, vocab_size: int, context: int) -> Any:
        """The configuration beside the weights.

        Raises:
            ModelError: no such model, a configuration that does not fit transformers, fewer rows than the tokenizer has
                tokens, fewer positions than the context has tokens, or an architecture whose logits can't be computed
                from hidden states.
            ResourceError: the hub can't be reached, or a package is missing.
        """
        from transformers import AutoConfig

        if self.base is not None:
            return self.base.configuration(vocab_size, context)
        gguf = self.gguf
        config = self.fetch(AutoConfig.from_pretrained if gguf is None else lambda *_, **__: gguf_configuration(gguf))
        if not self.is_local:
            check_adapter_file(self.file(ADAPTER), self.name)
        with self._explained():
            return self._fitting(config, vocab_size, context)

    def _fitting(self, config: Any, vocab_size: int, context: int) -> Any:
        check_family(config, self.name)
        if self.gguf is None and (method := quantisation(config)):
            raise quantised(f"{self.name} is quantised by {method}", self.folder)
        text = config.get_text_config()  # of a model that sees images too
        positions = getattr(text, "max_position_embeddings", None)
        if positions is not None and context > positions:
            raise ModelError(
                f"{self.name} has {positions} positions, fewer than the context of {context} tokens",
                where="blocks.context",
                fix=f"set blocks.context={positions} or less",
            )
        self._check_rows(int(text.vocab_size), vocab_size)
        return with_positions(config, context)

    def _check_rows(self, rows: int, vocab_size: int) -> None:
        """As many rows as tokens, or more where the model's own tokenizer shows that no token has them."""
        if rows == vocab_size or (rows > vocab_size and self.tokenizer_file() is not None):
            return
        file = self.tokenizer_file()
        what = f"{self.name} has {rows} rows for tokens, the tokenizer {vocab_size} tokens"
        fix = "name a model that comes with its tokenizer" if file is None else advice(file.parent, rows, self.name)
        raise VocabularyError(what, where="tokenizer", fix=fix)

    def build(self, vocab_size: int, context: int) -> PreTrainedModel:
        """The pretrained model in fp32; on the meta device its shapes only.

        Rows beyond the tokenizer, which fill up the vocabulary to a round number, are cut: no text has these tokens. So
        are rows of ids between others that have no token.

        Raises:
            ModelError: see :meth:`configuration`; or weights are missing, pickles, or not finite.
        """
        config = self.configuration(vocab_size, context)
        if torch.get_default_device().type == "meta":
            model = self._shapes(config)
        elif self.base is not None:
            model = merge(self.base._load(config), self.path)
            check_finite(model, self.name)
        else:
            model = self._load(config)
        return self._cut(model, vocab_size)

    @property
    def is_plain(self) -> bool:
        """Whether its weights can be used as they lie: neither in a GGUF file nor beneath an adapter."""
        return self.gguf is None and self.base is None

    def mapped(self, vocab_size: int, context: int) -> PreTrainedModel:
        """The same model in the type that its files have, whose weights stay there until they are used; of a plain one.

        Raises:
            ModelError: see :meth:`build`.
        """
        return self._cut(self._load(self.configuration(vocab_size, context), own_type(self._weights())), vocab_size)

    def _weights(self) -> list[Path]:
        """The files of its weights; fetched where they lie on the hub."""
        if self.is_local:
            return weight_files(self.path, self.name)
        index = self.file("model.safetensors.index.json")
        listed = {} if index is None else json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        found = map(self.file, sorted(set(listed.values())) or ["model.safetensors"])
        return [path for path in found if path is not None]

    def _cut(self, model: Any, vocab_size: int) -> Any:
        """Without rows that no token has."""
        is_larger = model.get_input_embeddings().weight.shape[0] > vocab_size
        return cut_rows(model, vocab_size, self._held(vocab_size) if is_larger else None)

    def _held(self, vocab_size: int) -> torch.Tensor | None:
        """Rows that its own tokenizer's tokens have, where others lie between them and a run has closed these up."""
        file = self.tokenizer_file()
        if file is None or not has_gaps(file.parent) or len(held := held_ids(file.parent)) != vocab_size:
            return None
        with torch.device("cpu"):
            return torch.tensor(held)

    def _shapes(self, config: Any) -> Any:
        """The model on the meta device, where what lies here is looked at without reading its weights.

        Raises:
            ModelError: weights are missing or have another shape, or an adapter is of another model.
        """
        from transformers import AutoModelForCausalLM

        if self.base is not None:
            return adapted_shapes(self.base._shapes(config), self.path)
        with self._explained():
            model = AutoModelForCausalLM.from_config(config, attn_implementation=attention(config))
        if self.folder is not None and self.gguf is None:
            check_headers(model, self.folder, self.name)
        return model

    def _load(self, config: Any, dtype: torch.dtype = torch.float32) -> Any:
        from transformers import AutoModelForCausalLM, GgufConfig

        options: dict[str, Any] = {"use_safetensors": True}
        if self.gguf is not None:  # without its own type transformers refuses to save it
            options = {"quantization_config": GgufConfig(dequantize=True)}
        else:
            options["config"] = config
        with quiet(), without_bar():
            model, report = self.fetch(
                AutoModelForCausalLM.from_pretrained,
                dtype=dtype,
                attn_implementation=attention(config),
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # told below, by name
                **options,
            )
        try:
            check_complete(report)
        except ValueError as error:
            raise ModelError(f"{self.name} is not whole: {error}", where="models.zoo.pretrained") from None
        check_finite(model, self.name)
        return model

    def fetch(self, load: Callable[..., Any], **options: Any) -> Any:
        """Load from the folder, the file or the hub; never run code that comes with a model."""
        path, gguf = self.path, self.gguf
        name = str(path) if self.is_local else self.name
        if gguf is not None:
            check_gguf(gguf)
            name, options = str(path.parent), {"gguf_file": path.name, **options}
        elif self.is_local:
            check_folder(path, self.name)
            if not (path / "config.json").is_file():
                raise ModelError("there is no model (a folder with config.json)", where=str(path), fix=nearest(path))
        from orchestrator.models import _token_moe  # noqa: F401  registers its model type

        with self._explained(), nullcontext() if self.is_local else asking(self.name):
            return load(name, revision=self.revision, trust_remote_code=False, **options)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Around what reads others' files: what transformers raises of ones that don't fit has no common base class."""
        try:
            yield
        except (MomeError, MemoryError):
            raise
        except Exception as error:
            raise explained(error, self.name, self.path if self.is_local else None) from error

    def file(self, name: str) -> Path | None:
        """A file of the folder, or fetched from the hub; None where there is none."""
        if self.is_local:
            return self.path / name if (self.path / name).is_file() else None
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError

        try:
            with asking(self.name):
                return Path(hf_hub_download(self.name, name, revision=self.revision))
        except (OSError, ValueError, EntryNotFoundError) as error:
            if is_absent(error, self.name, name, self.revision):
                return None
            raise explained(error, self.name, None) from None
