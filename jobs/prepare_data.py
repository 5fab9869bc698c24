"""The corpus, the tokenizer and the packed blocks of a recipe.

Type: ray job submit --working-dir . -- python -m jobs.prepare_data jobs/recipes/quickstart.yaml --runs /FOLDER
"""

from jobs._command import recipe_job

if __name__ == "__main__":
    recipe_job("Build the corpus, the tokenizer and the packed blocks.", ("blocks",))
