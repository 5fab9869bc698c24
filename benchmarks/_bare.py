"""The baseline of `mome bench train`: a training loop as one would write it in plain torch and transformers.

Usage: python -m benchmarks._bare BLOCKS PRECISION DEVICE STEPS BATCH THREADS; prints the seconds of each step as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch

from orchestrator.config.base import PluginSpec
from orchestrator.models.build import build_model
from orchestrator.tokens.blocks import TokenBlocks


def main(folder: str, precision: str, device: str, steps: int, batch: int, threads: int) -> None:
    """Train the tiny teacher in fp32 or bf16 on blocks in order and print how long each step took."""
    torch.set_num_threads(threads)
    blocks = TokenBlocks.open(Path(folder), "train")
    model = build_model(PluginSpec(type="gpt2_tiny_teacher"), blocks.vocab_size, blocks.context, seed=0, device=device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05, fused=True)
    ids = torch.stack(
        [
            torch.from_numpy(blocks.block(blocks.languages[0], i).astype("int64"))
            for i in range(min(64, blocks.count(blocks.languages[0])))
        ]
    )
    seconds = []
    for step in range(steps):
        start = time.perf_counter()
        rows = ids[torch.arange(step * batch, (step + 1) * batch) % len(ids)].to(device)
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
            logits = model(input_ids=rows[:, :-1], use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), rows[:, 1:].flatten())
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()
        seconds.append(time.perf_counter() - start)
    print(json.dumps(seconds))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], *map(int, sys.argv[4:7]))
