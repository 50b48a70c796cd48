"""What the service counts, held to counts by hand."""

import pytest

pytest.importorskip("prometheus_client", reason="the service needs it: pip install -e '.[serve]'")
from prometheus_client.parser import text_string_to_metric_families

from tf_transfer.serving.http.metrics import Metrics


def samples(metrics, **gauges):
    families = text_string_to_metric_families(metrics.text(**gauges).decode())
    return {(s.name, *sorted(s.labels.items())): s.value for family in families for s in family.samples}


def test_counts_times_and_sizes():
    metrics, seconds = Metrics(), [0.0005, 0.02, 0.3]
    for value in seconds:
        metrics.request("serving_default", 200, value)
    metrics.request("serving_default", 400, 9.0)
    for rows in (1, 3, 32, 1000):
        metrics.call("serving_default", rows)
    found, by_name = samples(metrics, requests_under_way=2, queued_rows=7), ("signature", "serving_default")
    assert metrics.answered == 4
    assert found["tf_transfer_requests_total", ("code", "200"), by_name] == 3
    assert found["tf_transfer_requests_total", ("code", "400"), by_name] == 1
    assert (found["tf_transfer_requests_under_way",], found["tf_transfer_queued_rows",]) == (2, 7)
    # The good ones alone are timed.
    assert found["tf_transfer_request_seconds_count", by_name] == 3
    assert found["tf_transfer_request_seconds_sum", by_name] == pytest.approx(sum(seconds))
    buckets = {key[1][1]: value for key, value in found.items() if key[0] == "tf_transfer_request_seconds_bucket"}
    for edge, count in buckets.items():
        assert count == sum(value <= float(edge) for value in seconds)
    rows = {key[1][1]: value for key, value in found.items() if key[0] == "tf_transfer_batch_rows_bucket"}
    assert (rows["1.0"], rows["4.0"], rows["32.0"], rows["+Inf"]) == (1, 2, 3, 4)
    assert found["tf_transfer_batch_rows_sum", by_name] == 1036


def test_two_services_of_a_process_count_apart():
    one, other = Metrics(), Metrics()
    one.request("serving_default", 200, 0.1)
    assert other.answered == 0 and not [name for name, *_ in samples(other) if name == "tf_transfer_requests_total"]
