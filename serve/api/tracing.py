"""A span a request, where OpenTelemetry's endpoint is set. Without it nothing is imported and nothing is done."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from orchestrator.errors import ResourceError
from serve.api.record import Record

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_INSTALL = "pip install 'mome-orchestrator[otel]'"


class Tracing:
    """Spans of requests, as part of the trace that the client's `traceparent` names.

    Args:
        tracer: of OpenTelemetry; None: no spans.
    """

    def __init__(self, tracer: Any = None) -> None:
        self._tracer = tracer

    @classmethod
    def of_environment(cls) -> Tracing:
        """To the endpoint of OTEL_EXPORTER_OTLP_ENDPOINT, over HTTP; OpenTelemetry's other variables hold too.

        Raises:
            ResourceError: it is set, and OpenTelemetry is not installed.
        """
        if not os.environ.get(ENDPOINT):
            return cls()
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError as error:
            raise ResourceError(f"{ENDPOINT} is set, and OpenTelemetry is missing ({error})", fix=_INSTALL) from None
        provider = TracerProvider(
            resource=Resource.create({"service.name": os.environ.get("OTEL_SERVICE_NAME", "mome")})
        )
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        return cls(provider.get_tracer("mome.api"))

    @contextmanager
    def span(self, method: str, path: str, headers: Mapping[str, str], record: Record) -> Iterator[None]:
        """The span of a request; what its record says in the end is in its attributes."""
        if self._tracer is None:
            yield
            return
        from opentelemetry.propagate import extract
        from opentelemetry.trace import SpanKind, StatusCode

        parent = extract({name: headers[name] for name in ("traceparent", "tracestate") if name in headers})
        with self._tracer.start_as_current_span(f"{method} {path}", context=parent, kind=SpanKind.SERVER) as span:
            try:
                yield
            finally:
                span.set_attribute("mome.request_id", record.id)
                for name, value in {**record.fields, **record.usage}.items():
                    span.set_attribute(f"mome.{name}", value)
                if record.code:
                    span.set_attribute("mome.code", record.code)
                    span.set_status(StatusCode.ERROR, record.code)
