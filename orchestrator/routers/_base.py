"""What every plug-in that trains routers is."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol


class RouterPlugin(Protocol):
    """A plug-in of this room.

    Class attributes:
        reads: what `train` is given: "blocks" (sequences of token ids by language), or "corpus" (documents by language,
            and the bytes of each token id).
    """

    reads: ClassVar[str]

    @property
    def classifier(self) -> str:
        """Name of the router to use, of those that `train` gives."""
        ...

    @property
    def train(self) -> Any:
        """A method: routers by their classifiers' names, from what it reads, a seed and a number of threads."""
        ...
