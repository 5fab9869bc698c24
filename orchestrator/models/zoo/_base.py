"""What every architecture of the zoo is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from orchestrator.tokens.special import OURS

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Count = Annotated[int, Field(ge=1)]
Probability = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True)
class Architecture(ABC):
    """A causal language model by its options; vocabulary and context come from the data."""

    plain_head: ClassVar[bool] = True
    """Whether its logits are known to be the head applied to the hidden states; otherwise it is checked when built."""

    @abstractmethod
    def configuration(self, vocab_size: int, context: int) -> Any:
        """The transformers configuration for a vocabulary and a context in tokens.

        Raises:
            ModelError: the architecture can't have that vocabulary or context.
        """

    def build(self, vocab_size: int, context: int) -> PreTrainedModel:
        """A model in fp32 with fresh weights from torch's global generator, on the current default device.

        Raises:
            ModelError: see :meth:`configuration`.
        """
        from transformers import AutoModelForCausalLM

        config = self.configuration(vocab_size, context)
        return AutoModelForCausalLM.from_config(config, attn_implementation=attention(config))


def attention(config: Any) -> str:
    """How transformers is to compute attention: "sdpa", torch's own, or "eager" where the family has no other.

    Args:
        config: of a causal language model.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    model = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    return "sdpa" if getattr(model, "_supports_sdpa", True) else "eager"


def with_positions(config: Any, context: int) -> Any:
    """A configuration that says how many tokens its model reads, which serving and exports ask of it.

    Models without learned or rotated positions (BLOOM and MPT, by ALiBi) don't say it under that name.

    Args:
        config: of transformers; changed in place.
        context: tokens that it is trained with here.
    """
    if getattr(config.get_text_config(), "max_position_embeddings", None) is None:
        config.max_position_embeddings = context
    return config


def special_ids() -> dict[str, int | None]:
    """Special tokens for a configuration: those of tokenizers that are trained here; the run's are put in when a model
    is saved beside its tokenizer.

    The padding id stays out on purpose: Mistral, Phi and others hand it to ``nn.Embedding`` as `padding_idx`, which
    would zero the embedding of ``</s>`` and keep it from learning. The generation configuration has it.
    """
    return {"bos_token_id": OURS.bos, "eos_token_id": OURS.eos[0], "pad_token_id": None}


def check_heads(width: int, heads: int, kv_heads: int | None = None) -> None:
    """Attention heads must divide the width, key-value heads the heads.

    Raises:
        ValueError: they don't; the recipe's reader turns it into an error that names the line.
    """
    if width % heads:
        near = [h for h in range(1, width + 1) if width % h == 0]
        best = min(near, key=lambda h: abs(h - heads))
        raise ValueError(f"{heads} heads don't divide a width of {width}; {best} would")
    if kv_heads is not None and heads % kv_heads:
        raise ValueError(f"{kv_heads} key-value heads don't divide {heads} heads")


def check_complete(report: Mapping[str, Any]) -> None:
    """Every weight was in the file: transformers fills gaps with random ones and goes on.

    Args:
        report: what `from_pretrained` gives with `output_loading_info`.

    Raises:
        ValueError: a weight was missing, or had another shape.
    """
    for kind in ("missing_keys", "mismatched_keys"):
        if names := sorted(str(name) for name in report.get(kind, ())):
            raise ValueError(f"{len(names)} {kind.split('_')[0]} weights, the first is {names[0]}")


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' progress bars and loading reports: ours say what happens."""
    from transformers.utils import logging

    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
