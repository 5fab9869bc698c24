"""The site: pages, the reference from the code, notebooks: `python docs/build.py [--serve]`. `make docs` calls it.

Pages are collected in build/docs, so that nothing that is generated lies among what is written by hand.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import notebooks
import reference

ROOT = Path(__file__).resolve().parents[1]
DOCS, PAGES = ROOT / "docs", ROOT / "build/docs"
BESIDE = {
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "findings/README.md": "findings.md",
}
"""Documents outside docs/ that the site has too, below project/."""


def collect() -> None:
    """Every page into build/docs."""
    shutil.rmtree(PAGES, ignore_errors=True)
    for file in sorted(path for path in DOCS.rglob("*") if path.suffix in {".md", ".svg"}):
        write(PAGES / file.relative_to(DOCS), file.read_text(encoding="utf-8"))
    for source, name in BESIDE.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        write(PAGES / "project" / name, re.sub(r"\]\((\.\./)*docs/", "](../", text))
    for name, text in reference.pages().items():
        write(PAGES / "reference" / name, text)
    for name, text in notebooks.pages(DOCS / "notebooks").items():
        write(PAGES / "notebooks" / name, text)


def write(file: Path, text: str) -> None:
    """A page, with its folder."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def main() -> int:
    """Collect and build; the exit code of the builder, which stops at the first broken link."""
    collect()
    command = ["serve"] if "--serve" in sys.argv[1:] else ["build", "--clean", "--strict"]
    return subprocess.run([Path(sys.executable).with_name("zensical"), *command], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
