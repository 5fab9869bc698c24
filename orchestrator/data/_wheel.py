"""How the wheel is built: articles that are readable in a clone are compressed in the wheel."""

from __future__ import annotations

import bz2
from pathlib import Path

from setuptools.command.build_py import build_py  # type: ignore[import-untyped]


class PackedData(build_py):  # type: ignore[misc]
    """`setuptools`' copying of the package, and `.jsonl.bz2` in the place of each `.jsonl`."""

    def run(self) -> None:
        """Copy, then compress the copies; an editable installation copies nothing."""
        super().run()
        for path in Path(self.build_lib, "orchestrator", "data").rglob("*.jsonl"):
            path.with_suffix(".jsonl.bz2").write_bytes(bz2.compress(path.read_bytes()))
            path.unlink()
