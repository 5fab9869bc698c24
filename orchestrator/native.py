"""Kernels of our own, each a C++ file, which the machine's compiler builds once and keeps for later processes."""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from orchestrator.contents import cache_folder
from orchestrator.machine import processor

SWITCH = "MOME_NATIVE"
"""Environment variable: 0 has torch's own operations compute, avx2 has kernels leave AVX-512 alone."""
_HEADER = Path(__file__).with_name("lanes.h")
_FLAGS = ("-O3", "-march=native", "-std=c++17", "-fopenmp", "-shared", "-fPIC", "-Wno-maybe-uninitialized")
log = logging.getLogger("mome.native")


def load(source: Path) -> Any:
    """The functions of a file; None where there is no compiler, another processor, or none are wanted."""
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if os.environ.get(SWITCH) == "0":
        return None
    if compiler is None or not _has_avx2():
        lacking = "C++ compiler" if compiler is None else "AVX2"
        log.info("torch computes in the place of our own kernel %s: this machine has no %s", source.stem, lacking)
        return None
    try:
        return ctypes.CDLL(str(_built(compiler, source)))
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:  # RuntimeError: there is no home
        said = getattr(error, "stderr", None) or str(error)
        log.warning("our own kernel %s can't be built, torch computes instead: %s", source.stem, said.strip()[:500])
        return None


def _has_avx2() -> bool:
    """Whether the processor has the least instructions that a source is written for, see `lanes.h`."""
    try:
        return {"avx2", "fma"} <= set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:
        return False


def _built(compiler: str, source: Path) -> Path:
    """The compiled source, kept for this processor and compiler in the user's cache folder.

    Raises:
        OSError: it can't be kept there, or others could have written it. SubprocessError: it can't be compiled.
    """
    version = subprocess.run([compiler, "--version"], capture_output=True, check=True, timeout=60).stdout
    flags = (*_FLAGS, "-mno-avx512f") if os.environ.get(SWITCH) == "avx2" else _FLAGS
    sources = [path.read_bytes() for path in (_HEADER, *sorted(source.parent.glob("*.h")), source)]
    identity = (*sources, version, processor().encode(), " ".join(flags).encode())
    folder = cache_folder() / "native"
    path = folder / f"{hashlib.sha256(b'|'.join(identity)).hexdigest()[:32]}.so"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=folder) as place:
            new = Path(place) / path.name
            command = [compiler, *flags, f"-I{_HEADER.parent}", str(source), "-o", str(new)]
            subprocess.run(command, capture_output=True, check=True, timeout=600, text=True)
            new.replace(path)  # whoever else builds it has built the same
    for made in (folder, path):
        if (facts := made.stat()).st_uid != os.getuid() or facts.st_mode & 0o022:
            raise OSError(f"others can write to {made}: remove it")
    return path
