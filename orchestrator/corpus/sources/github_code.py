"""Source files from public GitHub repositories: codeparrot/github-code-clean (paper section 3.1)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from orchestrator.corpus.document import Document
from orchestrator.corpus.sources._files import field, files_fingerprint, find_files, read_parquet
from orchestrator.corpus.sources._hub import stream

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
    path: str | None = None
    """Read Parquet files of the same fields from here instead of the hub."""

    def documents(self, language: str) -> Iterator[Document]:
        """Files as they are; their length is judged by the recipe's code filter.

        Raises:
            CorpusError: the local files can't be read.
            ResourceError: no hub and no `path`.
        """
        for number, row in enumerate(self._rows(language)):
            if row.get("language") != self.language or (self.licences and row.get("license") not in self.licences):
                continue
            where = f"{self.path or _REPOSITORY}, row {number}"
            name = f"{field(row, 'repo_name', where)}#{field(row, 'path', where)}"
            yield Document(name, name, field(row, "code", where), "github_code", str(row.get("license", "")))

    def fingerprint(self, language: str) -> str:
        """The local files, or the hub's revision as given."""
        if self.path is not None:
            return files_fingerprint(find_files(self.path, language, (".parquet",)))
        return f"{_REPOSITORY}/{self.language}@{self.revision or 'main'}"

    def _rows(self, language: str) -> Iterator[dict[str, Any]]:
        if self.path is not None:
            for file in find_files(self.path, language, (".parquet",)):
                yield from read_parquet(file, _COLUMNS)
            return
        # The repository's loading script no longer runs in `datasets` 4 and newer: its Parquet files are read directly.
        at = f"@{self.revision}" if self.revision else ""
        yield from stream(
            "parquet",
            data_files=f"hf://datasets/{_REPOSITORY}{at}/data/*.parquet",
            split="train",
            local="go online, or download some of the repository's Parquet files and give them as `path`",
        )
