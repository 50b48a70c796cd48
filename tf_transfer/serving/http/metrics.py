"""What the service counts, in the text format of Prometheus."""

from collections import Counter, defaultdict, deque

import numpy as np

_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_QUANTILES = (0.5, 0.9, 0.99)
# Requests over which the quantiles are taken.
_LAST = 4096


class Metrics:
    """Counts requests, calls of the model and times. Used in one thread."""

    def __init__(self):
        self._requests: Counter = Counter()
        self._calls: defaultdict[str, Counter] = defaultdict(Counter)
        self._seconds: defaultdict[str, deque] = defaultdict(lambda: deque(maxlen=_LAST))
        self._sums: Counter = Counter()

    @property
    def answered(self) -> int:
        """Predictions that were asked for and answered, with an error or without."""
        return sum(self._requests.values())

    def request(self, signature: str, status: int, seconds: float) -> None:
        """Counts an answer to a predict request; times are those of the good ones."""
        self._requests[signature, status] += 1
        if status == 200:
            self._seconds[signature].append(seconds)
            self._sums[signature] += seconds

    def call(self, signature: str, rows: int) -> None:
        """Counts a call of the model."""
        self._calls[signature][rows] += 1

    def text(self, **gauges: float) -> str:
        """Returns everything as text, with what the moment is like beside it."""
        lines = ["# TYPE tf_transfer_requests_total counter"]
        for (name, status), count in sorted(self._requests.items()):
            lines.append(f'tf_transfer_requests_total{{signature="{name}",code="{status}"}} {count}')
        lines.append("# TYPE tf_transfer_request_seconds summary")
        for name, seconds in sorted(self._seconds.items()):
            for q, value in zip(_QUANTILES, np.quantile(list(seconds), _QUANTILES), strict=True):
                lines.append(f'tf_transfer_request_seconds{{signature="{name}",quantile="{q}"}} {value:.6f}')
            lines.append(f'tf_transfer_request_seconds_sum{{signature="{name}"}} {self._sums[name]:.6f}')
            lines.append(f'tf_transfer_request_seconds_count{{signature="{name}"}} {self._requests[name, 200]}')
        lines.append("# TYPE tf_transfer_batch_rows histogram")
        for name, calls in sorted(self._calls.items()):
            for edge in (*_BATCHES, "+Inf"):
                count = sum(n for rows, n in calls.items() if edge == "+Inf" or rows <= edge)
                lines.append(f'tf_transfer_batch_rows_bucket{{signature="{name}",le="{edge}"}} {count}')
            rows = sum(rows * n for rows, n in calls.items())
            lines.append(f'tf_transfer_batch_rows_sum{{signature="{name}"}} {rows}')
            lines.append(f'tf_transfer_batch_rows_count{{signature="{name}"}} {calls.total()}')
        for name, value in gauges.items():
            lines += [f"# TYPE tf_transfer_{name} gauge", f"tf_transfer_{name} {value}"]
        return "\n".join(lines) + "\n"
