"""The presets of the zoo in one table: names for architectures of given sizes.

A preset is an architecture with other defaults; a recipe may set each of its options. An option without a column has
the default of the architecture. The texts count parameters, with 32,000 tokens unless they say otherwise, and name
the source of the figures.
"""

from __future__ import annotations

from dataclasses import make_dataclass

from orchestrator.models.zoo._base import Architecture, Count
from orchestrator.models.zoo.gpt2 import GPT2
from orchestrator.models.zoo.mistral import Mistral
from orchestrator.models.zoo.phi import Phi

_OPTIONS = ("layers", "width", "heads", "kv_heads", "feed_forward")
_TABLE: dict[str, tuple[type[Architecture], tuple[int, ...], str]] = {
    "gpt2_nano": (GPT2, (2, 32, 2), "The smallest GPT-2, for tests: 44k with 512 tokens and a context of 64."),
    "gpt2_tiny_expert": (GPT2, (2, 128, 4), "The quickstart's expert: 0.9M with 4,096 tokens."),
    "gpt2_tiny_teacher": (GPT2, (4, 192, 6), "The quickstart's teacher: 2.6M with 4,096 tokens."),
    "gpt2_small": (GPT2, (12, 768, 12), "GPT-2 Small: 110M (paper, Table 2)."),
    "gpt2_medium": (GPT2, (24, 1024, 16), "GPT-2 Medium, the paper's teacher: 340M (paper, Table 2)."),
    "distil_gpt2": (
        GPT2,
        (6, 768, 12),
        "The paper's student: 82M with GPT-2's 50,257 tokens (paper, Table 2), or 68M.",
    ),
    "moe_student": (GPT2, (3, 768, 6), "The student of the paper's mixtures: 47M, as the released script has it."),
    "mistral_440m": (
        *(Mistral, (24, 1024, 16, 8, 4096)),
        "A candidate of the paper for the teacher: 443M. The paper gives the size only (figure 2, Mistral GPT-M 440M); "
        "the shape is GPT-2 Medium's, and the 8 key-value heads are ours.",
    ),
    "mistral_1_6b": (
        *(Mistral, (24, 2048, 32, 8, 8192)),
        "A candidate of the paper for the teacher: 1.59B. The paper gives size and origin only (Table 2: Phi1.5, "
        "custom); the shape is Phi-1.5's, and the 8 key-value heads are ours.",
    ),
    "phi_1_34b": (
        *(Phi, (24, 2048, 32)),
        "A candidate of the paper for the teacher, Phi-1.5: 1.34B (paper, Table 2), with a feed-forward of 8192.",
    ),
}


def _preset(name: str, base: type[Architecture], sizes: tuple[int, ...], doc: str) -> type[Architecture]:
    options = [(option, Count, size) for option, size in zip(_OPTIONS, sizes, strict=False)]
    about = {"__doc__": doc, "__module__": __name__}
    preset: type[Architecture] = make_dataclass(name, options, bases=(base,), namespace=about, frozen=True)
    return preset


PRESETS: dict[str, type[Architecture]] = {name: _preset(name, *row) for name, row in _TABLE.items()}
globals().update(PRESETS)  # pickle finds a class by the name that its module has for it
