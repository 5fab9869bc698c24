"""The teacher of a recipe, and what it needs.

Type: ray job submit --working-dir . -- python -m jobs.train_teacher jobs/recipes/quickstart.yaml --runs /FOLDER
"""

from jobs._command import recipe_job

if __name__ == "__main__":
    recipe_job("Train the teacher.", ("teacher",))
