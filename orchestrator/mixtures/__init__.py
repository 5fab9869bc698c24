"""Mixtures that exist: their versions, and how one grows by an expert."""
