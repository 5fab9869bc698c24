"""What the stages that make and read mixtures share."""

from __future__ import annotations

MODELS = tuple(f"models.{name}" for name in ("build", "files", "mixture", "moe", "_token_moe", "zoo._base"))
"""Code that opens a model and computes with it."""
MIXTURES = (*MODELS, "models.mixture_files", "models.setups", "models.combiners", "stages._mixing")
"""Code that opens a mixture and computes with it."""
MEASURING = ("evaluation", *MODELS, "tokens.blocks", "tokens.storage", "stages._held_out", "stages._mixing")
"""Code that measures a model's losses."""
ROUTER = "router"
"""Folder of the router in a mixture's."""
