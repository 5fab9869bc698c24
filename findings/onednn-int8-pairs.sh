#!/usr/bin/env bash
# torch's product of unsigned eight-bit states with signed eight-bit weights (`torch.ops.onednn.qlinear_pointwise`) adds two products in
# 16 bits on processors without instructions for it (VNNI), and cuts off what does not fit: no error, no warning, another result. States
# of seven bits are always right. oneDNN is told here to use AVX2 only, so that any x86-64 processor with AVX2 shows it.
# Exit code: 0 the behaviour is as described, 1 it is another one, 2 the packages can't be installed.
set -euo pipefail
PYTHON=${PYTHON:-python3}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"$PYTHON" -m venv "$tmp/venv"
"$tmp/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6 || exit 2
ONEDNN_MAX_CPU_ISA=AVX2 "$tmp/venv/bin/python" - <<'PY'
import sys

import torch

SIZE = 64
ones, zeros = torch.ones(SIZE), torch.zeros(SIZE, dtype=torch.int64)
weight = torch.ops.onednn.qlinear_prepack(torch.full((SIZE, SIZE), 127, dtype=torch.int8), None)


def product(state):
    states = torch.full((1, SIZE), state, dtype=torch.uint8)
    found = torch.ops.onednn.qlinear_pointwise(
        states, 1.0, 0, weight, ones, zeros, None, 1.0, 0, torch.float32, "none", [], ""
    )
    return float(found[0, 0]), float(SIZE * state * 127)


seven, eight = product(127), product(255)
print(f"torch {torch.__version__}: 64 products of 127 and 127: {seven[0]:.0f} (exact {seven[1]:.0f}); "
      f"of 255 and 127: {eight[0]:.0f} (exact {eight[1]:.0f})")
as_described = seven[0] == seven[1] and eight[0] == SIZE // 2 * (2**15 - 1)
print("as described" if as_described else "the behaviour has changed")
sys.exit(0 if as_described else 1)
PY
