"""What Prometheus is told: requests by route and status, batches, stages, places in use. One registry an app."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = ["ServerMetrics"]

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class ServerMetrics:
    """Counters of one app."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "conceptseg_requests", "Requests answered", ("route", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "conceptseg_request_seconds",
            "Seconds a request took",
            ("route",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._sizes = Histogram(
            "conceptseg_batch_size", "Questions in a batch", buckets=(1, 2, 4, 8, 16, 32, 64), registry=self._registry
        )
        self._batch_seconds = Histogram(
            "conceptseg_batch_seconds", "Seconds a batch took", buckets=_SECONDS, registry=self._registry
        )
        self._stages = Counter(
            "conceptseg_stage_seconds", "Seconds of the model by stage", ("stage",), registry=self._registry
        )
        self._routes = Counter("conceptseg_masks", "Masks by how they came about", ("route",), registry=self._registry)

    def watch(self, name: str, text: str, value: Callable[[], float]) -> None:
        """A gauge that is read when it is asked for."""
        Gauge(name, text, registry=self._registry).set_function(value)

    def count_request(self, route: str, status: int, seconds: float) -> None:
        """A request was answered; `route` is the pattern it matched, so that there are few."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def count_batch(self, size: int, seconds: float) -> None:
        """A batch was answered."""
        self._sizes.observe(size)
        self._batch_seconds.observe(seconds)

    def count_mask(self, route: str, timings: Mapping[str, float]) -> None:
        """A mask was drawn."""
        self._routes.labels(route).inc()
        for stage, seconds in timings.items():
            self._stages.labels(stage).inc(seconds)

    def render(self) -> bytes:
        """All of it in Prometheus's text format."""
        return generate_latest(self._registry)
