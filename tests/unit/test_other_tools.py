"""What other tools do that users of MoME meet, as docs/other-tools.md tells it."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/other-tools.md"
TEXT = PAGE.read_text(encoding="utf-8")
ROWS = [line.strip("| ").split(" | ") for line in TEXT.splitlines() if line.startswith("| ")]
FACTS = [row for row in ROWS if row[0] not in ("tool", "---")]


@pytest.mark.parametrize("row", FACTS, ids=lambda row: row[1][:50])
def test_a_fact_names_what_holds_it(row):
    """A test that exists, or a script of findings/."""
    held = re.findall(r"`(tests/[\w/.]+\.py)::(\w+)`", row[-1])
    scripts = re.findall(r"`(findings/[\w.-]+\.sh)`", row[-1])
    assert held or scripts
    for file, name in held:
        assert re.search(rf"^def {name}\b", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE), name
    assert all((ROOT / script).is_file() for script in scripts)


@pytest.mark.parametrize(
    "row", [row for row in FACTS if not row[0].startswith("transformers 4")], ids=lambda row: row[0]
)
def test_a_fact_is_of_the_version_that_is_installed(row):
    """After an upgrade, somebody looks again."""
    name, number = row[0].split()
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    found = re.search(rf"^{name}==(\d+\.\d+)", constraints, re.MULTILINE | re.IGNORECASE)
    assert found
    assert found[1] == number
    optional = ("ray", "deepspeed", "mlflow", "datasets", "xllamacpp", "ctranslate2", "lm_eval")
    pytest.importorskip(name if name in optional else "torch")
    assert version(name).startswith(number)


def byte_fallback():
    """A tokenizer that falls back to single bytes, as Llama's."""
    from tokenizers import Tokenizer, decoders, models

    vocabulary = {"<unk>": 0, **{f"<0x{byte:02X}>": byte + 1 for byte in range(256)}}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], byte_fallback=True, unk_token="<unk>"))
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return tokenizer


def test_tokenizers_replaces_whole_characters_beside_a_cut_one():
    tokenizer = byte_fallback()
    ids = tokenizer.encode("né€").ids
    assert tokenizer.decode(ids) == "né€"
    assert tokenizer.decode(ids[:-1]) == "\ufffd" * 5


def test_tokenizers_streams_no_text_that_ends_in_a_replacement_character():
    from tokenizers.decoders import DecodeStream

    tokenizer, stream = byte_fallback(), DecodeStream(skip_special_tokens=False)
    assert [stream.step(tokenizer, token) for token in tokenizer.encode("a\ufffd").ids] == ["a", None, None, None]


def test_pyyaml_reads_norwegian_as_false():
    assert yaml.safe_load("languages: [no, en]") == {"languages": [False, "en"]}


def test_transformers_takes_the_end_token_for_padding_where_the_configuration_does():
    from transformers import AutoModelForCausalLM, MistralConfig

    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = MistralConfig(vocab_size=8, num_key_value_heads=1, **sizes, eos_token_id=2, pad_token_id=2)
    assert AutoModelForCausalLM.from_config(config).get_input_embeddings().padding_idx == 2


def test_scikit_learn_takes_words_of_one_character_for_none():
    from sklearn.feature_extraction.text import TfidfVectorizer

    assert set(TfidfVectorizer().fit(["7 11 12"]).get_feature_names_out()) == {"11", "12"}


def test_ray_serves_on_every_address_where_a_file_names_none():
    schema = pytest.importorskip("ray.serve.schema")
    assert schema.HTTPOptionsSchema().host == "0.0.0.0"
