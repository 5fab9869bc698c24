# %% [markdown]
# # Notebook: read a report
#
# This notebook opens a run that is finished and reads its numbers. It goes on from
# [the notebook that distils a language](distil_your_language.md), and works with any run: `load_run("quickstart")`.

# %%
from orchestrator import load_run

run = load_run("notebook")
print(run.name, "-", run.report)

# %% [markdown]
# ## Perplexity: is each expert best at its own language?
#
# `results` has everything that the report shows, typed. A row of the matrix is an expert, a column is the language of the text. Read
# each column: the lowest number in it should be that of the language's own expert.

# %%
languages = run.results.languages
matrix = run.results.expert_perplexity
print("expert   ", *(f"{language:>8}" for language in languages))
for expert in languages:
    print(f"{expert:9}", *(f"{matrix[expert][language]:8.1f}" for language in languages))

# %% [markdown]
# ## Intervals: is a difference more than chance?
#
# An interval says which perplexities other held-out documents could have given. Two models whose intervals are far apart differ. Where
# intervals overlap, more test text is needed before one can say so. There is no interval where documents are too few.

# %%
for language in languages:
    bounds = (run.results.expert_perplexity_interval.get(language) or {}).get(language)
    print(language, f"{matrix[language][language]:.1f}", "no interval: too few documents" if bounds is None else bounds)

# %% [markdown]
# ## Curves: was the training long enough?
#
# `metrics` reads what a training logged: a row each few optimizer steps. If the validation loss still falls at the end, train longer.
# If it rises, train less, or on more text.

# %%
for language in languages:
    losses = [row["validation_loss"] for row in run.metrics(f"expert-{language}") if row.get("validation_loss") is not None]
    print(language, [round(loss, 2) for loss in losses])

# %% [markdown]
# ## Where it came from
#
# The recipe of the run, with every default, and the artifacts that its steps made.

# %%
print(run.recipe.experts.distillation.soft)
for name, artifact in run.artifacts.items():
    print(f"{name:12} {artifact}")
