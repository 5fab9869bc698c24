#!/usr/bin/env bash
# transformers 5.23: a forward pass that is given neither mask nor cache looks into the positions for packed texts and reads one number
# of the device, before it has asked for its layers. On a GPU the host waits there for all that it has asked for before: passes of
# micro-batches can't be queued. Version 4.57 reads none. Attention of a kind for which no mask is made (`AttentionInterface.register`)
# reads none either, and gives the same states to the last bit.
# Exit code: 0 the behaviour is as described, 1 it is another one, 2 the packages can't be installed.
set -euo pipefail
PYTHON=${PYTHON:-python3}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cat > "$tmp/reads.py" <<'PY'
import sys

import torch
import transformers
from transformers import AttentionInterface, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM
from transformers.integrations.sdpa_attention import sdpa_attention_forward

AttentionInterface.register("without_mask", sdpa_attention_forward)
size = {"vocab_size": 64, "bos_token_id": 0, "eos_token_id": 0}
llama = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "num_key_value_heads": 2}
models = [
    GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=3, n_head=2, **size)),
    LlamaForCausalLM(LlamaConfig(**llama, **size)),
]
ids = torch.arange(24).view(2, 12)


def passed(model):
    with torch.no_grad(), torch.profiler.profile() as found:
        states = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
    return states, sum(event.count for event in found.key_averages() if event.key == "aten::_local_scalar_dense")


expected, as_described = int(sys.argv[1]), True
for model in models:
    model.eval().set_attn_implementation("sdpa")
    states, reads = passed(model)
    model.set_attn_implementation("without_mask")
    same, reads_without = passed(model)
    equal = torch.equal(states, same)
    print(f"transformers {transformers.__version__}, {model.config.model_type}: numbers read of the device in a pass: "
          f"{reads}; without a mask's making {reads_without}, equal states: {equal}")
    as_described &= (reads, reads_without, equal) == (expected, 0, True)
sys.exit(0 if as_described else 1)
PY
code=0
for pair in 4.57.6=0 5.23.0=1; do
  "$PYTHON" -m venv "$tmp/${pair%=*}"
  "$tmp/${pair%=*}/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6 "transformers==${pair%=*}" || exit 2
  "$tmp/${pair%=*}/bin/python" "$tmp/reads.py" "${pair#*=}" || code=1
done
[ "$code" = 0 ] && echo "as described" || echo "the behaviour has changed"
exit "$code"
