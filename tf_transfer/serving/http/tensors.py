"""Converts between the JSON of TensorFlow Serving's REST interface and arrays.

It follows the documentation, https://www.tensorflow.org/tfx/serving/api_rest, and where that says nothing, the server's
source (`util/json_tensor.cc`). Two things differ, as the server writes invalid JSON for them: numbers that are not
finite are written as `null`, and bytes that are not UTF-8 are escaped.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from tf_transfer.errors import one_line
from tf_transfer.serving.http.limits import RequestError
from tf_transfer.serving.signatures import EXAMPLES, FILES, Signature, Tensor

# Outputs with this ending hold bytes; all other strings are text.
_BYTES = "_bytes"
_KINDS = {"u": "whole numbers", "i": "whole numbers", "f": "numbers", "b": "true or false", "S": "strings"}
_TYPES = {"u": {int}, "i": {int}, "f": {int, float}, "b": {bool}, "S": {str, dict}}


def read(body: bytes, signatures: Mapping[str, Signature], most: int) -> tuple[str, dict[str, np.ndarray], bool]:
    """Reads the body of a predict request.

    Args:
        body: JSON.
        signatures: of the model, by name.
        most: largest number of rows in a request.

    Returns:
        The name of the signature, its inputs, and whether they came row by row.

    Raises:
        RequestError: the body does not fit the model.
    """
    document = parse(body)
    name = signature_name(document)
    if name not in signatures:
        known = ", ".join(sorted(signatures))
        raise RequestError(400, f'Serving signature name: "{one_line(name, 60)}" not found; there are {known}')
    try:
        inputs, row = arrays(document, signatures[name])
    except RequestError as e:
        raise RequestError(e.status, f"{e}{_for_files(document, signatures)}") from None
    rows = max((len(v) for v in inputs.values() if v.ndim), default=1)
    if rows > most:
        raise RequestError(400, f"{rows} rows in a request; {most} are allowed")
    return name, inputs, row


def _for_files(document: Mapping, signatures: Mapping[str, Signature]) -> str:
    """Returns what to add to a refusal where bytes were sent and no signature was named, as the server refuses too."""
    given = document.get("instances", document.get("inputs"))
    first = given[0] if isinstance(given, list) and given else given
    values = [first, *(first.values() if isinstance(first, dict) else ())]
    values += [value[0] for value in values if isinstance(value, list) and value]
    if FILES not in signatures or document.get("signature_name") or not any(map(_is_bytes, values)):
        return ""
    return f'; files are answered with "signature_name": "{FILES}"'


def parse(body: bytes) -> dict[str, Any]:
    """Reads the body of a request.

    Raises:
        RequestError: the body is not a JSON object.
    """
    try:
        document = json.loads(body)
    except RecursionError:
        raise RequestError(400, "JSON Parse error: nested too deeply") from None
    # Raised for invalid JSON, bytes that are not UTF-8, and numbers of thousands of digits.
    except ValueError as e:
        raise RequestError(400, f"JSON Parse error: {one_line(e)}") from None
    if not isinstance(document, dict):
        raise RequestError(400, f"JSON Value: {_quoted(document)} Is not object")
    return document


def signature_name(document: Mapping) -> str:
    """Returns the name of the signature of a request.

    Raises:
        RequestError: the name is not a string.
    """
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise RequestError(400, f"'signature_name' key must be a string value, got {_quoted(name)}")
    return name or EXAMPLES


def arrays(document: Mapping, signature: Signature) -> tuple[dict[str, np.ndarray], bool]:
    """Returns the inputs by name, and whether they came row by row.

    Raises:
        RequestError: they do not fit the signature.
    """
    row = "instances" in document
    if row == ("inputs" in document):
        raise RequestError(
            400, "expecting one of 'inputs' or 'instances' keys to exist" + (", not both" if row else "")
        )
    columns = _rows(document["instances"], signature) if row else _columns(document["inputs"], signature)
    return {t.name: _array(columns[t.name], t) for t in signature.inputs}, row


def _is_bytes(value: Any) -> bool:
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def _named(value: Any) -> bool:
    return isinstance(value, dict) and not _is_bytes(value)


def _rows(instances: Any, signature: Signature) -> dict[str, list]:
    if not isinstance(instances, list) or not instances:
        raise RequestError(400, f"expecting 'instances' to be a list with at least one value, got {_quoted(instances)}")
    names = [t.name for t in signature.inputs]
    if not _named(instances[0]):
        if len(names) > 1:
            raise RequestError(
                400, f"instances is a plain list, expecting a list of objects with the keys {_listed(names)}"
            )
        if any(set(v) == {"b64"} for v in instances if _named(v)):
            raise RequestError(400, "expecting a string of base64 as the value of every 'b64'")
        if any(map(_named, instances)):
            raise RequestError(400, "expecting a value or list in every item of 'instances', got an object in some")
        return {names[0]: instances}
    for number, item in enumerate(instances):
        if not _named(item) or set(item) != set(names):
            raise RequestError(400, f"item {number} of 'instances': expecting an object with the keys {_listed(names)}")
    return {name: [item[name] for item in instances] for name in names}


def _columns(inputs: Any, signature: Signature) -> dict[str, Any]:
    names = [t.name for t in signature.inputs]
    if not _named(inputs):
        if len(names) > 1:
            raise RequestError(400, f"inputs is a plain value, expecting an object with the keys {_listed(names)}")
        return {names[0]: inputs}
    if set(inputs) != set(names):
        raise RequestError(400, f"'inputs': expecting an object with the keys {_listed(names)}, got {_listed(inputs)}")
    return inputs


def _array(value: Any, tensor: Tensor) -> np.ndarray:
    what = f"{one_line(tensor.name, 60)!r}"
    # As objects: NumPy would turn true into 1 and "5" into 5, and allocate the longest string for every value.
    found = np.array(value, dtype=object)
    flat = found.ravel().tolist()
    if other := set(map(type, flat)) - _TYPES[tensor.kind]:
        if list in other:
            raise RequestError(400, f"{what}: lists of one level must have the same length")
        wrong = next(v for v in flat if type(v) in other)
        raise RequestError(400, f"{what}: expecting {_KINDS[tensor.kind]} ({tensor.dtype}), got {_quoted(wrong)}")
    if not tensor.fits(found.shape):
        told = "[" + ", ".join("any" if n is None else str(n) for n in tensor.shape) + "]"
        raise RequestError(400, f"{what}: expecting the shape {told}, got {list(found.shape)}")
    if tensor.kind == "S":
        return np.array([_content(v, what) for v in flat], dtype=object).reshape(found.shape)
    return _numbers(found, tensor, what)


def _content(value: str | dict, what: str) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if not _is_bytes(value):
        raise RequestError(400, f'{what}: expecting strings, or bytes as {{"b64": "..."}}, got {_quoted(value)}')
    # The server accepts spaces and missing padding, too.
    text = "".join(value["b64"].split()).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise RequestError(400, f"{what}: unable to base64 decode {_quoted(value['b64'])}") from None


def _numbers(found: np.ndarray, tensor: Tensor, what: str) -> np.ndarray:
    if tensor.kind == "b":
        return found.astype(bool)
    floats = tensor.kind == "f"
    try:
        wide = found.astype(np.float64 if floats else np.int64)
        low, high = (-np.inf, np.inf) if floats else (np.iinfo(tensor.dtype).min, np.iinfo(tensor.dtype).max)
        with np.errstate(over="ignore"):
            exact = wide.astype(tensor.dtype)
        lost = np.isfinite(wide) & ~np.isfinite(exact.astype(np.float64)) if floats else (wide < low) | (wide > high)
    except OverflowError:
        raise RequestError(400, f"{what}: a number is too large for {tensor.dtype}") from None
    if lost.any():
        told = f" ({low} to {high})" if not floats else ""
        raise RequestError(400, f"{what}: {wide[lost][0]} is no {tensor.dtype}{told}")
    return exact


def render(outputs: Mapping[str, np.ndarray], row: bool) -> bytes:
    """Writes outputs as the answer to a request, in row or column format; a single output has no name.

    Raises:
        RequestError: the row format is asked for, and outputs differ in their number of rows.
    """
    if row and (not all(v.ndim for v in outputs.values()) or len({len(v) for v in outputs.values()}) != 1):
        told = ", ".join(f"{name} {list(v.shape)}" for name, v in outputs.items())
        raise RequestError(400, f"the outputs have no row format, use 'inputs': {told}")
    plain = {name: _plain(name, value) for name, value in outputs.items()}
    if len(plain) == 1:
        (answer,) = plain.values()
    elif row:
        answer = [dict(zip(plain, values, strict=True)) for values in zip(*plain.values(), strict=True)]
    else:
        answer = plain
    return json.dumps({"predictions" if row else "outputs": answer}, ensure_ascii=False, allow_nan=False).encode()


def _plain(name: str, value: np.ndarray) -> Any:
    """Returns nested lists of JSON values."""
    if value.dtype.kind in "OSU":
        convert = _encoded if name.endswith(_BYTES) else _text
    elif value.dtype.kind in "biu":
        return value.tolist()
    else:
        # Shortest decimal of the number in its own precision: 0.2, not 0.20000000298023224.
        convert = _number
    return np.array([convert(v) for v in value.ravel()], dtype=object).reshape(value.shape).tolist()


def _number(value: np.floating) -> float | None:
    return float(str(value)) if np.isfinite(value) else None


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "backslashreplace")


def _encoded(value: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(value).decode("ascii")}


def _listed(names) -> str:
    return one_line(", ".join(map(repr, sorted(names))))


def _quoted(value: Any) -> str:
    """Returns a short JSON of a value, for messages."""
    if isinstance(value, (list, dict)):
        return f"a list of {len(value)}" if isinstance(value, list) else f"an object with {len(value)} keys"
    return one_line(json.dumps(value if not isinstance(value, str) else value[:60]), 80)
