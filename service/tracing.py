"""Traces: one span for each request, and below it one for each stage of its transcription. An extra: `cepstra[otel]`.

Off unless `CEPSTRA_TRACES` is set. Where spans go is OpenTelemetry's own affair: OTEL_EXPORTER_OTLP_ENDPOINT,
OTEL_SERVICE_NAME and the rest of its variables. A client's `traceparent` header is continued.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.types import Scope

from features.errors import CepstraError
from model.stages import Stage

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span


class TracingUnavailableError(CepstraError):
    """Traces were asked for, and the extra for them is not installed; ends the start."""


class Tracing:
    """Makes spans.

    Args:
        exporter: where they go; None for OTLP over HTTP.

    Raises:
        TracingUnavailableError: the extra is not installed.
    """

    def __init__(self, exporter: "SpanExporter | None" = None) -> None:
        try:
            from opentelemetry import propagate
            from opentelemetry.sdk.resources import OTELResourceDetector, Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor

            if exporter is None:
                from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

                exporter = OTLPSpanExporter()
        except ModuleNotFoundError as error:
            raise TracingUnavailableError(
                f"CEPSTRA_TRACES needs the extra: pip install 'cepstra[otel]' ({error})"
            ) from error
        named = OTELResourceDetector().detect()
        resource = Resource.create({"service.name": "cepstra"}).merge(named)
        self._provider = TracerProvider(resource=resource)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("cepstra")
        self._extract = propagate.extract

    @contextmanager
    def request(self, scope: Scope) -> "Iterator[Span]":
        """One request; what happens meanwhile in its task, and in the threads that work for it, lies below."""
        from opentelemetry.trace import SpanKind

        headers = dict(Headers(scope=scope).items())
        with self._tracer.start_as_current_span(
            scope["method"],
            context=self._extract(headers),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": scope["method"], "url.path": scope["path"]},
        ) as span:
            yield span

    def answered(self, span: "Span", method: str, route: str, status: int, request_id: str) -> None:
        """The request's answer is out."""
        from opentelemetry.trace import Status, StatusCode

        span.update_name(f"{method} {route}".strip())
        span.set_attributes(
            {"http.route": route, "http.response.status_code": status, "cepstra.request_id": request_id}
        )
        if status >= 500:
            span.set_status(Status(StatusCode.ERROR))

    def passed(self, stage: Stage, began_ns: int, ended_ns: int) -> None:
        """A stage of the current request's transcription."""
        self._tracer.start_span(stage, start_time=began_ns).end(end_time=ended_ns)

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()
