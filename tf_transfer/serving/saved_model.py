"""The loader of SavedModels: the signatures of one, called on NumPy arrays. Needs TensorFlow alone.

The gate alone loads by itself, in `export.runners`: it runs where this package is hidden, as whoever receives the
artefact would.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tf_transfer.errors import UserError, one_line
from tf_transfer.serving.inputs import DAMAGED, InputError
from tf_transfer.serving.signatures import EXAMPLES, FILES, Signature, Tensor


class SavedModel:
    """A loaded SavedModel; may be called from several threads.

    Args:
        path: the numbered folder.

    Attributes:
        path: the same.
        signatures: by name.
        decodes: whether `decode` followed by `serving_default` answers a file; not so of exports of older versions and
            of models from elsewhere.

    Raises:
        UserError: it cannot be loaded.
    """

    def __init__(self, path: Path):
        import tensorflow as tf

        self.path, self._tf = path, tf
        try:
            # Whoever calls a signature has to keep what it belongs to.
            self._loaded = tf.saved_model.load(str(path))
            self._calls = dict(self._loaded.signatures)
        except Exception as e:  # On damaged files, TensorFlow's loader raises nearly anything.
            raise UserError(f"--saved_model={one_line(path)!r} cannot be loaded: {one_line(e)}") from e
        self.signatures = {name: self._signature(name, call) for name, call in self._calls.items()}
        self.decodes = self._has_decode()
        if self.decodes:
            self._decode = one = self._loaded.decode.concrete_functions[0]

            # Called row by row, a third of the time would go into the calls. One row at a time all the same: a thread
            # is to hold one large example, not several.
            def decode_all(contents):
                return tf.map_fn(one, contents, fn_output_signature=one.structured_outputs, parallel_iterations=1)

            contents = tf.TensorSpec((None,), tf.string)
            self._decode_all = tf.function(decode_all, [contents], autograph=False).get_concrete_function()

    def call(
        self, name: str, inputs: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None
    ) -> dict[str, np.ndarray]:
        """Calls a signature.

        Args:
            name: of the signature.
            inputs: by the names of its inputs.
            outputs: names of what is wanted; None for all, sorted.

        Raises:
            InputError: what it says against its inputs.
        """
        # Anything else that TensorFlow says is no fault of the inputs.
        errors = self._tf.errors
        faults = errors.InvalidArgumentError, errors.FailedPreconditionError, errors.OutOfRangeError
        given = {t.name: self._tensor(inputs[t.name], t) for t in self.signatures[name].inputs}
        try:
            found = self._calls[name](**given)
            return {k: np.asarray(found[k].numpy()) for k in outputs or sorted(found)}
        except faults as e:
            # Before and after stand the node and the stack, which tell a user nothing.
            raise InputError(one_line(e.message.partition("\n\t [[")[0].strip().split("\n")[-1])) from e
        # TensorFlow quotes bytes of the inputs in some messages, which then fail to decode.
        except UnicodeDecodeError as e:
            raise InputError("the inputs are not what the model takes") from e

    def decode(self, content: bytes) -> np.ndarray:
        """Decodes one file to what the network sees of it.

        Raises:
            InputError: it cannot be decoded, and why.
        """
        try:
            return self._decode(self._tf.constant(content)).numpy()
        except (self._tf.errors.OpError, UnicodeDecodeError) as e:
            raise InputError(reason(e)) from e

    def decode_all(self, contents: Sequence[bytes]) -> list[np.ndarray | InputError]:
        """Decodes files, each to what the network sees of it or to why it has no answer."""
        try:
            return list(self._decode_all(self._tf.constant(contents, self._tf.string)).numpy())
        except (self._tf.errors.OpError, UnicodeDecodeError):
            return [self._decoded(content) for content in contents]

    def blank(self) -> np.ndarray:
        """One row that `serving_default` takes: of the size of decoded files where those are decoded."""
        (tensor,) = self.signatures[EXAMPLES].inputs
        decoded = self._decode.structured_outputs.shape if self.decodes else self._tf.TensorShape(None)
        if tensor.kind == "S" or not decoded.is_fully_defined():
            return tensor.blank()
        return np.zeros((1, *decoded.as_list()), tensor.dtype)

    def output_shape(self, name: str, output: str) -> tuple[int | None, ...]:
        """The shape of an output of a signature."""
        return tuple(self._calls[name].structured_outputs[output].shape.as_list())

    def _decoded(self, content: bytes) -> np.ndarray | InputError:
        try:
            return self.decode(content)
        except InputError as e:
            return e

    def _has_decode(self) -> bool:
        """Whether `decode` is there, and then `serving_default` does what `serve_bytes` does."""
        functions = getattr(getattr(self._loaded, "decode", None), "concrete_functions", ())
        if len(functions) != 1 or not {EXAMPLES, FILES} <= set(self.signatures):
            return False
        examples, files = self.signatures[EXAMPLES], self.signatures[FILES]
        if len(examples.inputs) != 1 or [t.kind for t in files.inputs] != ["S"]:
            return False
        decoded = functions[0].structured_outputs
        same = isinstance(decoded, self._tf.TensorSpec) and self._kind(decoded) == examples.inputs[0].kind
        return same and set(files.outputs) == {*examples.outputs, "status"}

    def _tensor(self, value: np.ndarray, tensor: Tensor):
        return self._tf.constant(value, self._tf.string if tensor.kind == "S" else self._tf.as_dtype(tensor.dtype))

    def _kind(self, spec) -> str:
        if spec.dtype == self._tf.string:
            return "S"
        return "f" if spec.dtype.is_floating else np.dtype(spec.dtype.as_numpy_dtype).kind

    def _signature(self, name: str, call) -> Signature:
        inputs = tuple(self._described(n, spec) for n, spec in sorted(call.structured_input_signature[1].items()))
        outputs = [self._described(n, spec) for n, spec in sorted(call.structured_outputs.items())]
        # Where a side is fixed, or the model says nothing of it, rows may not be what is counted by it.
        batched = bool(inputs) and all(t.batched for t in (*inputs, *outputs))
        return Signature(name, inputs, tuple(t.name for t in outputs), batched)

    def _described(self, name: str, spec) -> Tensor:
        shape = None if spec.shape.rank is None else tuple(spec.shape.as_list())
        kind = self._kind(spec)
        return Tensor(name, kind, np.dtype(object if kind == "S" else spec.dtype.as_numpy_dtype), shape)


def reason(error: Exception) -> str:
    """Why a file was refused: in the model's own words, where it has any.

    Any other failure of TensorFlow names the operation, which tells a user nothing.
    """
    told = re.search(r"assertion failed: \[([^\]\n]+)\]", getattr(error, "message", ""))
    return told[1] if told else DAMAGED


def locate(path: str | Path) -> Path:
    """Finds the SavedModel that a path means: the folder itself, or that in a folder of versions or a run directory.

    Of several versions the highest, as TensorFlow Serving takes it.

    Raises:
        UserError: there is none.
    """
    path = Path(os.path.expanduser(path))
    for place in (path, path / "saved_model"):
        # Asked by `os.path`, which has no objection to a name that is none.
        if os.path.isfile(place / "saved_model.pb"):
            return place
        if os.path.isdir(place):
            numbers = [n for n in os.listdir(place) if n.isdecimal() and os.path.isfile(place / n / "saved_model.pb")]
            if numbers:
                return place / max(numbers, key=int)
    what = "no saved_model.pb there" if os.path.isdir(path) else "there is no such folder"
    raise UserError(
        f"an exported model is expected at {one_line(path)!r}: {what}; run --phase=export first, then give its folder "
        "as --saved_model or --run_dir."
    )


def card_of(path: Path) -> dict:
    """Reads the model card in a SavedModel; empty where there is none."""
    try:
        card = json.loads((path / "assets" / "model_card.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return card if isinstance(card, dict) else {}
