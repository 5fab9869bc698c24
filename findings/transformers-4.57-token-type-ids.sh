#!/usr/bin/env bash
# transformers 4.57 and 5 make other logits of the same GPT-2 folder and the same text: where tokenizer_config.json names
# PreTrainedTokenizerFast and no model_input_names, 4.57 returns token_type_ids (all 0), and GPT-2 adds the embedding of
# token 0 to every position. With model_input_names both agree.
# Exit code: 0 the behaviour is as described, 1 it is another one, 2 the packages can't be installed.
set -euo pipefail
PYTHON=${PYTHON:-python3}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"$PYTHON" -m venv "$tmp/venv"
pip() { "$tmp/venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@" || exit 2; }
pip torch==2.13.0 numpy==2.4.6
pip --target "$tmp/4" transformers==4.57.6 tokenizers==0.22.2 huggingface-hub==0.36.2
pip --target "$tmp/5" transformers==5.23.0 tokenizers==0.23.3 huggingface-hub==2.4.0

cat >"$tmp/make.py" <<'PY'
import json, sys, torch
from pathlib import Path
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast
root = Path(sys.argv[1])
tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
alphabet = pre_tokenizers.ByteLevel.alphabet()
trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["</s>"], initial_alphabet=alphabet, show_progress=False)
tokenizer.train_from_iterator(["the house by the river, the garden by the house"] * 20, trainer)
torch.manual_seed(0)
model = GPT2LMHeadModel(GPT2Config(vocab_size=tokenizer.get_vocab_size(), n_positions=64, n_embd=32, n_layer=2, n_head=2,
                                   initializer_range=0.3, bos_token_id=0, eos_token_id=0))
for name, more in (("as-saved", {}), ("named", {"model_input_names": ["input_ids", "attention_mask"]})):
    model.save_pretrained(root / name)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>").save_pretrained(root / name)
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>", **more}
    (root / name / "tokenizer_config.json").write_text(json.dumps(config))
PY
cat >"$tmp/open.py" <<'PY'
import json, sys, torch, transformers
from pathlib import Path
from transformers import AutoModelForCausalLM, AutoTokenizer
found = {}
for name in ("as-saved", "named"):
    inputs = AutoTokenizer.from_pretrained(Path(sys.argv[1]) / name)("the house by the river", return_tensors="pt")
    model = AutoModelForCausalLM.from_pretrained(Path(sys.argv[1]) / name).eval()
    with torch.no_grad():
        loss = float(model(**inputs, labels=inputs["input_ids"]).loss)
    found[name] = {"returns": sorted(inputs), "loss": round(loss, 4)}
    print(f"transformers {transformers.__version__}, {name}: {', '.join(sorted(inputs))}; loss {loss:.4f}")
Path(sys.argv[2]).write_text(json.dumps(found))
PY
cat >"$tmp/judge.py" <<'PY'
import json, sys
from pathlib import Path
old, new = (json.loads(Path(sys.argv[1], name).read_text()) for name in ("4.json", "5.json"))
as_described = (
    "token_type_ids" in old["as-saved"]["returns"]
    and "token_type_ids" not in new["as-saved"]["returns"]
    and abs(old["as-saved"]["loss"] - new["as-saved"]["loss"]) > 1e-3
    and abs(old["named"]["loss"] - new["named"]["loss"]) < 1e-3
    and abs(old["named"]["loss"] - new["as-saved"]["loss"]) < 1e-3
)
print("as described" if as_described else "the behaviour has changed")
sys.exit(0 if as_described else 1)
PY
export HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 TRANSFORMERS_VERBOSITY=error HF_HUB_DISABLE_PROGRESS_BARS=1
python() { PYTHONPATH="$tmp/$1" "$tmp/venv/bin/python" "${@:2}" 2>"$tmp/stderr" || { tail -20 "$tmp/stderr"; exit 2; }; }
python 5 "$tmp/make.py" "$tmp/models"
python 4 "$tmp/open.py" "$tmp/models" "$tmp/4.json"
python 5 "$tmp/open.py" "$tmp/models" "$tmp/5.json"
"$tmp/venv/bin/python" "$tmp/judge.py" "$tmp"
