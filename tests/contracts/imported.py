"""What processes of a training's workers have in common, imported once."""

import gc
import importlib
from contextlib import suppress

from orchestrator.processes import large_imports

with large_imports(), suppress(ImportError):  # DeepSpeed is not everywhere
    for module in (
        "transformers.models.gpt2.modeling_gpt2",
        "orchestrator.training.loop",
        "torch.utils.cpp_extension",
        "deepspeed.runtime.zero.muon.muon_optimizer",
    ):
        importlib.import_module(module)
gc.freeze()  # what was imported stays
