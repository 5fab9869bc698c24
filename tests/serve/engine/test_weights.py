"""Products in every precision: how exact they are, and that a row's does not depend on the rows beside it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from orchestrator.errors import ServingError
from serve.engine import Engine, EngineOptions
from serve.engine.native import SWITCH, library
from serve.engine.weights import int8, native, onednn, pack_for, plain
from serve.messages import GenerationRequest, Sampling

CLOSE = {"fp32": 1e-5, "bf16": 2e-2, "int8": 2.5e-2}
SHAPES = [(64, 32), (50, 37), (384, 128), (128, 512), (1500, 768)]


@pytest.fixture(autouse=True, params=["native", "avx2", "torch"])
def _ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every test with our own kernel, with that of a processor without AVX-512, and as where none can be built."""
    if request.param != "native":
        monkeypatch.setenv(SWITCH, {"avx2": "avx2", "torch": "0"}[request.param])
    library.cache_clear()
    yield
    library.cache_clear()


@pytest.mark.parametrize("precision", CLOSE)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("activation", ["", "gelu_tanh"])
@torch.inference_mode()
def test_products_are_close_to_exact_ones(precision: str, shape: tuple[int, int], activation: str) -> None:
    draw = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(shape, generator=draw), torch.randn(shape[0], generator=draw)
    for rows in (1, 3, 8):
        states = torch.randn(rows, shape[1], generator=draw)
        for some in (bias, None):
            wanted = plain.activated(torch.nn.functional.linear(states, weight, some), activation)
            found = pack_for(precision)(weight, some, activation)(states)
            assert found.dtype == torch.float32
            assert (found - wanted).norm() <= CLOSE[precision] * wanted.norm()


@pytest.mark.parametrize("precision", CLOSE)
@pytest.mark.parametrize("threads", [1, 2])
@torch.inference_mode()
def test_our_kernel_gives_a_row_the_same_to_the_last_bit_whatever_is_beside_it(precision: str, threads: int) -> None:
    weight, states = torch.randn(1500, 768), torch.randn(70, 768)
    pack = native.pack_for(precision, "cpu")
    if pack is None:
        pytest.skip(f"no kernel for {precision}")
    product, before = pack(weight, torch.randn(1500)), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        whole = product(states)
        for rows in (1, 2, 3, 7, 8, 16, 33):
            assert torch.equal(product(states[:rows]), whole[:rows])
    finally:
        torch.set_num_threads(before)


def test_a_kernel_that_others_could_have_written_is_not_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "mome" / "native"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv(SWITCH, "1")
    assert native.pack_for("int8", "cpu") is None
    assert "others can write" in caplog.text or shutil.which("g++") is None


@torch.inference_mode()
def test_in_int8_a_row_is_the_same_to_the_last_bit_whatever_is_beside_it() -> None:
    weight, bias, states = torch.randn(384, 128), torch.randn(384), torch.randn(8, 128)
    states[3] *= 1000
    states[4] = 0
    product = pack_for("int8")(weight, bias)
    whole = product(states)
    assert torch.equal(whole[4], bias)
    for row in range(8):
        assert torch.equal(product(states[row : row + 1])[0], whole[row])


@pytest.mark.parametrize("threads", [1, 2])
@torch.inference_mode()
def test_in_fp32_a_row_of_a_small_product_is_the_same_to_the_last_bit_whatever_is_beside_it(threads: int) -> None:
    """With two threads MKL of torch 2.13 sums 5 to 7 and 9 to 11 rows in another order on AMD's Zen 3."""
    states, product, before = (
        torch.randn(40, 256),
        pack_for("fp32")(torch.randn(400, 256), None),
        torch.get_num_threads(),
    )
    torch.set_num_threads(threads)
    try:
        whole = product(states)
        for rows in range(1, 40):
            assert torch.equal(product(states[:rows]), whole[:rows]), rows
    finally:
        torch.set_num_threads(before)


@torch.inference_mode()
def test_both_ways_of_fp32_agree() -> None:
    weight, states = torch.randn(2048, 768), torch.randn(4, 768)
    found = [pack(weight, None, "gelu_tanh")(states) for pack in (plain.pack_fp32, onednn.pack_fp32)]
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-4)


def test_int8_is_for_cpus() -> None:
    with pytest.raises(ServingError, match="on CPUs"):
        int8.pack_for("meta")


@pytest.mark.parametrize("precision", CLOSE)
def test_an_engine_answers_in_every_precision_alone_as_in_a_batch(padded_model: Path, precision: str) -> None:
    engine = Engine.load(padded_model, options=EngineOptions(precision=precision))
    requests = [
        GenerationRequest("the house"[:i], Sampling(max_tokens=10, temperature=i % 2, seed=i)) for i in range(3, 9)
    ]
    assert engine.generate(requests) == [engine.generate([request])[0] for request in requests]
