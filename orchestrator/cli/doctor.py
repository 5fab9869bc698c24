"""`mome doctor`: what this machine has, what is missing, and the line that installs it."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import psutil
from rich.table import Table

from orchestrator.cli.consoles import table_console
from orchestrator.routers.text import shipped
from orchestrator.tracking.store import masked

_EXTRAS = {
    "ray": ("clusters, sweeps, serving; without it use --local", "pip install 'mome-orchestrator[cluster]'"),
    "deepspeed": ("training on several workers and with ZeRO", "pip install 'mome-orchestrator[cluster]'"),
    "mlflow": ("experiment tracking", "pip install 'mome-orchestrator[cluster]'"),
    "gguf": ("mome export to llama.cpp", "pip install 'mome-orchestrator[export]'"),
    "ctranslate2": ("mome export to CTranslate2", "pip install 'mome-orchestrator[export]'"),
    "onnxscript": ("mome export to ONNX, and of whole mixtures", "pip install 'mome-orchestrator[export]'"),
    "datasets": ("the wiki40b and github_code sources", "pip install 'mome-orchestrator[data]'"),
}


def examine() -> None:
    """Print what this machine has, a line each."""
    table = Table(title="This machine", title_justify="left")
    for heading in ("what", "found", "for", "to get it"):
        table.add_column(heading, overflow="fold")
    memory = psutil.virtual_memory()
    table.add_row("CPUs", str(os.cpu_count()), "", "")
    table.add_row("memory", f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB free", "", "")
    table.add_row("disk here", f"{shutil.disk_usage(Path.cwd()).free / 2**30:.1f} GiB free", "runs/", "")
    table.add_row(*_gpu())
    for row in _products():
        table.add_row(*row)
    for tool, use in (("g++", "DeepSpeed's CPU operation, compiled at its first use"), ("ninja", "the same")):
        found = shutil.which(tool) or ("as a Python package" if importlib.util.find_spec(tool) else None)
        table.add_row(tool, found or "[red]missing[/red]", use, "" if found else f"install {tool}")
    for package, (use, line) in _EXTRAS.items():
        found = metadata.version(package) if importlib.util.find_spec(package) else None
        table.add_row(package, found or "[yellow]not installed[/yellow]", use, "" if found else line)
    found = "installed" if shipped.installed() else "[yellow]not installed[/yellow]"
    table.add_row(
        "mome-router-text", found, "training the prompt router", "" if shipped.installed() else shipped.INSTALL
    )
    for variable, use in (("RAY_ADDRESS", "the cluster to run on"), ("MLFLOW_TRACKING_URI", "the tracking server")):
        table.add_row(variable, masked(os.environ.get(variable, "not set")), use, "")
    table_console().print(table)


def _gpu() -> tuple[str, str, str, str]:
    import torch

    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        return "GPUs", f"{names} (torch {torch.__version__})", "training", ""
    cuda = torch.version.cuda
    line = "" if cuda else "for a GPU: pip install torch with CUDA (README, Install)"
    return "GPUs", f"none seen by torch {torch.__version__}", "training", line


def _products() -> Iterator[tuple[str, str, str, str]]:
    from orchestrator.products import bf16_gain, fast_bf16, fast_onednn, onednn_gain

    for name, gain, used in (("fp32 by oneDNN", onednn_gain, fast_onednn), ("bf16", bf16_gain, fast_bf16)):
        found = f"{gain():.1f} × the speed of fp32{'' if gain is bf16_gain else ' by MKL'}"
        yield f"{name} on the CPU", f"{found}: {'used' if used() else 'not used'}", "training", ""
