# %% [markdown]
# # Notebook: read a report
#
# This notebook opens a run that is finished and reads its numbers. It goes on from [the notebook that distils a
# language](distil_your_language.md), and works with any run: `load_run("quickstart")`.

# %%
from orchestrator import load_run

run = load_run("notebook")
print(run.name, "-", run.report)

# %% [markdown]
# ## Perplexity: is each expert best at its own language?
#
# `results` has what the run has measured, as typed records. A row of the matrix is an expert, a column is the
# language of the text. Read each column: the lowest number in it should be that of the language's own expert.

# %%
results = run.results
print("expert ", *(f"{language:>8}" for language in results.languages))
for expert, row in results.experts.items():
    print(f"{expert:7}", *(f"{row[language].perplexity:8.1f}" for language in results.languages))

# %% [markdown]
# ## Intervals: is a difference more than chance?
#
# An interval says which perplexities other held-out documents could have given. Two models whose intervals are
# far apart differ. Where intervals overlap, more test text is needed before one can say so. There is no interval
# where documents are too few.

# %%
for language in results.languages:
    own, teacher = results.experts[language][language], results.teacher[language]
    print(
        f"{language}: expert {own.perplexity:.1f} {own.interval}, teacher {teacher.perplexity:.1f} {teacher.interval}"
    )

# %% [markdown]
# ## The router: does text reach its expert?
#
# The scores are of whole blocks. The report's page has accuracy by length, from one word up, and what is
# rejected.

# %%
print(results.router.used, results.router.scores[results.router.used])
print(results.router.routed_right)

# %% [markdown]
# ## Curves: was the training long enough?
#
# `metrics` reads what a training logged. If the validation loss still falls at the end, train longer. If it
# rises, train less, or on more text.

# %%
for language in results.languages:
    losses = [row["validation_loss"] for row in run.metrics(f"expert-{language}") if "validation_loss" in row]
    print(language, [round(loss, 2) for loss in losses])

# %% [markdown]
# ## Where it came from
#
# The recipe of the run, with every default, and the folders that its steps made.

# %%
print(run.recipe.experts.distillation.soft)
for name, artifact in run.artifacts.items():
    print(f"{name:12} {artifact.folder.name}")
