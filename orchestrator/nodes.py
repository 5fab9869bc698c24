"""The machines of a cluster as a plan sees them, whether it runs or is only described."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Node:
    """What Ray counts of a machine.

    Attributes:
        cpus, gpus: to be given to workers.
        memory: in bytes; 0: not known.
        kind: name of its type in a description; "": of none.
    """

    cpus: float
    gpus: float = 0.0
    memory: int = 0
    kind: str = ""

    @property
    def works(self) -> bool:
        """Whether it is given any work: a head often is not."""
        return self.cpus > 0 or self.gpus > 0

    def places(self, cpus: float, gpus: float) -> int:
        """Workers of so many CPUs and GPUs that find a place on it at the same time."""
        wanted = [(have, need) for have, need in ((self.cpus, cpus), (self.gpus, gpus)) if need > 0]
        return int(min((have / need + 1e-6 for have, need in wanted), default=0))


@dataclass(frozen=True)
class Cluster:
    """The nodes that do work.

    Attributes:
        nodes: those that work, in the order in which they are filled.
        source: where that is known from: an address, a file.
    """

    nodes: tuple[Node, ...]
    source: str

    @property
    def cpus(self) -> float:
        """Of all nodes."""
        return sum(node.cpus for node in self.nodes)

    @property
    def gpus(self) -> float:
        """Of all nodes."""
        return sum(node.gpus for node in self.nodes)

    def places(self, cpus: float, gpus: float) -> int:
        """Workers of so many CPUs and GPUs that find a place at the same time."""
        return sum(node.places(cpus, gpus) for node in self.nodes)

    def filled(self, workers: int, cpus: float, gpus: float) -> tuple[Node, ...]:
        """The first nodes that so many workers fill."""
        used = []
        for node in self.nodes:
            if workers > 0 and (places := node.places(cpus, gpus)):
                used.append(node)
                workers -= places
        return tuple(used)

    def __str__(self) -> str:
        return shapes(self.nodes)


def shapes(nodes: Sequence[Node]) -> str:
    """Nodes in words: "2 nodes: 2 x (48 CPUs, 4 GPUs)"."""
    counted = Counter((node.cpus, node.gpus) for node in nodes)
    each = [f"{count} x ({_shape(*shape)})" for shape, count in counted.items()]
    return f"{_many(len(nodes), 'node')}: {', '.join(each)}" if nodes else "no nodes"


def _shape(cpus: float, gpus: float) -> str:
    return ", ".join(_many(count, kind) for count, kind in ((cpus, "CPU"), (gpus, "GPU")) if count)


def _many(count: float, word: str) -> str:
    return f"{count:g} {word}{'s' * (count != 1)}"
