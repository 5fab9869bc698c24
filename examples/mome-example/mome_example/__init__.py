"""Plug-ins of one's own: a loss, a schedule, a source and a model, which `recipe.yaml` names by their import paths."""
