"""Weights that exist: a folder, or a model of the Hugging Face hub."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from orchestrator.errors import ModelError, MomeError, ResourceError, VocabularyError
from orchestrator.models.zoo._base import Architecture, check_complete, quiet
from orchestrator.models.zoo._weights import ADAPTER, check_adapter_file, check_finite, check_folder

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Pretrained(Architecture):
    """``{type: pretrained, name: path/to/folder}`` or ``{type: pretrained, name: distilgpt2, revision: …}``."""

    plain_head: ClassVar[bool] = False
    name: str
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
        folder = Path(self.name).expanduser()
        return folder if (folder / "config.json").is_file() else None

    def tokenizer_file(self) -> Path | None:
        """Its `tokenizer.json`; None where it has none.

        Raises:
            ModelError: there is no such model. ResourceError: the hub can't be reached.
        """
        return self._file("tokenizer.json")

    def configuration(self, vocab_size: int, context: int) -> Any:
        """The configuration beside the weights.

        Raises:
            ModelError: no such model, an adapter, another vocabulary, or fewer positions than the context has tokens.
            ResourceError: the hub can't be reached.
        """
        from transformers import AutoConfig

        config = self._fetch(AutoConfig.from_pretrained)
        if not self._local:
            check_adapter_file(self._file(ADAPTER), self.name)
        positions = getattr(config, "max_position_embeddings", None)
        if positions is not None and context > positions:
            raise ModelError(
                f"{self.name} has {positions} positions, fewer than the context of {context} tokens",
                where="blocks.context",
                fix=f"set blocks.context={positions} or less",
            )
        if config.vocab_size != vocab_size:
            what = f"{self.name} has {config.vocab_size} tokens, the tokenizer {vocab_size}"
            raise VocabularyError(what, where="tokenizer", fix=self._own_tokenizer(config.vocab_size))
        return config

    def build(self, vocab_size: int, context: int) -> PreTrainedModel:
        """The pretrained model in fp32; on the meta device its shapes only.

        Raises:
            ModelError: see :meth:`configuration`; or weights are missing, pickles, or not finite.
        """
        from transformers import AutoModelForCausalLM

        config = self.configuration(vocab_size, context)
        if torch.get_default_device().type == "meta":
            return AutoModelForCausalLM.from_config(config)
        with quiet():
            model, report = self._fetch(
                AutoModelForCausalLM.from_pretrained,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                attn_implementation="sdpa",
                output_loading_info=True,
            )
        try:
            check_complete(report)
        except ValueError as error:
            raise ModelError(f"{self.name} is not whole: {error}", where="models.zoo.pretrained") from None
        check_finite(model, self.name)
        loaded: PreTrainedModel = model
        return loaded

    def _own_tokenizer(self, rows: int) -> str:
        """What to type, so that a run has the tokenizer of this model, whose vocabulary has so many rows."""
        from orchestrator.models.vocabulary import advice

        file = self.tokenizer_file()
        return "name a model that comes with its tokenizer" if file is None else advice(file.parent, rows)

    def _fetch(self, load: Callable[..., Any], **options: Any) -> Any:
        """Load from the folder or the hub; never run code that comes with a model."""
        path, local = self._path, self._local
        if local:
            check_folder(path, self.name)
        if local and not (path / "config.json").is_file():
            raise ModelError("there is no model (a folder with config.json)", where=str(path), fix=_nearest(path))
        from safetensors import SafetensorError

        from orchestrator.models import _token_moe  # noqa: F401  registers its model type

        try:
            return load(str(path) if local else self.name, revision=self.revision, trust_remote_code=False, **options)
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise self._explained(error) from None

    def _file(self, name: str) -> Path | None:
        """A file of the folder, or fetched from the hub; None where there is none."""
        if self._local:
            return self._path / name if (self._path / name).is_file() else None
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError

        try:
            return Path(hf_hub_download(self.name, name, revision=self.revision))
        except EntryNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise self._explained(error) from None

    @property
    def _path(self) -> Path:
        return Path(self.name).expanduser()

    @property
    def _local(self) -> bool:
        return self._path.exists() or self.name.startswith(("/", ".", "~"))

    def _explained(self, error: Exception) -> MomeError:
        from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

        causes: list[BaseException] = [error]
        while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None and cause not in causes:
            causes.append(cause)
        kinds = {kind.__name__ for cause in causes for kind in type(cause).__mro__}
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        unreachable = {
            "LocalEntryNotFoundError",
            "OfflineModeIsEnabled",
            "ConnectionError",
            "ConnectError",
            "TimeoutException",
        }
        if kinds & unreachable:
            return ResourceError(
                f"the model hub can't be reached for {self.name}",
                where="models.zoo.pretrained",
                fix="check the network (or HF_ENDPOINT), or download the model and give its folder as `name`",
            )
        missing = (RepositoryNotFoundError, RevisionNotFoundError, EntryNotFoundError)
        what = f"the hub has no model {self.name!r}" if any(isinstance(c, missing) for c in causes) else text
        if self._local:
            return ModelError(what, where=str(self._path), fix="mend the folder: copy or download the model again")
        fix = "check `name` and `revision`"
        if "safetensors" in text:
            fix += "; its weights have to be safetensors: pickles (.bin), which can run code, are not loaded"
        return ModelError(what, where="models.zoo.pretrained", fix=fix)


def _nearest(path: Path) -> str:
    """What to name instead of a folder without a model: one in it, or beside it."""
    inside = sorted(file.parent for file in path.glob("*/config.json"))
    beside = {file.parent.name: file.parent for file in path.absolute().parent.glob("*/config.json")}
    near = inside or [beside[name] for name in difflib.get_close_matches(path.name, beside)]
    return f'did you mean "{near[0]}"?' if near else "give a folder that save_pretrained wrote"
