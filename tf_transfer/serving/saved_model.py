"""The loader of SavedModels: calls their signatures on NumPy arrays. Needs TensorFlow alone.

Only the gate has a loader of its own, in `export.runners`: it runs where this package is hidden, like the receiver of
an artefact.
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
        path: the numbered folder.
        signatures: by name.
        decodes: whether `decode` followed by `serving_default` answers a file, as `serve_bytes` does; False for exports
            of older versions and for other models.

    Raises:
        UserError: it cannot be loaded.
    """

    def __init__(self, path: Path):
        import tensorflow as tf

        self.path, self._tf = path, tf
        try:
            # Keep the loaded object: a signature works only as long as it exists.
            self._loaded = tf.saved_model.load(str(path))
            self._calls = dict(self._loaded.signatures)
        except Exception as e:  # On damaged files, TensorFlow's loader raises various errors.
            raise UserError(f"--saved_model={one_line(path)!r} cannot be loaded: {one_line(e)}") from e
        self.signatures = {name: self._signature(name, call) for name, call in self._calls.items()}
        self.decodes = self._has_decode()
        if self.decodes:
            self._decode = one = self._loaded.decode.concrete_functions[0]

            # One call for all files, as calls for each would take a third of the time. Inside, one file at a time, so
            # that a thread holds one large example and not several.
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
            outputs: names of the outputs to return; None for all, sorted.

        Raises:
            InputError: the model refuses the inputs; the message is its own.
        """
        # Other errors of TensorFlow are not the fault of the inputs.
        errors = self._tf.errors
        faults = errors.InvalidArgumentError, errors.FailedPreconditionError, errors.OutOfRangeError
        given = {t.name: self._tensor(inputs[t.name], t) for t in self.signatures[name].inputs}
        try:
            found = self._calls[name](**given)
            return {k: np.asarray(found[k].numpy()) for k in outputs or sorted(found)}
        except faults as e:
            # Cut off the node before and the stack after the message.
            raise InputError(one_line(e.message.partition("\n\t [[")[0].strip().split("\n")[-1])) from e
        # Some messages quote bytes of the inputs, and then cannot be decoded.
        except UnicodeDecodeError as e:
            raise InputError("the inputs are not what the model takes") from e

    def decode(self, content: bytes) -> np.ndarray:
        """Decodes one file to a stored example at the size of the network.

        Raises:
            InputError: the file cannot be decoded; the message says why.
        """
        try:
            return self._decode(self._tf.constant(content)).numpy()
        except (self._tf.errors.OpError, UnicodeDecodeError) as e:
            raise InputError(reason(e)) from e

    def decode_all(self, contents: Sequence[bytes]) -> list[np.ndarray | InputError]:
        """Decodes files, each to a stored example at the size of the network, or to the reason why it has no answer."""
        try:
            return list(self._decode_all(self._tf.constant(contents, self._tf.string)).numpy())
        except (self._tf.errors.OpError, UnicodeDecodeError):
            return [self._decoded(content) for content in contents]

    def blank(self) -> np.ndarray:
        """A blank row for `serving_default`; where files are decoded, of the size of decoded files."""
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
        """Says whether `decode` exists and, with `serving_default`, answers as `serve_bytes` does."""
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
        # A first side that is fixed or unknown may not count rows.
        batched = bool(inputs) and all(t.batched for t in (*inputs, *outputs))
        return Signature(name, inputs, tuple(t.name for t in outputs), batched)

    def _described(self, name: str, spec) -> Tensor:
        shape = None if spec.shape.rank is None else tuple(spec.shape.as_list())
        kind = self._kind(spec)
        return Tensor(name, kind, np.dtype(object if kind == "S" else spec.dtype.as_numpy_dtype), shape)


def reason(error: Exception) -> str:
    """Returns why a file was refused, in the model's own words where it has some.

    Other failures of TensorFlow only name an operation, which does not help a user.
    """
    told = re.search(r"assertion failed: \[([^\]\n]+)\]", getattr(error, "message", ""))
    return told[1] if told else DAMAGED


def locate(path: str | Path) -> Path:
    """Finds the SavedModel of a path: the folder itself, or one in a folder of versions or a run directory.

    Of several versions it takes the highest, like TensorFlow Serving.

    Raises:
        UserError: there is none.
    """
    path = Path(os.path.expanduser(path))
    for place in (path, path / "saved_model"):
        # `os.path`, which accepts names that no file can have.
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


def card_entry(card: Mapping, name: str) -> dict:
    """Returns an entry of a model card, such as `modality`; empty where another version or program wrote none."""
    entry = card.get(name)
    return entry if isinstance(entry, dict) else {}
