"""A source of text."""

import ast
import platform
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.corpus.document import Document, Lost, Source, refuse


@dataclass(frozen=True)
class Docstrings(Source):
    """What the modules of Python's standard library say of themselves, as English text."""

    characters: int = 150
    """Characters of a docstring, at least; shorter ones are left out."""

    def documents(self, language: str, lost: Lost = refuse) -> Iterator[Document]:
        """A document a module, by name."""
        for file in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
            text = ast.get_docstring(ast.parse(file.read_bytes())) or ""
            if len(text) >= self.characters:
                yield Document(file.stem, file.stem, text, "mome_example.sources:Docstrings", "PSF-2.0")

    def fingerprint(self, language: str) -> str:
        """The version of Python, which the library comes with."""
        return platform.python_version()
