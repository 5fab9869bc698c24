"""GPT-2 folders without transformers."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from orchestrator.errors import ServingError
from serve.engine import Engine
from serve.messages import GenerationRequest, Sampling
from serve.text import Tokenizer

ROOT = Path(__file__).resolve().parents[3]


def test_a_gpt2_read_without_transformers_is_the_same(padded_model: Path, tmp_path: Path) -> None:
    from orchestrator.models import load_model
    from serve.engine.forward import forward_of
    from serve.engine.forward.reading import read_gpt2

    request = GenerationRequest("the house", Sampling(max_tokens=20, seed=1, logprobs=2))
    tokenizer = Tokenizer(padded_model)
    found = [
        Engine(forward_of(model), tokenizer).generate([request])[0]
        for model in (read_gpt2(padded_model), load_model(padded_model))
    ]
    assert found[0] == found[1]
    for name, change in (("model_type", "llama"), ("n_layer", 3), ("dtype", "bfloat16"), ("n_embd", "x")):
        shutil.copytree(padded_model, tmp_path / name)
        config = json.loads((padded_model / "config.json").read_text())
        (tmp_path / name / "config.json").write_text(json.dumps({**config, name: change}))
        assert read_gpt2(tmp_path / name) is None
    assert read_gpt2(tmp_path) is None


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"], ids=["read here", "read by transformers"])
def test_weights_that_are_not_finite_are_refused(padded_model: Path, tmp_path: Path, value: float, dtype: str) -> None:
    folder = shutil.copytree(padded_model, tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "dtype": dtype}))
    weights = load_file(folder / "model.safetensors")
    weights["transformer.h.1.ln_1.bias"][3] = value
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ServingError, match="not all finite numbers") as refused:
        Engine.load(folder)
    assert refused.value.where == str(folder)


def test_an_engine_of_a_gpt2_and_the_room_of_models_import_no_transformers(padded_model: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from serve.engine import Engine; from serve.messages import *\n"
        "import orchestrator.models\n"
        f"Engine.load(Path({str(padded_model)!r})).generate([GenerationRequest('the dog', Sampling(max_tokens=3))])\n"
        "print([name for name in ('transformers', 'scipy', 'pandas', 'torch._dynamo') if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert ended.stdout.strip() == "[]"
