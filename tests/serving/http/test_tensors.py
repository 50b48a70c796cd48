"""The JSON of the REST interface, against TensorFlow Serving's documentation and its server's rules."""

import json

import numpy as np
import pytest

from tf_transfer.serving.http import tensors
from tf_transfer.serving.http.limits import RequestError
from tf_transfer.serving.signatures import Signature, Tensor


def tensor(name, dtype, *shape):
    dtype = np.dtype(dtype)
    return Tensor(name, "S" if dtype.kind == "O" else dtype.kind, dtype, shape)


def signature(*inputs):
    return Signature("serving_default", tuple(sorted(inputs, key=lambda t: t.name)), ("y",), True)


PICTURES = signature(tensor("images", np.uint8, None, None, None, None))
FILES = signature(tensor("contents", object, None))
X = signature(tensor("x", np.float32, None))
# The example of the documentation.
THREE = signature(
    tensor("tag", object, None), tensor("signal", np.int64, None, 5), tensor("sensor", np.int32, None, 2, 2)
)
ROWS = {
    "instances": [
        {"tag": "foo", "signal": [1, 2, 3, 4, 5], "sensor": [[1, 2], [3, 4]]},
        {"tag": "bar", "signal": [3, 4, 1, 2, 5], "sensor": [[4, 5], [6, 8]]},
    ]
}
COLUMNS = {
    "inputs": {
        "tag": ["foo", "bar"],
        "signal": [[1, 2, 3, 4, 5], [3, 4, 1, 2, 5]],
        "sensor": [[[1, 2], [3, 4]], [[4, 5], [6, 8]]],
    }
}


def read(document, wanted):
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return tensors.arrays(tensors.parse(body), wanted)


@pytest.mark.parametrize(("document", "row"), [(ROWS, True), (COLUMNS, False)])
def test_the_documented_example_in_rows_and_in_columns(document, row):
    inputs, by_row = read(document, THREE)
    assert by_row is row
    assert inputs["tag"].tolist() == [b"foo", b"bar"]
    assert inputs["signal"].tolist() == COLUMNS["inputs"]["signal"]
    assert inputs["sensor"].tolist() == COLUMNS["inputs"]["sensor"]
    assert (inputs["signal"].dtype, inputs["sensor"].dtype) == (np.int64, np.int32)


@pytest.mark.parametrize(
    ("document", "wanted", "expected"),
    [
        ({"instances": [1.0, 2, 5]}, X, [1.0, 2.0, 5.0]),
        ({"instances": [{"x": 1.0}]}, X, [1.0]),
        ({"inputs": [1.5]}, X, [1.5]),
        ({"inputs": {"x": [1.5]}}, X, [1.5]),
        (b'{"instances": [-1e-3, Infinity]}', X, [np.float32(-1e-3), np.inf]),
        ({"instances": [{"b64": "aW1hZ2UgYnl0ZXM="}, "caf\u00e9"]}, FILES, [b"image bytes", "caf\u00e9".encode()]),
        ({"instances": [{"contents": {"b64": "aW1h Z2Ug\nYnl0ZXM"}}]}, FILES, [b"image bytes"]),
        ({"inputs": [{"b64": ""}]}, FILES, [b""]),
        ({"inputs": []}, FILES, []),
        ({"instances": [[[[0], [255]]]]}, PICTURES, [[[[0], [255]]]]),
    ],
)
def test_a_single_input_needs_no_name(document, wanted, expected):
    (found,) = read(document, wanted)[0].values()
    assert found.tolist() == expected


@pytest.mark.parametrize(
    ("document", "wanted", "message"),
    [
        (b"", X, "JSON Parse error: Expecting value"),
        (b"\xff\xfe{", X, "JSON Parse error"),
        (b'{"instances": [1.0,}', X, "JSON Parse error"),
        (b'{"instances": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", X, "nested too deeply"),
        (b'{"instances": [' + b"9" * 5000 + b"]}", X, "JSON Parse error"),
        (b"[1]", X, "a list of 1 Is not object"),
        ({}, X, "one of 'inputs' or 'instances'"),
        ({"inputs": [1], "instances": [1]}, X, "not both"),
        ({"instances": []}, X, "at least one value"),
        ({"instances": {"x": 1}}, X, "expecting 'instances' to be a list"),
        ({"instances": [{"z": 1}]}, X, "item 0 of 'instances': expecting an object with the keys 'x'"),
        ({"instances": [{"x": 1}, 1]}, X, "item 1 of 'instances'"),
        ({"instances": [1, {"x": 1}]}, X, "got an object in some"),
        ({"instances": [1]}, THREE, "a list of objects with the keys 'sensor', 'signal', 'tag'"),
        ({"inputs": {"tag": ["a"]}}, THREE, "with the keys 'sensor', 'signal', 'tag', got 'tag'"),
        ({"instances": ["1"]}, X, "'x': expecting numbers .float32., got \"1\""),
        ({"instances": [True]}, X, "got true"),
        ({"instances": [None]}, X, "got null"),
        ({"instances": [1e39]}, X, "is no float32"),
        ({"instances": [[[[1.0]]]]}, PICTURES, r"expecting whole numbers \(uint8\), got 1.0"),
        ({"instances": [[[[256]]]]}, PICTURES, r"256 is no uint8 \(0 to 255\)"),
        ({"instances": [[[[-1]]]]}, PICTURES, "-1 is no uint8"),
        ({"instances": [[[[2**70]]]]}, PICTURES, "too large for uint8"),
        ({"instances": [[[[True]]]]}, PICTURES, "got true"),
        (b'{"instances": [[[[NaN]]]]}', PICTURES, "got NaN"),
        ({"instances": [[[[1], [1]], [[1]]]]}, PICTURES, "lists of one level must have the same length"),
        ({"instances": [[[1]]]}, PICTURES, r"the shape \[any, any, any, any\], got \[1, 1, 1\]"),
        ({"instances": [[[[{"b64": "AA=="}]]]]}, PICTURES, "got an object with 1 keys"),
        ({"instances": [{"b64": "A*"}]}, FILES, "unable to base64 decode"),
        ({"instances": [{"b64": "A"}]}, FILES, "unable to base64 decode"),
        ({"instances": [{"b64": 1}]}, FILES, "with the keys 'contents'"),
        ({"inputs": {"contents": [{"b65": ""}]}}, FILES, "or bytes as"),
        ({"inputs": {"b64": "AA=="}}, FILES, r"the shape \[any\], got \[\]"),
        ({"instances": [1]}, FILES, r"expecting strings \(object\), got 1"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(document, wanted, message):
    with pytest.raises(RequestError, match=message) as error:
        read(document, wanted)
    assert error.value.status == 400
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


def test_one_long_string_among_many_numbers_takes_no_memory():
    with pytest.raises(RequestError, match="got"):
        read({"instances": [0] * 200_000 + ["x" * 5_000_000]}, X)


def test_signature_name():
    assert tensors.signature_name({}) == tensors.signature_name({"signature_name": ""}) == "serving_default"
    with pytest.raises(RequestError, match="must be a string"):
        tensors.signature_name({"signature_name": 1})


def test_one_output_goes_without_its_name_and_several_are_objects():
    y, z = np.array([3.5, 4.0], np.float32), np.array([[1, 2], [3, 4]])
    assert json.loads(tensors.render({"y": y}, True)) == {"predictions": [3.5, 4.0]}
    assert json.loads(tensors.render({"y": y}, False)) == {"outputs": [3.5, 4.0]}
    rows = [{"y": 3.5, "z": [1, 2]}, {"y": 4.0, "z": [3, 4]}]
    assert json.loads(tensors.render({"y": y, "z": z}, True)) == {"predictions": rows}
    assert json.loads(tensors.render({"y": y, "z": z}, False)) == {"outputs": {"y": [3.5, 4.0], "z": [[1, 2], [3, 4]]}}


@pytest.mark.parametrize("other", [np.float32(1), np.zeros(3, np.float32)])
def test_outputs_without_a_row_each_have_no_row_format(other):
    outputs = {"y": np.zeros(2, np.float32), "z": np.asarray(other)}
    with pytest.raises(RequestError, match=r"no row format, use 'inputs': y \[2\], z"):
        tensors.render(outputs, True)
    assert json.loads(tensors.render(outputs, False))["outputs"]["z"] == other.tolist()


def test_numbers_are_the_shortest_that_are_the_same_and_always_json():
    values = np.array([0.2, 1 / 3, 1e-30, 9e6, np.nan, np.inf, -np.inf], np.float32)
    text = tensors.render({"y": values}, True)
    assert text == b'{"predictions": [0.2, 0.33333334, 1e-30, 9000000.0, null, null, null]}'
    assert json.loads(tensors.render({"y": np.array([True, False])}, True)) == {"predictions": [True, False]}


def test_bytes_are_text_unless_the_name_says_otherwise():
    content = np.array(["caf\u00e9".encode(), b"\xff\x00", b'"<b>'], object)
    found = json.loads(tensors.render({"y": content}, True))["predictions"]
    assert found == ["caf\u00e9", "\\xff\x00", '"<b>']
    found = json.loads(tensors.render({"y_bytes": content[1:2]}, True))["predictions"]
    assert found == [{"b64": "/wA="}]


@pytest.mark.parametrize("document", [
    {"instances": [{"b64": "AAAA"}]},
    {"inputs": [{"b64": "AAAA"}]},
    {"instances": [{"x": {"b64": "AAAA"}}]},
    {"inputs": {"contents": [{"b64": "AAAA"}]}},
])  # fmt: skip
def test_bytes_without_a_signature_are_told_which_takes_files(document):
    body = json.dumps(document).encode()
    with pytest.raises(RequestError, match=r'; files are answered with "signature_name": "serve_bytes"$'):
        tensors.read(body, {"serving_default": X, "serve_bytes": FILES}, 9)
    with pytest.raises(RequestError) as refused:
        tensors.read(body, {"serving_default": X}, 9)
    assert "serve_bytes" not in str(refused.value)
