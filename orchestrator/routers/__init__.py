"""Routers: which expert a text goes to.

A plug-in (``paper.py``, ``prompt.py``) trains one or more :class:`Router`. The paper's reads token ids; the prompt
router reads text, is calibrated by the text's length, and rejects text of no language. :func:`fit_routers` trains those
of a run, :func:`load_router` reads a stored one: safetensors and JSON, and numpy alone at run time.

:meth:`Chooser.choose` says which expert a text goes to, by the recipe's policy and among the experts that are there:
`mome route`, `mome generate` and the endpoint all ask it.
"""

from orchestrator.routers._base import RouterPlugin
from orchestrator.routers._choice import Choice, Chooser
from orchestrator.routers._fitting import Material, fit_routers, papers
from orchestrator.routers._loading import load_router
from orchestrator.routers._router import Policy, Router, save_routers
from orchestrator.routers._token_router import TokenRouter
from orchestrator.routers.text.router import TextRouter
from orchestrator.routers.text.spans import NONE, Span, spans

__all__ = [
    "NONE",
    "Choice",
    "Chooser",
    "Material",
    "Policy",
    "Router",
    "RouterPlugin",
    "Span",
    "TextRouter",
    "TokenRouter",
    "fit_routers",
    "load_router",
    "papers",
    "save_routers",
    "spans",
]

PLUGIN = RouterPlugin
"""What a plug-in of this room is."""
