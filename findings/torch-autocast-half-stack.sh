#!/usr/bin/env bash
# Inside of autocast to bf16 on the CPU, torch.stack and torch.cat refuse tensors in fp16 with a RuntimeError. Outside of it they join
# them, and inside of it they join bf16 and fp32. Nothing is multiplied: who only reads fp16 there has to leave autocast for it.
# Exit code: 0 the behaviour is as described, 1 it is another one, 2 the packages can't be installed.
set -euo pipefail
PYTHON=${PYTHON:-python3}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"$PYTHON" -m venv "$tmp/venv"
"$tmp/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6 || exit 2
"$tmp/venv/bin/python" - <<'PY'
import sys

import torch

halves = [torch.ones(3, dtype=torch.float16), torch.zeros(3, dtype=torch.float16)]


def outcome(join, kind):
    try:
        return str(join([part.to(kind) for part in halves]).dtype)
    except RuntimeError as error:
        return str(error).splitlines()[0]


as_described = True
for join in (torch.stack, torch.cat):
    outside = outcome(join, torch.float16)
    with torch.autocast("cpu", torch.bfloat16):
        inside, *others = (outcome(join, kind) for kind in (torch.float16, torch.bfloat16, torch.float32))
    print(f"torch {torch.__version__}, {join.__name__} of fp16: outside {outside}; inside: {inside}; bf16, fp32: {others}")
    expected = outside == "torch.float16" and others == ["torch.bfloat16", "torch.float32"]
    as_described &= expected and "Unexpected floating ScalarType" in inside
print("as described" if as_described else "the behaviour has changed")
sys.exit(0 if as_described else 1)
PY
