"""Counters and histograms of the service, in the text format of Prometheus."""

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

# The `_created` series are not needed, and double the text.
prometheus_client.disable_created_metrics()


class Metrics:
    """Counts requests, calls of the model and times of one service, in a registry of its own.

    Attributes:
        answered: number of predict requests answered, with or without error.
    """

    def __init__(self):
        self._registry, self.answered = CollectorRegistry(), 0
        self._requests = self._made(Counter, "requests", "Predictions answered", ["signature", "code"])
        self._seconds = self._made(
            Histogram, "request_seconds", "Seconds of a good prediction", ["signature"], buckets=_SECONDS
        )
        self._rows = self._made(Histogram, "batch_rows", "Rows in a call of the model", ["signature"], buckets=_ROWS)
        self._gauges = {
            "requests_under_way": self._made(
                Gauge, "requests_under_way", "Predictions asked for, and not answered yet"
            ),
            "queued_rows": self._made(Gauge, "queued_rows", "Rows that wait for the model"),
        }

    def _made(self, kind: type, name: str, told: str, labels: list[str] | None = None, **options):
        return kind(f"tf_transfer_{name}", told, labels or [], registry=self._registry, **options)

    def request(self, signature: str, status: int, seconds: float) -> None:
        """Counts an answer to a predict request; records the time of successful ones."""
        self.answered += 1
        self._requests.labels(signature, str(status)).inc()
        if status == 200:
            self._seconds.labels(signature).observe(seconds)

    def call(self, signature: str, rows: int) -> None:
        """Counts a call of the model."""
        self._rows.labels(signature).observe(rows)

    def text(self, **gauges: float) -> bytes:
        """Renders all metrics, with the current `requests_under_way` and `queued_rows`."""
        for name, value in gauges.items():
            self._gauges[name].set(value)
        return prometheus_client.generate_latest(self._registry)
