#!/usr/bin/env bash
# transformers builds the byte-level tokenizer of a GGUF file by way of GPT-2's class, whose begin, end and unknown tokens are <|endoftext|>
# unless it is told others. A file of Llama 3's kind has no such token and names others. The tokenizer has one more token than the file then:
# <|endoftext|>, with an id for which the model has no row. A text that holds these letters is encoded to that id.
# Exit code: 0 the behaviour is as described, 1 it is another one, 2 the packages can't be installed.
set -euo pipefail
PYTHON=${PYTHON:-python3}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"$PYTHON" -m venv "$tmp/venv"
"$tmp/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6 transformers==5.23.0 tokenizers==0.23.3 \
  gguf==0.19.0 || exit 2
cat >"$tmp/check.py" <<'PY'
import sys
from importlib.metadata import version
from pathlib import Path

from gguf import GGUFWriter, TokenType
from tokenizers import pre_tokenizers
from transformers import AutoTokenizer

LETTERS = sorted(pre_tokenizers.ByteLevel.alphabet())


def read(folder: Path, begin: str, end: str):
    """How many tokens a file has, which more its tokenizer has, and the ids of the text `a<|endoftext|>`."""
    control = list(dict.fromkeys([begin, end]))
    tokens = [*LETTERS, "th", *control]
    folder.mkdir()
    file = GGUFWriter(folder / "tiny.gguf", "llama")
    file.add_context_length(64)
    file.add_embedding_length(32)
    file.add_block_count(1)
    file.add_feed_forward_length(64)
    file.add_head_count(2)
    file.add_layer_norm_rms_eps(1e-5)
    file.add_vocab_size(len(tokens))
    file.add_tokenizer_model("gpt2")
    file.add_tokenizer_pre("llama-bpe")
    file.add_token_list(tokens)
    file.add_token_types([TokenType.CONTROL if token in control else TokenType.NORMAL for token in tokens])
    file.add_token_merges(["t h"])
    file.add_bos_token_id(tokens.index(begin))
    file.add_eos_token_id(tokens.index(end))
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.close()
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file="tiny.gguf")
    more = {token: id for token, id in tokenizer.get_vocab().items() if token not in tokens}
    text = tokenizer("a<|endoftext|>", add_special_tokens=False)["input_ids"]
    print(f"{len(tokens)} tokens in a file that ends texts with {end}: the tokenizer has {len(tokenizer)}, ends texts with "
          f"{tokenizer.eos_token} and has besides {more or 'none'}; a<|endoftext|> is {text}")
    return len(tokens), tokenizer.eos_token, more, text


print(", ".join(f"{name} {version(name)}" for name in ("transformers", "tokenizers", "gguf")))
size, end, more, text = read(Path(sys.argv[1], "llama-3"), "<|begin_of_text|>", "<|end_of_text|>")
_, _, no_more, inside = read(Path(sys.argv[1], "gpt-2"), "<|endoftext|>", "<|endoftext|>")
as_described = (
    end == "<|end_of_text|>" and more == {"<|endoftext|>": size} and max(text) == size and not no_more and max(inside) < size
)
print("as described" if as_described else "the behaviour has changed")
sys.exit(0 if as_described else 1)
PY
export HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 TRANSFORMERS_VERBOSITY=error HF_HUB_DISABLE_PROGRESS_BARS=1
mkdir "$tmp/files"
"$tmp/venv/bin/python" "$tmp/check.py" "$tmp/files"
