"""Routers: which expert a sequence goes to.

A plug-in (``paper.py``) trains one or more :class:`Router` from labelled sequences. A router is loaded from safetensors
and JSON, and needs only numpy at run time.
"""

from orchestrator.routers._router import Router

__all__ = ["Router"]
