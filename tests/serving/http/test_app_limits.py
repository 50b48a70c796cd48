"""What the service refuses, how it says so, and that it goes on."""

import gzip
import http.client
import json
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("aiohttp", reason="the service needs it: pip install -e '.[serve]'")
from service_client import b64, serving

from tf_transfer.serving.http.limits import Limits


class Hooked:
    """The model of the service; a test says what happens before each of its calls."""

    def __init__(self, model):
        self.model, self.before = model, lambda: None

    def __getattr__(self, name):
        return getattr(self.model, name)

    def call(self, *args):
        self.before()
        return self.model.call(*args)


@pytest.fixture
def hooked(loaded):
    return Hooked(loaded)


@pytest.fixture
def small(run, hooked):
    limits = Limits(max_batch=4, request_bytes=1 << 20, rows=8, queued=8, rate=0.0, seconds=2.0)
    with serving(run, limits, model=hooked) as opened:
        yield opened


def queued(served):
    """Rows that wait for the model."""
    return int(float(re.search(r"^tf_transfer_queued_rows (\S+)$", served.get("/metrics").text(), re.MULTILINE)[1]))


def connection(served):
    return http.client.HTTPConnection(served.url.removeprefix("http://"), timeout=20)


def test_a_body_that_is_too_large_is_not_read(small):
    path = "/v1/models/run:predict"
    # Told by its length, before it is sent.
    with_length = connection(small)
    with_length.putrequest("POST", path)
    with_length.putheader("Content-Length", str(1 << 30))
    with_length.endheaders()
    answer = with_length.getresponse()
    assert (answer.status, json.load(answer)) == (413, {"error": "a request of more than 1 MB (--max_request_mb)"})
    # Told by its client before it is sent.
    asking = connection(small)
    asking.putrequest("POST", path)
    asking.putheader("Content-Length", str(1 << 30))
    asking.putheader("Expect", "100-continue")
    asking.endheaders()
    assert asking.getresponse().status == 413
    # Not told at all, and small until it is unpacked.
    for body, header in (
        ((b" " * 70_000 for _ in range(20)), {}),
        (gzip.compress(b" " * (30 << 20)), {"Content-Encoding": "gzip"}),
    ):
        sent = connection(small)
        sent.request("POST", path, body, header, encode_chunked=not header)
        answer = sent.getresponse()
        assert answer.status == 413
        sent.close()
    for opened in (with_length, asking):
        opened.close()
    assert small.service.held.bytes == 0


def test_rows_and_time_are_limited(small, samples):
    answer = small.post({"signature_name": "serve_bytes", "instances": ["x"] * 9})
    assert (answer.status, answer.json()) == (400, {"error": "9 rows in a request; 8 are allowed"})
    slow = connection(small)
    slow.putrequest("POST", "/v1/models/run:predict")
    slow.putheader("Content-Length", "100")
    slow.endheaders(b"{")
    answer = slow.getresponse()
    assert (answer.status, json.load(answer)) == (408, {"error": "not here within 2 s"})
    slow.close()


def test_what_takes_too_long_is_told_and_what_nobody_waits_for_is_dropped(small, hooked):
    hold, calls = threading.Event(), []
    hooked.before = lambda: (calls.append(1), hold.wait(10))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(small.post, {"instances": [[[[1]]]]})
        while not calls:
            time.sleep(0.01)
        gone = connection(small)
        gone.request("POST", "/v1/models/run:predict", b'{"instances": [[[[1]]]]}')
        while not queued(small):
            time.sleep(0.01)
        gone.close()
        assert (first.result().status, first.result().json()) == (504, {"error": "not answered within 2 s"})
    hold.set()
    assert small.post({"instances": [[[[1]]]]}).status == 200
    assert len(calls) == 2
    assert 'code="499",signature=""} 1' in small.get("/metrics").text()


def test_a_full_queue_is_told_and_empties(run, samples, monkeypatch, hooked):
    limits = Limits(max_batch=4, rows=8, queued=8, seconds=60.0)
    with serving(run, limits, model=hooked) as small:
        begun, hold = threading.Event(), threading.Event()
        hooked.before = lambda: (begun.set(), hold.wait(60))
        with ThreadPoolExecutor(8) as pool:
            asked = []
            for rows in (0, 4, 8):
                asked.append(pool.submit(small.predictions, [b64(s) for s in samples[:4]], "serve_bytes"))
                # One after the other: the first leaves the queue for the model, those after it stay.
                assert begun.wait(20)
                until = time.monotonic() + 20
                while queued(small) < rows and time.monotonic() < until:
                    time.sleep(0.01)
                assert queued(small) == rows
            with monkeypatch.context() as patch:
                # Refused before any work is done.
                patch.setattr(hooked, "decode", None, raising=False)
                answer = small.post({"signature_name": "serve_bytes", "instances": [b64(samples[0])]})
            assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
            assert "8 rows are waiting already" in answer.json()["error"]
            # Nothing else waits for the model.
            assert small.get("/healthz").status == 200
            hold.set()
            assert [len(a.result()) for a in asked] == [4, 4, 4]
        assert small.post({"signature_name": "serve_bytes", "instances": [b64(samples[0])]}).status == 200


def test_a_rate_is_told_when_to_come_again(run, loaded, samples):
    with serving(run, Limits(rate=3.0), model=loaded) as limited:
        answers = [limited.post({"signature_name": "serve_bytes", "instances": ["x"]}) for _ in range(5)]
        assert [a.status for a in answers][:3] == [200] * 3
        assert answers[-1].status == 429
        assert answers[-1].headers["Retry-After"] == "1"
        assert limited.get("/healthz").status == limited.get("/v1/models/run").status == 200
        time.sleep(0.5)
        assert limited.post({"signature_name": "serve_bytes", "instances": ["x"]}).status == 200


def test_what_goes_wrong_inside_is_no_secret_of_the_client(small, hooked, caplog):
    def fail():
        raise KeyError("/secret/path")

    hooked.before = fail
    answer = small.post({"instances": [[[[1]]]]})
    assert (answer.status, answer.json()) == (500, {"error": "an internal error: KeyError"})
    assert "secret" in caplog.text


def test_while_it_stops_nothing_new_is_taken(small):
    small.service.stopping = True
    for answer in (small.get("/readyz"), small.post({"instances": [[[[1]]]]})):
        assert (answer.status, answer.json()) == (503, {"error": "the service is stopping"})
        assert answer.headers["Retry-After"] == "5"
    assert small.get("/healthz").status == 200


def test_model_names_are_text_on_the_page(run, loaded):
    with serving(run, name='"><b>&', model=loaded) as odd:
        page = odd.get("/").text()
        assert "<b>" not in page
        assert "&quot;&gt;&lt;b&gt;&amp;" in page
        assert odd.get("/v1/models/%22%3E%3Cb%3E%26").status == 200
