"""The engine: one expert that continues many prompts at once. Plain torch, no Ray; read it in the order below.

``options`` says how large it is; ``engine`` is what callers hold; ``scheduler`` is its thread, which computes one step
after another over ``row``s; ``forward`` computes a step over ``cache``'s slots with ``weights`` of a precision,
``native`` where the processor can;
``sampling`` chooses tokens (``randomness``, ``adjusting``, ``structured``); ``stream`` carries them to the caller.

Shape legend: N tokens of a step, B rows that decode, R rows whose logits are wanted, V vocabulary, D width, H heads.
"""

from serve.engine.engine import Engine
from serve.engine.options import EngineOptions
from serve.engine.stream import Pace, Stream

__all__ = ["Engine", "EngineOptions", "Pace", "Stream"]
