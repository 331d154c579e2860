"""Spans of OpenTelemetry, if the process has a tracer provider. Where it has none, nothing is imported or done.

Names, ids and counts are all that a span has: no part of an event, of a condition, or of an error's message.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer


def tracer() -> Tracer | None:
    """None unless somebody has set a provider in this process, for which they must have imported OpenTelemetry."""
    api = sys.modules.get("opentelemetry.trace")
    # Another thread may be importing it just now; of what is used here, this comes last.
    if api is None or not hasattr(api, "get_tracer_provider"):
        return None
    provider = api.get_tracer_provider()
    if isinstance(provider, api.ProxyTracerProvider | api.NoOpTracerProvider):
        return None
    found: Tracer = provider.get_tracer("secateur")
    return found


def traceparent() -> str | None:
    """The present span as W3C writes it, to go on with in another process; None outside of any."""
    api = sys.modules.get("opentelemetry.trace")
    if api is None or tracer() is None:
        return None
    present = api.get_current_span().get_span_context()
    if not present.is_valid:
        return None
    return f"00-{present.trace_id:032x}-{present.span_id:016x}-{present.trace_flags & 0xFF:02x}"


@contextmanager
def span(
    name: str, attributes: Mapping[str, Any] | None = None, *, parent: str | None = None, receives: bool = False
) -> Iterator[Span | None]:
    """The present span while the block lasts; what the block raises marks it as failed, by its type alone.

    `parent` is a `traceparent`, for a span that goes on with what another process began (`receives`)."""
    found = tracer()
    if found is None:
        yield None
        return
    from opentelemetry import trace

    made = found.start_span(
        name,
        context=_context_of(parent),
        kind=trace.SpanKind.CONSUMER if receives else trace.SpanKind.INTERNAL,
        attributes=dict(attributes or {}),
    )
    try:
        with trace.use_span(made, end_on_exit=False, record_exception=False, set_status_on_exception=False):
            yield made
    except BaseException as error:
        fail(made, type(error).__name__)
        raise
    finally:
        made.end()


def fail(span: Span | None, kind: str) -> None:
    """Mark it as failed; `kind` is the error's type."""
    if span is not None:
        from opentelemetry.trace import StatusCode

        span.set_attribute("error.type", kind)
        span.set_status(StatusCode.ERROR)


def note(name: str, began_ns: int, attributes: Mapping[str, Any]) -> None:
    """A span that is over; it began at that time since 1970, in nanoseconds."""
    if (found := tracer()) is not None:
        found.start_span(name, start_time=began_ns, attributes=dict(attributes)).end()


def _context_of(parent: str | None) -> Any:
    """The present context, or one that goes on with the parent."""
    if parent is None:
        return None
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

    _, trace_id, span_id, flags = parent.split("-")
    sender = SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))
    return set_span_in_context(NonRecordingSpan(sender))
