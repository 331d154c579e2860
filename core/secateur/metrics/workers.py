"""What a worker process does, in figures, on a port of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    start_http_server,
)

from secateur import __version__
from secateur.engines.native.observing import AttemptEnd, Observer
from secateur.errors import SecateurError

CLAIM_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
"""Bounds of the histogram: a claim takes milliseconds, unless the database is in trouble."""

ATTEMPT_SECONDS = (0.01, 0.05, 0.25, 1, 5, 15, 60, 300, 1800)


class WorkerMetrics(Observer):
    """By app; only what ended has the function, too."""

    def __init__(self, name: str, concurrency: int) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        build = Gauge(
            "secateur_worker_build_info",
            "Always 1; the labels say what runs.",
            ("version", "worker"),
            registry=self.registry,
        )
        build.labels(__version__, name).set(1)
        Gauge("secateur_worker_concurrency", "The most runs that are executed at a time.", registry=self.registry).set(
            concurrency
        )
        self._running = Gauge(
            "secateur_worker_running_runs", "Runs that are executing now.", ("app",), registry=self.registry
        )
        self._claims = Histogram(
            "secateur_worker_claim_seconds",
            "How long claims took that were answered, also those that brought no run.",
            ("app",),
            buckets=CLAIM_SECONDS,
            registry=self.registry,
        )
        self._claimed = Counter(
            "secateur_worker_claimed_runs", "Runs that were claimed.", ("app",), registry=self.registry
        )
        self._claims_failed = Counter(
            "secateur_worker_claims_failed",
            "Claims that were not answered, or refused.",
            ("app",),
            registry=self.registry,
        )
        self._ended = Counter(
            "secateur_worker_attempts",
            "Attempts that ended: completed, retried, failed (for good), interrupted or stopped.",
            ("app", "function", "end"),
            registry=self.registry,
        )
        self._took = Histogram(
            "secateur_worker_attempt_seconds",
            "How long attempts took.",
            ("app",),
            buckets=ATTEMPT_SECONDS,
            registry=self.registry,
        )

    def claimed(self, app_id: str, runs: int, seconds: float) -> None:
        self._claims.labels(app_id).observe(seconds)
        self._claimed.labels(app_id).inc(runs)

    def claim_failed(self, app_id: str) -> None:
        self._claims_failed.labels(app_id).inc()

    def began(self, app_id: str) -> None:
        self._running.labels(app_id).inc()

    def ended(self, app_id: str, function_id: str, end: AttemptEnd, seconds: float) -> None:
        self._running.labels(app_id).dec()
        self._ended.labels(app_id, function_id, end).inc()
        self._took.labels(app_id).observe(seconds)

    @contextmanager
    def served(self, host: str, port: int) -> Iterator[int]:
        """Answer scrapers from a thread of its own; yields the port. Raises `SecateurError` if it is taken."""
        try:
            server, thread = start_http_server(port, host, self.registry)
        except OSError as error:
            raise SecateurError(f"cannot serve metrics on {host}:{port}: {error.strerror or error}") from error
        try:
            yield server.server_port
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
