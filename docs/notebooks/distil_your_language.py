# %% [markdown]
# # Notebook: distil your language
#
# This notebook trains a teacher, two experts and a router on a few documents, in about half a minute on one core.
# The figures at the end are those of a toy. Replace the sources by your own text, and the sizes by those of
# `jobs/recipes/quickstart.yaml`, for models that are of use.

# %%
import logging
from pathlib import Path

from orchestrator import plan, run

logging.disable(logging.WARNING)

# %% [markdown]
# ## A recipe
#
# A recipe is YAML text. Each language has a source. `miniwiki` is the corpus that comes with MoME; for your own
# files write `source: {type: files, path: data/es}`.

# %%
RECIPE = """
name: notebook
corpus:
  max_documents: 40
  languages:
    fr: {source: miniwiki}
    de: {source: miniwiki}
  splits: {validation: 0.15, test: 0.15}
tokenizer: {vocab_size: 512}
blocks: {context: 64}
teacher:
  model: gpt2-nano
  training: &training
    tokens: 40_000
    precision: fp32
    batch_tokens: 1024
    micro_batch: 16
    optimizer: {type: adamw, lr: 3.0e-3}
    eval_every: 10
    eval_blocks: 8
experts:
  model: gpt2-nano
  training: {<<: *training, tokens: 30_000}
  distillation: {soft: reverse_kl, teacher: hidden_cache}
router: {type: {type: prompt, bits: 14, pieces: 500, calibration_pieces: 100}, sequences_per_language: 100}
evaluation: {bootstrap: 100}
"""
recipe = Path("notebook.yaml")
recipe.write_text(RECIPE, encoding="utf-8")

# %% [markdown]
# ## What it will do
#
# `plan` starts nothing. It says which steps there are, which of them are cached, and how long the others take.

# %%
print(plan(recipe, local=True))

# %% [markdown]
# ## Run it
#
# `local=True` runs in this process, without Ray. Run this cell again: nothing is computed a second time.

# %%
notebook = run(recipe, local=True, quiet=True)
print(notebook.folder)

# %% [markdown]
# ## Ask it
#
# The router sends a text to its expert, or says that the text is for none. `generate` routes and goes on from the
# text.

# %%
for text in ("Où est la gare ?", "Wo ist der Bahnhof?", "Dov'è la stazione?"):
    choice = notebook.route(text)
    print(f"{text:20} {choice.label:5}", {name: round(share, 3) for name, share in choice.probabilities.items()})
print(notebook.generate("La rivière", max_tokens=16).text)

# %% [markdown]
# ## Change one field
#
# A change repeats only the steps that depend on it. Here these are the experts and what follows them; corpus,
# tokenizer, teacher and cache stay.

# %%
again = plan(recipe, "experts.distillation.soft=forward_kl", local=True)
print("to run again:", ", ".join(step.name for step in again.missing))
