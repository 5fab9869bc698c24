#!/usr/bin/env bash
# torch.optim.Muon (2.13) orthogonalises in bf16 whatever its gradients are in. On processors with AVX2 and without AVX-512 torch
# multiplies bf16 matrices on the CPU in a plain loop: ten and more times slower than the same products in fp32, and most of a training
# step. A processor with AVX-512 does not show it.
# Exit code: 0 the behaviour is as described, 1 it is another one, 2 the packages can't be installed or the processor has AVX-512.
set -euo pipefail
PYTHON=${PYTHON:-python3}
if grep -qm1 avx512f /proc/cpuinfo; then echo "this processor has AVX-512" && exit 2; fi
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"$PYTHON" -m venv "$tmp/venv"
"$tmp/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6 || exit 2
"$tmp/venv/bin/python" - <<'PY'
import sys
import time

import torch

torch.set_num_threads(1)


def seconds(work):
    taken = []
    for _ in range(5):
        started = time.process_time()
        work()
        taken.append(time.process_time() - started)
    return min(taken)


weight = torch.nn.Parameter(torch.randn(256, 1024))
weight.grad = torch.randn(256, 1024)
muon = torch.optim.Muon([weight], lr=0.01)
step = seconds(muon.step)
gradient = torch.randn(256, 1024)
update = torch.randn(256, 256)


def as_many_products():
    for _ in range(5):
        gram = gradient @ gradient.T
        torch.addmm(gram, gram, gram)
        torch.addmm(gradient, update, gradient)


fp32 = seconds(as_many_products)
ratio = step / fp32
print(f"torch {torch.__version__}: a step of Muon on 256 x 1024 took {step:.3f} CPU s, its products in fp32 {fp32:.4f} CPU s: {ratio:.0f} x")
as_described = ratio > 5
print("as described" if as_described else "the behaviour has changed")
sys.exit(0 if as_described else 1)
PY
