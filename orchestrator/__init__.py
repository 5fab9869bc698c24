"""MoME: distil one multilingual teacher into small, modular, per-language experts, on Ray or on a laptop."""

__version__ = "0.1.0"
