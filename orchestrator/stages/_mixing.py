"""What the stages that make and read mixtures share."""

from __future__ import annotations

ROUTER = "router"
"""Folder of the router in a mixture's."""
