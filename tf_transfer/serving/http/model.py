"""The SavedModel that is served: its signatures, what TensorFlow Serving tells of them, and how they are called."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow.core.protobuf import saved_model_pb2

from tf_transfer.errors import UserError, one_line
from tf_transfer.serving.http.limits import RequestError
from tf_transfer.serving.http.tensors import Signature, Tensor

PICTURES, FILES = "serving_default", "serve_bytes"
# What TensorFlow says of inputs that it cannot work with; anything else is no fault of the client.
_INPUT = (tf.errors.InvalidArgumentError, tf.errors.FailedPreconditionError, tf.errors.OutOfRangeError)


class ServedModel:
    """A loaded SavedModel; may be called from several threads.

    Args:
        folder: the numbered folder.

    Attributes:
        signatures: by name.
        definitions: `signature_def` of TensorFlow Serving's metadata.
        decodes: whether files can be decoded one by one, see `decode`.
    """

    def __init__(self, folder: Path):
        try:
            self._loaded = tf.saved_model.load(str(folder))
            self.definitions = _definitions(folder)
        except Exception as e:  # On damaged files, TensorFlow's loader raises nearly anything.
            raise UserError(f"--saved_model={one_line(folder)!r} cannot be loaded: {one_line(e)}") from e
        self._calls = dict(self._loaded.signatures)
        if not self._calls:
            raise UserError(f"--saved_model={one_line(folder)!r} has no signatures: nothing of it can be asked for.")
        self.signatures = {name: _signature(name, call) for name, call in self._calls.items()}
        self.decodes = self._pictures_from_files()
        self._decode = self._loaded.decode.concrete_functions[0] if self.decodes else None
        self._warm()

    def call(self, name: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Calls a signature.

        Raises:
            RequestError: what it says against its inputs.
        """
        given = {t.name: tf.constant(inputs[t.name], _dtype(t)) for t in self.signatures[name].inputs}
        try:
            return {k: np.asarray(v.numpy()) for k, v in sorted(self._calls[name](**given).items())}
        except _INPUT as e:
            # Before and after stand the node and the stack: nothing for a client.
            raise RequestError(400, one_line(e.message.partition("\n\t [[")[0].strip().split("\n")[-1])) from None
        # TensorFlow quotes bytes of the inputs in some messages, which then fail to decode.
        except UnicodeDecodeError:
            raise RequestError(400, "the inputs are not what the model takes") from None

    def decode(self, content: bytes) -> np.ndarray | None:
        """Returns the uint8 `[S, S, 3]` that the network sees of a picture file, or None where it is bad."""
        try:
            return self._decode(tf.constant(content)).numpy()
        except (*_INPUT, UnicodeDecodeError):
            return None

    def _pictures_from_files(self) -> bool:
        """Says whether this is a model of ours: `decode` and then `serving_default` is what `serve_bytes` does."""
        wanted = {PICTURES, FILES} <= set(self.signatures) and hasattr(self._loaded, "decode")
        if not wanted or len(getattr(self._loaded.decode, "concrete_functions", ())) != 1:
            return False
        pictures, files = self.signatures[PICTURES], self.signatures[FILES]
        inputs = [(t.name, t.kind) for t in (*pictures.inputs, *files.inputs)]
        return inputs == [("images", "u"), ("contents", "S")] and set(files.outputs) == {*pictures.outputs, "status"}

    def _warm(self) -> None:
        """Calls what pictures go through once: a first call takes longer."""
        if self.decodes:
            content = tf.io.encode_png(tf.zeros((8, 8, 3), tf.uint8)).numpy()
            self.call(PICTURES, {"images": self.decode(content)[None]})
            self.call(FILES, {"contents": np.array([b""], object)})


def _definitions(folder: Path) -> dict[str, Any]:
    stored = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    (graph,) = [g for g in stored.meta_graphs if "serve" in g.meta_info_def.tags]
    told = json_format.MessageToDict(graph, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    return told["signature_def"]


def _signature(name: str, call) -> Signature:
    inputs = tuple(_tensor(n, spec) for n, spec in sorted(call.structured_input_signature[1].items()))
    outputs = [_tensor(n, spec) for n, spec in sorted(call.structured_outputs.items())]
    # Where a side is fixed, or the model says nothing of it, rows may not be what is counted by it.
    batched = bool(inputs) and all(t.batched for t in (*inputs, *outputs))
    return Signature(name, inputs, tuple(t.name for t in outputs), batched)


def _tensor(name: str, spec: tf.TensorSpec) -> Tensor:
    shape = None if spec.shape.rank is None else tuple(spec.shape.as_list())
    if spec.dtype == tf.string:
        return Tensor(name, "S", np.dtype(object), shape)
    kind = "f" if spec.dtype.is_floating else np.dtype(spec.dtype.as_numpy_dtype).kind
    return Tensor(name, kind, np.dtype(spec.dtype.as_numpy_dtype), shape)


def _dtype(tensor: Tensor) -> tf.DType:
    return tf.string if tensor.kind == "S" else tf.dtypes.as_dtype(tensor.dtype)
