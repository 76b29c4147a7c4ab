"""The metrics of all workers as Prometheus' text format, or as OpenMetrics."""

import itertools
from collections.abc import Iterable, Iterator

from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector, CollectorRegistry
from prometheus_client.utils import floatToGoString

from service.metrics.registry import Description
from service.metrics.totals import Read, Totals, add_up


class Workers(Collector):
    """The series of all workers, added up."""

    def __init__(self, described: Iterable[Description], read: Read) -> None:
        self._described = list(described)
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """One family for each metric, whether it has series or not. Raises OSError."""
        totals = add_up(self._described, self._read)
        for described in self._described:
            yield _family(described, totals.get(described.name, {}))


def render(collector: Collector, accept: str) -> tuple[bytes, str]:
    """All metrics, and the content type, for the value of a request's Accept header."""
    registry = CollectorRegistry()
    registry.register(collector)
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


def _family(described: Description, totals: Totals) -> Metric:
    arguments = (described.name, described.text)
    if described.kind == "counter":
        counter = CounterMetricFamily(*arguments, labels=described.labels)
        for labels, (value,) in sorted(totals.items()):
            counter.add_metric(labels, value)
        return counter
    if described.kind == "gauge":
        gauge = GaugeMetricFamily(*arguments, labels=described.labels)
        for labels, (value,) in sorted(totals.items()):
            gauge.add_metric(labels, value)
        return gauge
    histogram = HistogramMetricFamily(*arguments, labels=described.labels)
    bounds = [*map(floatToGoString, described.bounds), "+Inf"]
    for labels, (*counts, total) in sorted(totals.items()):
        buckets = list(zip(bounds, itertools.accumulate(counts), strict=True))
        histogram.add_metric(labels, buckets=buckets, sum_value=total)
    return histogram
