"""A sweep over recipe fields and seeds.

Type: ray job submit --working-dir . -- python -m jobs.sweep jobs/recipes/sweep.yaml --runs /FOLDER
"""

from jobs._command import sweep_job

if __name__ == "__main__":
    sweep_job("Run a sweep over recipe fields and seeds, and compare its trials.")
