"""Serving a run's mixture: the engine (plain torch), in-process generation, and Ray Serve with an OpenAI-shaped API.

In the order of a request: ``ingress`` (HTTP: ``api``, ``schemas``) asks ``router`` which expert a prompt goes to, and
that ``expert``'s ``engine`` for the text. ``mixture`` does the same in one process. Only ``ingress`` and ``app`` import
Ray; only ``engine`` imports torch, so ingress and router replicas stay small.
"""
