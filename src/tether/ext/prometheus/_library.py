"""The library itself."""

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram
    from prometheus_client.metrics_core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        Metric,
    )
    from prometheus_client.registry import Collector
except ModuleNotFoundError:
    raise ModuleNotFoundError(
        "tether.ext.prometheus needs prometheus-client: "
        'pip install "tether[prometheus]"',
        name="prometheus_client",
    ) from None

__all__ = [
    "REGISTRY",
    "Collector",
    "CollectorRegistry",
    "Counter",
    "CounterMetricFamily",
    "GaugeMetricFamily",
    "Histogram",
    "Metric",
]
