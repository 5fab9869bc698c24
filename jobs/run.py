"""A whole experiment, from text to its report.

Type: ray job submit --working-dir . -- python -m jobs.run jobs/recipes/quickstart.yaml --runs /FOLDER
"""

from jobs._command import recipe_job

if __name__ == "__main__":
    recipe_job("Run an experiment, from text to its report.")
