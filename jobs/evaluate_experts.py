"""The evaluation of a recipe, and what it needs.

Type: ray job submit --working-dir . -- python -m jobs.evaluate_experts jobs/recipes/quickstart.yaml --runs /FOLDER
"""

from jobs._command import recipe_job

if __name__ == "__main__":
    recipe_job("Evaluate teacher, experts and router.", ("evaluation",))
