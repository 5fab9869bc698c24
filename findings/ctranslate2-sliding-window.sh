#!/usr/bin/env bash
# CTranslate2 converts a Mistral with a sliding window without a word, and computes other logits than transformers after a prompt that is
# longer than the window. It reads the prompt in pieces of the window's length, and lets each token see the whole piece before its own: up to
# twice the window. Without a window both agree. forward_batch raises a ValueError for such a text instead.
# Exit code: 0 the behaviour is as described, 1 it is another one, 2 the packages can't be installed.
set -euo pipefail
PYTHON=${PYTHON:-python3}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"$PYTHON" -m venv "$tmp/venv"
"$tmp/venv/bin/python" -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6 transformers==5.23.0 tokenizers==0.23.3 \
  ctranslate2==4.8.5 || exit 2
cat >"$tmp/check.py" <<'PY'
import sys
import warnings
from pathlib import Path

import ctranslate2
import numpy
import torch
import transformers
from ctranslate2.converters import TransformersConverter
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, MistralConfig, MistralForCausalLM, PreTrainedTokenizerFast

WINDOW, LENGTH = 8, 40
WORDS = ["<unk>", "<s>", "</s>", *(f"w{number}" for number in range(61))]
text = torch.randint(3, len(WORDS), (1, LENGTH), generator=torch.Generator().manual_seed(1))
tokens = [WORDS[id] for id in text[0].tolist()]


def log_probabilities(folder: Path, seen=None):
    """After each beginning of the text, by transformers; `seen` says for a length which tokens see which, where it is not the model's."""
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    made = []
    for length in range(2, LENGTH + 1):
        mask = torch.ones(1, length) if seen is None else torch.where(seen(length), 0.0, torch.finfo(torch.float32).min)[None, None]
        with torch.no_grad():
            made.append(model(text[:, :length], attention_mask=mask).logits[0, -1].log_softmax(-1))
    return torch.stack(made)


def converted(folder: Path):
    """The same by CTranslate2, and what forward_batch says of the whole text."""
    with warnings.catch_warnings(record=True) as said:
        TransformersConverter(str(folder)).convert(str(folder / "converted"))
    generator = ctranslate2.Generator(str(folder / "converted"), device="cpu", compute_type="float32")
    made = []
    for length in range(2, LENGTH + 1):
        answer = generator.generate_batch([tokens[:length]], max_length=1, sampling_topk=1, include_prompt_in_result=False, return_logits_vocab=True)
        made.append(torch.from_numpy(numpy.array(answer[0].logits[0])).reshape(-1).log_softmax(-1))
    try:
        generator.forward_batch([tokens])
        whole = "no error"
    except ValueError as error:
        whole = f"ValueError: {error}"
    return torch.stack(made), whole, [str(each.message) for each in said if "window" in str(each.message)]


def save(folder: Path, window):
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16}
    config = MistralConfig(vocab_size=len(WORDS), max_position_embeddings=128, initializer_range=0.3, sliding_window=window,
                           bos_token_id=1, eos_token_id=2, **sizes)
    MistralForCausalLM(config).save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({word: id for id, word in enumerate(WORDS)}, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>").save_pretrained(folder)
    return folder


def pieces(length: int):
    """The tokens before the last see the piece before theirs and their own; the last one, which begins the answer, sees the window."""
    rows, columns = torch.arange(length)[:, None], torch.arange(length)[None]
    first = (rows // WINDOW - 1) * WINDOW
    first[-1] = length - WINDOW
    return (columns <= rows) & (columns >= first)


root = Path(sys.argv[1])
whole, slides = save(root / "whole", None), save(root / "slides", WINDOW)
(made_whole, error_whole, _), (made, error, said) = converted(whole), converted(slides)
apart = [float(each) for each in (made - log_probabilities(slides)).abs().amax(-1)]
control = float((made_whole - log_probabilities(whole)).abs().max())
explained = float((made - log_probabilities(whole, pieces)).abs().max())
inside, beyond = max(apart[: WINDOW - 1]), max(apart[WINDOW:])
print(f"ctranslate2 {ctranslate2.__version__}, transformers {transformers.__version__}, {LENGTH} tokens: the largest difference of log-probabilities")
print(f"no window: {control:.5f}; a window of {WINDOW}: {inside:.5f} in prompts of up to {WINDOW} tokens, {beyond:.5f} in longer ones")
print(f"the latter by tokens that see the whole piece before: {explained:.5f}")
print(f"forward_batch of {LENGTH} tokens, no window: {error_whole}; a window of {WINDOW}: {error}")
as_described = (
    control < 1e-3 and inside < 1e-3 and explained < 1e-3 and beyond > 0.1 and not said
    and error_whole == "no error" and error.startswith("ValueError")
)
print("as described" if as_described else "the behaviour has changed")
sys.exit(0 if as_described else 1)
PY
export HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 TRANSFORMERS_VERBOSITY=error HF_HUB_DISABLE_PROGRESS_BARS=1
"$tmp/venv/bin/python" "$tmp/check.py" "$tmp/models" 2>"$tmp/stderr" || { code=$?; tail -5 "$tmp/stderr"; exit "$code"; }
