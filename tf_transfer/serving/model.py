"""A loaded SavedModel: its signatures called on numpy arrays, each picture by itself where one is bad."""

import collections
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tf_transfer.errors import UserError, one_line
from tf_transfer.serving.inputs import PictureError

# What `export.rows` says of such a file, and a test holds the two together. A failure of TensorFlow names the
# operation, which tells a user nothing; the other reasons are taken from the failure, where the model says them itself.
DAMAGED = "damaged, or cut short"

Answer = tuple[np.ndarray, ...]


class Model:
    """The calls of an exported SavedModel.

    Attributes:
        path: the numbered folder.
        class_names: in the order of the outputs.
        card: the model card; empty where the export wrote none.
        decodes: whether it has `decode`, as every export but those of an older version.
    """

    def __init__(self, path: str | Path):
        self.path = locate(path)
        import tensorflow as tf

        self._tf = tf
        try:
            self._load()
        except Exception as e:  # On damaged files, TensorFlow's loader raises nearly anything.
            raise UserError(
                f"--saved_model={one_line(path)!r} is no SavedModel that this package exported: {one_line(e)}"
            ) from e
        self.card = card_of(self.path)

    def _load(self) -> None:
        tf = self._tf
        # Whoever calls a signature has to keep what it belongs to.
        self._loaded = loaded = tf.saved_model.load(str(self.path))
        for name in ("serving_default", "serve_bytes"):
            if name not in loaded.signatures:
                raise ValueError(f"it has no signature {name}")
        self._images, self._bytes = loaded.signatures["serving_default"], loaded.signatures["serve_bytes"]
        self._features = loaded.signatures.get("features")
        # The first call compiles, and tells the names also where they are no asset yet.
        names = self._images(images=tf.zeros((1, 8, 8, 3), tf.uint8))["class_names"].numpy()[0]
        self.class_names = tuple(name.decode() for name in names)
        self.decodes = hasattr(loaded, "decode")
        if self.decodes:
            self._decode = one = loaded.decode.concrete_functions[0]

            # Called row by row, a third of the time would go into the calls. One row at a time all the same: a thread
            # is to hold one large picture, not several.
            def decode_all(contents):
                return tf.map_fn(one, contents, fn_output_signature=one.structured_outputs, parallel_iterations=1)

            contents = tf.TensorSpec((None,), tf.string)
            self._decode_all = tf.function(decode_all, [contents], autograph=False).get_concrete_function()

    def decode(self, contents: Sequence[bytes]) -> list[np.ndarray | PictureError]:
        """Decodes files to uint8 `[S, S, 3]`, what the network sees of them, or to why they have no answer."""
        # TensorFlow quotes bytes of the file in some messages, which then fail to decode.
        failures = self._tf.errors.OpError, UnicodeDecodeError
        try:
            return list(self._decode_all(self._tf.constant(contents, self._tf.string)).numpy())
        except failures:
            pass
        found = []
        for content in contents:
            try:
                found.append(self._decode(self._tf.constant(content)).numpy())
            except failures as e:
                found.append(_reason(e))
        return found

    def predict(self, pictures: Sequence) -> list[Answer | PictureError]:
        """Answers a batch with (logits, probabilities), each `[C]`.

        Args:
            pictures: uint8 `[H, W, 3]` arrays; bytes of files, where the model has no `decode`; or `PictureError`s,
                which are passed on.
        """
        return self._by_kind(pictures, self._images, ("logits", "probabilities"))

    def features(self, pictures: Sequence) -> list[np.ndarray]:
        """Answers a batch with embeddings `[D]`, NaN for what `predict` would pass on."""
        width = self.features_width()
        answers = self._by_kind(pictures, self._features, ("features",))
        return [np.full(width, np.nan, np.float32) if isinstance(a, PictureError) else a[0] for a in answers]

    def features_width(self) -> int:
        """Returns D of the embeddings.

        Raises:
            UserError: the model has none.
        """
        if self._features is None:
            raise UserError(f"--saved_model={one_line(self.path)!r} has no signature features; export the model again.")
        return self._features.structured_outputs["features"].shape[1]

    def _by_kind(self, pictures: Sequence, signature, outputs: Sequence[str]) -> list[Answer | PictureError]:
        """Calls a signature once for each size of pictures in a batch."""
        found, places = list(pictures), collections.defaultdict(list)
        for at, picture in enumerate(pictures):
            if not isinstance(picture, PictureError):
                places[bytes if isinstance(picture, bytes) else picture.shape].append(at)
        for kind, rows in places.items():
            same = [pictures[at] for at in rows]
            if kind is bytes:
                answers = self._by_bytes(same, outputs)
            else:
                answers = _rows(signature(images=self._tf.constant(np.stack(same))), outputs)
            for at, answer in zip(rows, answers, strict=True):
                found[at] = answer
        return found

    def _by_bytes(self, contents: list[bytes], outputs: Sequence[str]) -> list[Answer | PictureError]:
        """Asks a model without `decode`, of which one bad file fails its batch: then each is asked for alone."""
        try:
            return _rows(self._bytes(contents=self._tf.constant(contents)), outputs)
        except (self._tf.errors.OpError, UnicodeDecodeError) as e:
            if len(contents) == 1:
                return [_reason(e)]
            return [answer for content in contents for answer in self._by_bytes([content], outputs)]


def _rows(answer: dict, outputs: Sequence[str]) -> list[Answer]:
    return list(zip(*(answer[name].numpy() for name in outputs), strict=True))


def _reason(error: Exception) -> PictureError:
    told = re.search(r"assertion failed: \[([^\]\n]+)\]", getattr(error, "message", ""))
    return PictureError(told[1] if told else DAMAGED)


def locate(path: str | Path) -> Path:
    """Returns the SavedModel that a path means: the folder itself, or that in a folder of versions or a run directory.

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
    """Returns the model card in a SavedModel; empty where there is none."""
    try:
        card = json.loads((path / "assets" / "model_card.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return card if isinstance(card, dict) else {}
