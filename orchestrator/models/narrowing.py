"""Students that begin as the larger part of a wider teacher.

The residual stream is turned so that the teacher's embeddings lie along its first directions as far as they can, and
the student has the first of these (SliceGPT, arXiv:2401.15024, turns it by what flows in it). Of the attention heads
and the feed-forward's neurons it has those with the largest weights (Minitron, arXiv:2407.14679, measures what they
say).
A norm's gain goes into the products that read it. A layer norm takes the mean away: one direction less carries
something, and the turned stream has no mean either. So a turn alone changes nothing that a model says.

Shapes: D the teacher's width, d the student's, V tokens, H heads of E numbers, F neurons.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from orchestrator.errors import ModelError

_WHERE = "experts.initialise: teacher"
_SAME_WIDTH = "give it the teacher's width, or set experts.initialise: random"


@dataclass(frozen=True)
class _Family:
    """Names in a family of models.

    Attributes:
        embedding, norm: of the whole model; the norm is the last one.
        positions: a table of positions; "": there is none.
        norms: of a layer, with the products that read each.
        heads: products that make queries, keys and values; one name: it makes all three.
        attended, neurons, fed: the products after the heads, before the neurons, and after them.
    """

    embedding: str
    norm: str
    norms: Mapping[str, tuple[str, ...]]
    heads: tuple[str, ...]
    attended: str
    neurons: tuple[str, ...]
    fed: str
    positions: str = ""


_QKV = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
_GATED = ("mlp.gate_proj", "mlp.up_proj")
_LLAMA = _Family(
    embedding="model.embed_tokens",
    norm="model.norm",
    norms={"input_layernorm": _QKV, "post_attention_layernorm": _GATED},
    heads=_QKV,
    attended="self_attn.o_proj",
    neurons=_GATED,
    fed="mlp.down_proj",
)
_FAMILIES = {
    "gpt2": _Family(
        embedding="transformer.wte",
        positions="transformer.wpe",
        norm="transformer.ln_f",
        norms={"ln_1": ("attn.c_attn",), "ln_2": ("mlp.c_fc",)},
        heads=("attn.c_attn",),
        attended="attn.c_proj",
        neurons=("mlp.c_fc",),
        fed="mlp.c_proj",
    ),
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3"), _LLAMA),
    "phi": _Family(
        embedding="model.embed_tokens",
        norm="model.final_layernorm",
        norms={"input_layernorm": (*_QKV, "mlp.fc1")},
        heads=_QKV,
        attended="self_attn.dense",
        neurons=("mlp.fc1",),
        fed="mlp.fc2",
    ),
}


def narrow(student: Any, teacher: Any, layers: Mapping[nn.Module, nn.Module]) -> None:
    """Give a student the larger part of its teacher's weights.

    Args:
        student: overwritten.
        teacher: of the same architecture, wider; left alone.
        layers: of the student, each with the teacher's that it begins as.

    Raises:
        ModelError: the architecture is none that can be narrowed, or the shapes of heads differ.
    """
    family = check_narrower(student, teacher)
    with torch.no_grad():
        _Narrowing(family, student, teacher).run(layers)


def check_narrower(student: Any, teacher: Any) -> _Family:
    """Make sure that a student can have the larger part of a wider teacher; what their family is.

    Raises:
        ModelError: see :func:`narrow`.
    """
    family = _FAMILIES.get(teacher.config.model_type)
    if family is None:
        known, kind = ", ".join(sorted(_FAMILIES)), teacher.config.model_type
        what = f"a student that is narrower than its teacher can begin as a part of {known}, not of {kind}"
        raise ModelError(what, _WHERE, _SAME_WIDTH)
    _check(student.config, teacher.config)
    return family


def _check(student: Any, teacher: Any) -> None:
    if student.hidden_size > teacher.hidden_size:
        what = f"the student's width of {student.hidden_size} is more than its teacher's {teacher.hidden_size}"
        raise ModelError(what, _WHERE, _SAME_WIDTH)
    ours, theirs = _head_size(student), _head_size(teacher)
    if ours != theirs:
        fitting = f"heads={student.hidden_size // theirs} of {theirs} for a width of {student.hidden_size}"
        what = f"the student's heads have {ours} numbers each, its teacher's {theirs}"
        raise ModelError(what, _WHERE, f"give the student heads of the same size ({fitting}), or {_SAME_WIDTH}")
    (groups, each), (theirs, theirs_each) = _groups(student), _groups(teacher)
    if groups > theirs or each > theirs_each:
        what = (
            f"the student has {groups} key-value heads with {each} heads each, its teacher {theirs} with {theirs_each}"
        )
        raise ModelError(what, _WHERE, "give the student no more of them than its teacher has")


def _head_size(config: Any) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def _groups(config: Any) -> tuple[int, int]:
    """Key-value heads, and the heads that share one."""
    groups = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    return groups, config.num_attention_heads // groups


class _Narrowing:
    def __init__(self, family: _Family, student: Any, teacher: Any) -> None:
        self._family, self._student, self._teacher = family, student, teacher
        last = teacher.get_submodule(family.norm)
        directions = _centred_directions if getattr(last, "bias", None) is not None else _directions
        self._turn = directions(teacher.get_submodule(family.embedding).weight, student.config.hidden_size)
        # A norm divides by the mean square over d numbers in the place of D.
        self._scale = math.sqrt(self._turn.shape[0] / self._turn.shape[1])
        self._size = _head_size(teacher.config)

    def run(self, layers: Mapping[nn.Module, nn.Module]) -> None:
        family, ours, theirs = self._family, self._student, self._teacher
        for name in filter(None, (family.embedding, family.positions)):
            table = ours.get_submodule(name).weight
            table.copy_(theirs.get_submodule(name).weight[: len(table)] @ self._turn)
        self._last_norm()
        for layer, source in layers.items():
            self._layer(layer, source)

    def _last_norm(self) -> None:
        """The last norm and the head. Its gain goes into a head that is not the embedding, else its mean stays."""
        ours, theirs = self._student, self._teacher
        head, source = ours.get_output_embeddings(), theirs.get_output_embeddings()
        norm, old = ours.get_submodule(self._family.norm), theirs.get_submodule(self._family.norm)
        gain = float(old.weight.mean()) * self._scale
        tied = head.weight is ours.get_submodule(self._family.embedding).weight
        norm.weight.fill_(gain if tied else 1.0)
        if getattr(norm, "bias", None) is not None:
            norm.bias.copy_(old.bias @ self._turn / (1.0 if tied else gain))
        if not tied:
            head.weight.copy_((source.weight * old.weight) @ self._turn * self._scale)
        if getattr(head, "bias", None) is not None:
            head.bias.copy_(source.bias)

    def _layer(self, ours: Any, theirs: Any) -> None:
        family, kept = self._family, self._heads_and_neurons(theirs)
        _copy_equal(ours, theirs)  # what is of one head, as norms of queries
        for name, readers in family.norms.items():
            norm, old = ours.get_submodule(name), theirs.get_submodule(name)
            norm.weight.fill_(1.0)
            if getattr(norm, "bias", None) is not None:
                norm.bias.zero_()
            for reader in readers:
                self._read(_Product(ours, reader), _Product(theirs, reader), old, kept[reader])
        for name in (family.attended, family.fed):
            target, source = _Product(ours, name), _Product(theirs, name)
            target.set(
                self._turn.T @ source.weight[:, kept[name]], None if source.bias is None else source.bias @ self._turn
            )

    def _read(self, target: _Product, source: _Product, norm: Any, rows: Tensor) -> None:
        weight, bias = source.weight[rows], source.bias
        shift = getattr(norm, "bias", None)
        if bias is not None:
            bias = bias[rows] if shift is None else bias[rows] + weight @ shift
        target.set((weight * norm.weight) @ self._turn * self._scale, bias)

    def _heads_and_neurons(self, layer: nn.Module) -> dict[str, Tensor]:
        """Of each product of a layer, the rows (before) or columns (after) that the student has."""
        family = self._family
        (groups, each), (theirs, theirs_each) = _groups(self._student.config), _groups(self._teacher.config)
        after, parts = _Product(layer, family.attended).weight, self._made(layer)
        said = parts[2].square().sum((1, 2)).repeat_interleave(theirs_each) * self._cut(after.T).square().sum((1, 2))
        by_group = said.view(theirs, theirs_each)
        group = _largest(by_group.sum(1), groups)
        heads = torch.cat([g * theirs_each + _largest(by_group[g], each) for g in group])
        rows = [self._numbers(heads), self._numbers(group), self._numbers(group)]
        if len(family.heads) == 1:  # of one product, one after the other
            rows = [torch.cat([part * len(after.T) + of for part, of in enumerate(rows)])]
        inner = [_Product(layer, name).weight for name in family.neurons]
        fed = _Product(layer, family.fed).weight
        told = fed.norm(dim=0) * torch.stack([weight.norm(dim=1) for weight in inner]).prod(0)
        neurons = _largest(told, _neurons(self._student, family))
        kept = {**dict(zip(family.heads, rows, strict=True)), **dict.fromkeys(family.neurons, neurons)}
        return {**kept, family.attended: self._numbers(heads), family.fed: neurons}

    def _made(self, layer: nn.Module) -> list[Tensor]:
        """What makes queries, keys and values, each [H, E, D]."""
        weights = [_Product(layer, name).weight for name in self._family.heads]
        parts = weights[0].chunk(3) if len(weights) == 1 else weights
        return [self._cut(part) for part in parts]

    def _cut(self, weight: Tensor) -> Tensor:
        return weight.reshape(-1, self._size, weight.shape[1])

    def _numbers(self, heads: Tensor) -> Tensor:
        """Rows of some heads."""
        return (heads[:, None] * self._size + torch.arange(self._size)).flatten()


class _Product:
    """A layer that multiplies; its weight as [outputs, inputs], which GPT-2's Conv1D has the other way round."""

    def __init__(self, layer: nn.Module, name: str) -> None:
        module: Any = layer.get_submodule(name)
        weight: Tensor = module.weight
        self.weight = weight if isinstance(module, nn.Linear) else weight.T
        self.bias: Tensor | None = module.bias

    def set(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight.copy_(weight)
        if self.bias is not None:
            self.bias.zero_() if bias is None else self.bias.copy_(bias)


def _directions(embedding: Tensor, width: int) -> Tensor:
    """The first principal directions [D, d] of embeddings [V, D]; of two opposite ones that with the larger number."""
    exact = embedding.detach().double()
    directions: Tensor = torch.linalg.eigh(exact.T @ exact).eigenvectors.flip(1)[:, :width]
    largest = directions.gather(0, directions.abs().argmax(0, keepdim=True))
    return (directions * largest.sign()).to(embedding.dtype)


def _centred_directions(embedding: Tensor, width: int) -> Tensor:
    """Of embeddings without their means: d − 1 directions, as coordinates [D, d] whose mean is zero."""
    from scipy.linalg import helmert

    found = _directions(embedding - embedding.mean(1, keepdim=True), width - 1)
    return found @ torch.from_numpy(helmert(width)).to(found)


def _largest(values: Tensor, count: int) -> Tensor:
    return values.topk(count).indices.sort().values


def _neurons(student: nn.Module, family: _Family) -> int:
    (name,) = {name for name, _ in student.named_modules() if name.endswith(f".0.{family.fed}")}
    return int(_Product(student, name).weight.shape[1])


def _copy_equal(ours: nn.Module, theirs: nn.Module) -> None:
    given = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        if parameter.shape == given[name].shape:
            parameter.copy_(given[name])
