"""How many parameters an architecture has, counted once on a machine: importing what builds it takes seconds."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

from orchestrator import plugins
from orchestrator.artifacts import digest
from orchestrator.config.base import PluginSpec, build
from orchestrator.config.identity import identity
from orchestrator.disk import known_digest
from orchestrator.errors import ModelError
from orchestrator.machine import recall, remember
from orchestrator.models.build import build_model
from orchestrator.models.heads import head
from orchestrator.models.layers import layers_of

NAME = "counts"
"""Under which :mod:`orchestrator.machine` keeps the counts."""
MOST = 200
"""Counts to keep, the newest."""


@dataclass(frozen=True)
class Counts:
    """Of an architecture.

    Attributes:
        parameters: all, tied ones once.
        head: of the head alone.
        width: of hidden states.
        layer: parameters of the largest layer; 0: not known.
    """

    parameters: int
    head: int
    width: int
    layer: int = 0


def counts(spec: PluginSpec, vocab_size: int, context: int) -> Counts:
    """Counts of a model, without allocating it, and without building it where that was done before.

    Args:
        spec: architecture, as a recipe names it.
        vocab_size: rows of the embedding.
        context: in tokens.

    Raises:
        ModelError: the model does not exist or does not fit the vocabulary or context.
        ResourceError: a pretrained model can't be fetched.
    """
    if not build("models.zoo", spec).plain_head:  # weights that lie elsewhere may change
        return _counted(spec, vocab_size, context)
    key, known = key_of(spec, vocab_size, context), dict(recall(NAME) or {})
    if key not in known:
        known = {**dict(list(known.items())[1 - MOST :]), key: asdict(_counted(spec, vocab_size, context))}
        remember(NAME, known)
    return Counts(**known[key])


def parameter_count(spec: PluginSpec, vocab_size: int, context: int) -> int:
    """Parameters of a model, tied ones counted once; see :func:`counts`."""
    return counts(spec, vocab_size, context).parameters


def _counted(spec: PluginSpec, vocab_size: int, context: int) -> Counts:
    model = build_model(spec, vocab_size, context, 0, "meta")
    weight = head(model).weight
    try:
        layer = max((sum(p.numel() for p in layer.parameters()) for layer in layers_of(model)), default=0)
    except ModelError:  # it has no list of them
        layer = 0
    return Counts(sum(p.numel() for p in model.parameters()), weight.numel(), weight.shape[1], layer)


def key_of(spec: PluginSpec, vocab_size: int, context: int) -> str:
    """What shapes depend on: the architecture, the code that describes it, and transformers, which builds it."""
    modules = plugins.sources_of(plugins.find("models.zoo", spec.type))
    code = [known_digest(Path(str(sys.modules[name].__file__))) for name in modules]
    return digest([identity(spec), vocab_size, context, code, _transformers()])[:16]


@cache
def _transformers() -> str:
    return metadata.version("transformers")
