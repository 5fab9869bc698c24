"""Source files from public GitHub repositories: codeparrot/github-code-clean (paper section 3.1)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from orchestrator.corpus.document import Document, Lost, refuse
from orchestrator.corpus.reading.fields import field, optional
from orchestrator.corpus.reading.files import files_fingerprint
from orchestrator.corpus.reading.finding import Found, find
from orchestrator.corpus.reading.tables import read_parquet
from orchestrator.corpus.sources._hub import stream
from orchestrator.errors import CorpusError

_REPOSITORY = "codeparrot/github-code-clean"
_COLUMNS = ("code", "repo_name", "path", "language", "license", "size")


@dataclass(frozen=True)
class GithubCode:
    """Files of one programming language under given licences. The files of one repository stay in one split."""

    language: str = "Python"
    """The data set's name of the programming language."""
    licences: tuple[str, ...] = ("mit", "apache-2.0", "bsd-3-clause", "bsd-2-clause", "isc", "unlicense", "cc0-1.0")
    """Licences kept, as the data set writes them; empty: all."""
    revision: str | None = None
    """Commit of the hub repository; null: its newest."""
    located: ClassVar[tuple[str, ...]] = ("path",)

    path: str | None = None
    """Read Parquet files of the same fields from here instead of the hub."""

    def documents(self, language: str, lost: Lost = refuse) -> Iterator[Document]:
        """Files as they are; their length is judged by the recipe's code filter.

        Raises:
            CorpusError: the local files can't be read.
            ResourceError: no hub and no `path`.
        """
        for where, row in self._rows(language, lost):
            if row.get("language") != self.language or (self.licences and row.get("license") not in self.licences):
                continue
            try:
                repository = field(row, "repo_name", where)
                name, code = f"{repository}#{field(row, 'path', where)}", field(row, "code", where)
            except CorpusError as error:
                lost(error)
                continue
            yield Document(name, name, code, "github_code", optional(row, "license"), repository)

    def fingerprint(self, language: str) -> str:
        """The local files, or the hub's revision as given."""
        found = self.found(language)
        if found is not None:
            return files_fingerprint(found.files)
        return f"{_REPOSITORY}/{self.language}@{self.revision or 'main'}"

    def found(self, language: str) -> Found | None:
        """Local Parquet files."""
        return None if self.path is None else find(self.path, language, (".parquet",))

    def _rows(self, language: str, lost: Lost) -> Iterator[tuple[str, dict[str, Any]]]:
        """(place, row)."""
        found = self.found(language)
        if found is not None:
            for file in found.files:
                yield from ((f"{file}, row {number}", row) for number, row in read_parquet(file, _COLUMNS, lost))
            return
        # The repository's loading script no longer runs in `datasets` 4 and newer: its Parquet files are read directly.
        at = f"@{self.revision}" if self.revision else ""
        rows = stream(
            "parquet",
            data_files=f"hf://datasets/{_REPOSITORY}{at}/data/*.parquet",
            split="train",
            local="go online, or download some of the repository's Parquet files and give them as `path`",
        )
        yield from ((f"{_REPOSITORY}, row {number}", row) for number, row in enumerate(rows, start=1))
