"""The experts of a recipe, at the same time where resources allow, and what they need.

Type: ray job submit --working-dir . -- python -m jobs.distill_experts jobs/recipes/quickstart.yaml --runs /FOLDER
"""

from jobs._command import recipe_job

if __name__ == "__main__":
    recipe_job("Distil the experts from the teacher.", ("experts",))
