"""Writes figures in Prometheus' formats.

prometheus-client writes names, help and labels, once for each set of series. A scrape only fills in the figures: to
write thousands of lines anew each time would take longer than to read what they say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

Encode = Callable[[CollectorRegistry], bytes]
Shape = list[tuple[str, list[tuple[str, ...]]]]
"""The names of families, each with the labels of its samples."""


@dataclass(slots=True)
class Family:
    """One metric with all its samples."""

    name: str
    """Without the ending `_total` of a counter."""
    help: str
    labels: tuple[str, ...] = ()
    kind: Literal["gauge", "counter"] = "gauge"
    names: list[tuple[str, ...]] = field(default_factory=list)
    """The values of the labels, of each sample."""
    values: list[float] = field(default_factory=list)

    def add(self, names: tuple[str, ...], value: float) -> None:
        self.names.append(names)
        self.values.append(value)

    def as_metric(self) -> Metric:
        kind = CounterMetricFamily if self.kind == "counter" else GaugeMetricFamily
        metric = kind(self.name, self.help, labels=self.labels)
        for names, value in zip(self.names, self.values, strict=True):
            metric.add_metric(names, value)
        return metric

    @classmethod
    def of_metric(cls, metric: Metric) -> Family:
        """A gauge or counter that has one sample without labels."""
        (sample,) = metric.samples
        kind: Literal["gauge", "counter"] = "counter" if metric.type == "counter" else "gauge"
        return cls(metric.name, metric.documentation, kind=kind, names=[()], values=[sample.value])


class Exposition:
    """Keeps the lines of the last series in each format."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Shape, list[str]]] = {}

    def write(self, families: Sequence[Family], accept: str) -> tuple[bytes, str]:
        """The text and its content type, for the header `Accept`."""
        encode, content_type = choose_encoder(accept)
        shape: Shape = [(each.name, each.names) for each in families]
        kept, lines = self._kept.get(content_type, (None, []))
        if kept != shape:
            lines = _around_figures(encode(_registry_of(families)).decode())
            self._kept[content_type] = shape, lines
        figures = [_written(value) for family in families for value in family.values]
        written = [part for pair in zip(lines, figures, strict=False) for part in pair]
        return "".join([*written, lines[-1]]).encode(), content_type


def _written(value: float) -> str:
    text: str = floatToGoString(value)  # type: ignore[no-untyped-call]
    return text


def _around_figures(text: str) -> list[str]:
    """What stands before each figure, and after the last one."""
    parts, since = [], 0
    for start, end in _lines(text):
        if not text.startswith("#", start):
            # Labels may have spaces, but figures have none.
            figure = text.rindex(" ", start, end) + 1
            parts.append(text[since:figure])
            since = end
    return [*parts, text[since:]]


def _lines(text: str) -> Iterable[tuple[int, int]]:
    """Where each begins and ends."""
    start = 0
    while (end := text.find("\n", start)) >= 0:
        yield start, end
        start = end + 1


class _Given(Collector):
    def __init__(self, families: Sequence[Family]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return [each.as_metric() for each in self._families]

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that registering does not collect."""
        return ()


def _registry_of(families: Sequence[Family]) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(_Given(families))
    return registry
