"""The service as clients of TensorFlow Serving see it, over real sockets."""

import base64
import gzip
import io
import json
import os
import re
import signal
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("aiohttp", reason="the service needs it: pip install -e '.[serve]'")
from prometheus_client.parser import text_string_to_metric_families
from service_client import b64, serving

from benchmarks import service_hostile
from tf_transfer.serving.http import app


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """The model of the documentation, half of x and three, as version 123, and more for what it leaves open."""
    import tensorflow as tf

    module = tf.Module()
    spec = tf.TensorSpec((None,), tf.float32, "x")
    module.half = tf.function(lambda x: {"y": x / 2 + 3}, [spec])
    words = tf.TensorSpec((None,), tf.string, "words")
    module.text = tf.function(lambda words: {"text": words, "raw_bytes": words}, [words])
    module.sum = tf.function(lambda x: {"sum": tf.reduce_sum(x)}, [spec])
    folder = tmp_path_factory.mktemp("half_plus_three")
    signatures = {"serving_default": module.half, "text": module.text, "sum": module.sum}
    tf.saved_model.save(module, str(folder / "123"), signatures)
    (folder / "5").mkdir()
    with serving(folder, name="half_plus_three") as opened:
        yield opened


def test_the_example_of_the_documentation(three):
    model = "/v1/models/half_plus_three"
    status = {"version": "123", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    for path in (model, f"{model}/versions/123", f"{model}/labels/stable", "/V1/Models/half_plus_three"):
        assert three.get(path).json() == {"model_version_status": [status]}
    for path in (f"{model}:predict", f"{model}/versions/123:predict", f"{model}/labels/stable:predict"):
        assert three.post({"instances": [1.0, 2.0, 5.0]}, path).json() == {"predictions": [3.5, 4.0, 5.5]}
    assert three.post({"inputs": [1.0, 2.0]}).json() == {"outputs": [3.5, 4.0]}
    assert three.post({"inputs": {"x": [1.0]}}).json() == {"outputs": [3.5]}
    assert three.post({"instances": [{"x": 1.0}]}).json() == {"predictions": [3.5]}
    answer = three.post({"instances": [1.0, 5.0]}, "/v1/models/half:predict")
    assert (answer.status, answer.json()) == (404, {"error": "Servable not found for request: Latest(half)"})
    assert answer.headers["Content-Type"] == "application/json"


def test_strings_bytes_and_what_has_no_rows(three):
    rows = {"signature_name": "text", "instances": ["a", {"b64": "/w=="}]}
    assert three.post(rows).json() == {
        "predictions": [{"raw_bytes": {"b64": "YQ=="}, "text": "a"}, {"raw_bytes": {"b64": "/w=="}, "text": "\\xff"}]
    }
    assert three.post({"signature_name": "sum", "inputs": [1, 2]}).json() == {"outputs": 3.0}
    answer = three.post({"signature_name": "sum", "instances": [1, 2]})
    assert (answer.status, "no row format" in answer.json()["error"]) == (400, True)
    # What is not finite is JSON all the same.
    assert three.post(b'{"instances": [NaN, -Infinity, 1]}').json() == {"predictions": [None, None, 3.5]}


def test_metadata_is_what_the_server_tells(served, run):
    found = served.get("/v1/models/run/metadata").json()
    assert found["model_spec"] == {"name": "run", "signature_name": "", "version": "1"}
    signatures = found["metadata"]["signature_def"]["signature_def"]
    assert {"serving_default", "serve_bytes", "features"} <= set(signatures)
    images = signatures["serving_default"]["inputs"]["images"]
    assert images["dtype"] == "DT_UINT8"
    assert images["tensor_shape"] == {"dim": [{"size": "-1", "name": ""}] * 4, "unknown_rank": False}
    assert signatures["serve_bytes"]["inputs"]["contents"]["dtype"] == "DT_STRING"
    assert signatures["serving_default"]["method_name"] == "tensorflow/serving/predict"
    assert signatures["features"]["outputs"]["features"]["dtype"] == "DT_FLOAT"


def test_a_client_of_the_server_works_unchanged(served, samples):
    """As `resnet_client.py` of TensorFlow Serving asks: bytes in base64, `predictions` back, the best by argmax."""
    body = '{{"signature_name": "serve_bytes", "instances" : [{{"b64": "{}"}}]}}'
    request = body.format(base64.b64encode(samples[0]).decode("utf-8"))
    with urllib.request.urlopen(f"{served.url}/v1/models/run:predict", data=request.encode()) as response:
        prediction = json.load(response)["predictions"][0]
    assert prediction["class_names"][int(np.argmax(prediction["probabilities"]))] == prediction["label"]


def test_pictures_and_files_are_answered_as_by_the_model(served, model, samples):
    pictures = [np.asarray(Image.open(io.BytesIO(s))) for s in samples[:3]]
    expected = model.predict(np.stack(pictures))
    for found in (
        served.predictions([p.tolist() for p in pictures]),
        served.predictions([b64(s) for s in samples[:3]], "serve_bytes"),
    ):
        for i, row in enumerate(found):
            assert row["label"] == expected["label"][i]
            assert np.allclose(row["probabilities"], expected["probabilities"][i], atol=1e-6)
            assert np.allclose(row["logits"], expected["logits"][i], atol=1e-5)
    features = served.predictions([pictures[0].tolist()], "features")
    assert isinstance(features[0][0], float)
    grey = served.predictions([pictures[0][..., :1].tolist()])
    assert len(grey[0]["probabilities"]) == 10


def test_files_are_answered_as_by_the_signature_with_bad_ones_among_them(served, loaded, samples):
    contents = [samples[0], b"junk", samples[1][:-30], b"", samples[1]]
    own = loaded.call("serve_bytes", {"contents": np.array(contents, object)})
    columns = served.post({"signature_name": "serve_bytes", "inputs": {"contents": [b64(c) for c in contents]}})
    found = columns.json()["outputs"]
    assert set(found) == set(own)
    assert found["status"] == [s.decode() for s in own["status"]]
    assert [s == "ok" for s in found["status"]] == [True, False, False, False, True]
    for name in ("probabilities", "logits", "probability"):
        assert np.allclose(found[name], own[name], atol=1e-5)
    for name in ("label", "class_names"):
        assert found[name] == np.vectorize(bytes.decode)(own[name]).tolist()
    nothing = served.post({"signature_name": "serve_bytes", "inputs": []}).json()["outputs"]
    assert nothing["label"] == nothing["probabilities"] == []


def test_many_at_a_time_each_get_their_own_answer(served, model, samples):
    pictures = [np.asarray(Image.open(io.BytesIO(s))) for s in samples]
    expected = model.predict(np.stack(pictures))["probabilities"]

    def ask(i):
        k = i % len(samples)
        rows = [b64(samples[k])] if i % 2 else [pictures[k].tolist()]
        (row,) = served.predictions(rows, "serve_bytes" if i % 2 else "serving_default")
        return np.abs(np.array(row["probabilities"]) - expected[k]).max()

    with ThreadPoolExecutor(32) as pool:
        assert max(pool.map(ask, range(200))) < 1e-5
    calls = dict(
        re.findall(r'batch_rows_(sum|count)\{signature="serving_default"\} (\d+)', served.get("/metrics").text())
    )
    assert int(calls["sum"]) > 1.2 * int(calls["count"])


def test_large_requests_and_answers_go_through_another_process(served, loaded):
    pictures = np.random.default_rng(0).integers(0, 256, (100, 48, 48, 3), np.uint8)
    rows = {"instances": pictures.tolist()}
    assert len(json.dumps(rows)) > app.LARGE
    expected = loaded.call("serving_default", {"images": pictures})
    found = served.post(rows).json()["predictions"]
    assert np.allclose([row["probabilities"] for row in found], expected["probabilities"], atol=1e-6)
    answer = served.post(json.dumps(rows).replace("[[[[", "[[[[256, ", 1).encode())
    assert (answer.status, "lists of one level" in answer.json()["error"]) == (400, True)
    # It may end at any time, for want of memory say.
    os.kill(served.service.worker.pid, signal.SIGKILL)
    answers = [served.post(rows) for _ in range(2)]
    assert answers[1].status == 200
    if answers[0].status != 200:
        assert (answers[0].status, answers[0].headers["Retry-After"]) == (503, "5")
    # Few bytes, and as many lists and numbers.
    few = {"instances": pictures[:10].tolist()}
    assert len(json.dumps(few)) < app.LARGE
    os.kill(served.service.worker.pid, signal.SIGKILL)
    assert served.post(few).status in (200, 503)
    features = loaded.call("features", {"images": pictures})["features"]
    large = {"signature_name": "features", "inputs": np.repeat(pictures[:, :1, :1], 10, 0).tolist()}
    assert features.shape[1] * 1000 > app.MANY
    assert len(served.post(large).json()["outputs"]) == 1000


def test_hostile_files_harm_nobody(served, loaded, samples):
    bad = service_hostile.mutations(service_hostile.originals(samples[:2]), 200)
    requests, _ = service_hostile.mixed(bad, samples)
    expected = service_hostile.truth(
        loaded.decode, lambda images: loaded.call("serving_default", {"images": images}), requests
    )
    assert 50 < sum(e is None for e in expected) < len(expected) - 50

    def ask(rows):
        return served.predictions([b64(content) for content in rows], "serve_bytes")

    with ThreadPoolExecutor(8) as pool:
        answers = [row for rows in pool.map(ask, requests) for row in rows]
    assert service_hostile.wrong(answers, expected) == 0


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "message"),
    [
        ("POST", "/v1/models/run:predict", b"{", 400, "JSON Parse error"),
        ("POST", "/v1/models/run:predict", b'{"instances": [[[[1, 2]]]]}', 400, "1 or 3 channels"),
        (
            "POST",
            "/v1/models/run:predict",
            b'{"signature_name": "x", "instances": [1]}',
            400,
            '"x" not found; there are',
        ),
        ("POST", "/v1/models/run:classify", b"{}", 400, "no signature for classify; use :predict"),
        ("POST", "/v1/models/run:regress", b"{}", 400, "no signature for regress"),
        ("POST", "/v1/models/run/versions/2:predict", b"{}", 404, r"Specific\(run, 2\)"),
        ("POST", "/v1/models/run/labels/canary:predict", b"{}", 400, "version label: canary"),
        ("POST", "/v1/models/run", b"{}", 400, "Malformed request: POST /v1/models/run"),
        ("POST", "/v1/models/%3Cb%3E%0A:predict", b"{}", 404, r"Latest\(<b>\)"),
        ("GET", "/v1/models/run:predict", None, 400, "Malformed request"),
        ("GET", "/v1/models/run/versions/99999999999999999999999", None, 400, "Malformed request"),
        ("GET", "/v1/models/none/metadata", None, 404, "Servable not found"),
        ("GET", "/none", None, 404, "Not Found"),
        ("POST", "/healthz", b"", 405, "Method Not Allowed"),
    ],
)
def test_errors_are_json_with_the_right_status(served, method, path, body, status, message):
    answer = served.request(method, path, body)
    assert answer.status == status
    (error,) = answer.json().values()
    assert re.search(message, error)
    assert "\n" not in error
    assert (answer.headers["Server"], answer.headers["X-Content-Type-Options"]) == ("tf_transfer", "nosniff")


def test_compressed_bodies_are_read_and_broken_ones_refused(three):
    body = gzip.compress(b'{"instances": [1.0]}')
    path = "/v1/models/half_plus_three:predict"
    header = {"Content-Encoding": "gzip"}
    assert three.request("POST", path, body, **header).json() == {"predictions": [3.5]}
    answer = three.request("POST", path, b"junk", **header)
    assert (answer.status, list(answer.json())) == (400, ["error"])


def test_health_and_metrics(served):
    assert served.get("/healthz").json() == {"status": "alive"}
    assert served.get("/readyz").json() == {"status": "ready"}
    served.post(b"{")
    answer = served.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    families = {family.name: family for family in text_string_to_metric_families(answer.text())}
    assert {name: family.type for name, family in families.items()} == {
        "tf_transfer_requests": "counter",
        "tf_transfer_request_seconds": "histogram",
        "tf_transfer_batch_rows": "histogram",
        "tf_transfer_requests_under_way": "gauge",
        "tf_transfer_queued_rows": "gauge",
    }
    bad = [s for s in families["tf_transfer_requests"].samples if s.labels == {"signature": "", "code": "400"}]
    assert [s.name for s in bad] == ["tf_transfer_requests_total"] and bad[0].value >= 1
