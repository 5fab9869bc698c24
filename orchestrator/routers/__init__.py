"""Routers: which expert a text goes to.

A plug-in (``paper.py``, ``prompt.py``) trains one or more :class:`Router`. The paper's reads token ids; the prompt
router reads text, is calibrated by the text's length, and knows text that is of none of the languages. A router is
loaded from safetensors and JSON, and needs only numpy at run time.
"""

from orchestrator.routers._base import RouterPlugin
from orchestrator.routers._choice import Choice, Chooser
from orchestrator.routers._router import Policy, Router
from orchestrator.routers._token_router import TokenRouter
from orchestrator.routers.text.router import TextRouter
from orchestrator.routers.text.spans import NONE, Span, spans

__all__ = [
    "NONE",
    "Choice",
    "Chooser",
    "Policy",
    "Router",
    "RouterPlugin",
    "Span",
    "TextRouter",
    "TokenRouter",
    "spans",
]

PLUGIN = RouterPlugin
"""What a plug-in of this room is."""
