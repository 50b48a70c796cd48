"""The SavedModel that is served, as clients of TensorFlow Serving see it."""

from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import json_format
from tensorflow.core.protobuf import saved_model_pb2

from tf_transfer.errors import UserError, one_line
from tf_transfer.modalities.words import of_card
from tf_transfer.serving.http.limits import RequestError
from tf_transfer.serving.inputs import InputError
from tf_transfer.serving.saved_model import SavedModel, card_of
from tf_transfer.serving.signatures import EXAMPLES, FILES


class ServedModel:
    """A loaded SavedModel behind a service; may be called from several threads.

    Args:
        folder: the numbered folder.

    Attributes:
        signatures: by name.
        definitions: `signature_def` of TensorFlow Serving's metadata.
        decodes: whether files can be decoded one by one, see `decode`.
        example: name of the input of `serving_default`, where `decodes`.
        contents: name of the input of `serve_bytes`, where `decodes`.
        words: for its examples.

    Raises:
        UserError: it cannot be loaded, or has no signatures.
    """

    def __init__(self, folder: Path):
        self._saved, self.words = SavedModel(folder), of_card(card_of(folder))
        self.signatures, self.decodes = self._saved.signatures, self._saved.decodes
        if not self.signatures:
            raise UserError(f"--saved_model={one_line(folder)!r} has no signatures: nothing of it can be asked for.")
        self.definitions = _definitions(folder)
        if self.decodes:
            self.example, self.contents = (self.signatures[name].inputs[0].name for name in (EXAMPLES, FILES))
            self._warm()

    def call(self, name: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Calls a signature.

        Raises:
            RequestError: the model refuses the inputs; the message is its own.
        """
        try:
            return self._saved.call(name, inputs)
        except InputError as e:
            raise RequestError(400, str(e)) from None

    def decode(self, content: bytes) -> np.ndarray | None:
        """Decodes a file to a stored example at the size of the network; None for a bad file."""
        try:
            return self._saved.decode(content)
        except InputError:
            return None

    def _warm(self) -> None:
        """Calls every function for files once, as a first call takes longer."""
        self.decode(b"")
        self.call(EXAMPLES, {self.example: self._saved.blank()})
        self.call(FILES, {self.contents: np.array([b""], object)})


def _definitions(folder: Path) -> dict[str, Any]:
    stored = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    (graph,) = [g for g in stored.meta_graphs if "serve" in g.meta_info_def.tags]
    told = json_format.MessageToDict(graph, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    return told["signature_def"]
