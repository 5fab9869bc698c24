#!/usr/bin/env bash
# A vocabulary may lack ids in its middle. tokenizers numbers an added token by the count of tokens, not by the largest id. So an added
# token can get the id of a token that is there: both are encoded to that id, and it is decoded to the added one.
# Exit code: 0 the behaviour is as described, 1 it is another one, 2 the package can't be installed.
set -euo pipefail
PYTHON=${PYTHON:-python3}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"$PYTHON" -m venv "$tmp/venv"
"$tmp/venv/bin/python" -m pip install --quiet --disable-pip-version-check tokenizers==0.23.3 || exit 2
"$tmp/venv/bin/python" - <<'PY'
import sys

from tokenizers import AddedToken, Tokenizer, __version__, models


def added(ids):
    tokenizer = Tokenizer(models.BPE(dict(zip("abc", ids)), []))
    tokenizer.add_special_tokens([AddedToken("<end>", special=True)])
    return tokenizer.encode("c<end>").ids, tokenizer.decode([ids[2]], skip_special_tokens=False)


whole, gapped = added([0, 1, 2]), added([0, 1, 3])
print(f"tokenizers {__version__}, ids and text of the last token: without a gap {whole}; with one {gapped}")
as_described = whole == ([2, 3], "c") and gapped == ([3, 3], "<end>")
print("as described" if as_described else "the behaviour has changed")
sys.exit(0 if as_described else 1)
PY
