"""Load an exported SavedModel and predict; needs TensorFlow alone.

from tf_transfer import serving
model = serving.load("runs/flowers/saved_model/1")
model.predict_files(["rose.jpg"])      # [Prediction(file="rose.jpg", label="rose", probability=0.98, ...)]
"""

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np

from tf_transfer.errors import UserError, one_line

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp")


@dataclass(frozen=True)
class Prediction:
    """One picture's answer.

    Attributes:
        file: the path that was given.
        label: the class name, empty where the file could not be read.
        probability: of that class, in [0, 1].
        probabilities: of every class, by name.
        error: why there is no answer, else empty.
    """

    file: str
    label: str
    probability: float
    probabilities: dict[str, float]
    error: str = ""


class Model:
    """A loaded SavedModel. Made by `load`."""

    def __init__(self, path: Path):
        import tensorflow as tf

        try:
            self._loaded = tf.saved_model.load(str(path))
            self._images = self._loaded.signatures["serving_default"]
            self._bytes = self._loaded.signatures["serve_bytes"]
        except Exception as e:  # On damaged files, TensorFlow's loader raises nearly anything.
            raise UserError(
                f"--saved_model={one_line(path)!r} is no SavedModel that this package exported: {one_line(e)}"
            ) from e
        self._tf = tf

    def predict(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Predicts uint8 `[N, H, W, 3]` pictures, one size a call.

        Returns:
            `label` `[N]` of str, `probability` `[N]`, `probabilities` and `logits` `[N, C]`, `class_names` `[C]`.

        Raises:
            UserError: another type or shape.
        """
        images = np.asarray(images)
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3 or not images.size:
            raise UserError(
                "images: expected uint8 of shape [N, H, W, 3] with no side 0, "
                f"got {images.dtype} of shape {list(images.shape)}."
            )
        return self._plain(self._images(images=self._tf.constant(images)))

    def predict_files(
        self, files: Iterable[str | Path], batch_size: int = 32, progress: Callable[[int, int, str], None] | None = None
    ) -> Iterator[Prediction]:
        """Yields one prediction a file, in order; an unreadable file gets an `error` and stops nothing."""
        files = [str(f) for f in files]
        for start in range(0, len(files), batch_size):
            batch = files[start : start + batch_size]
            yield from self._files(batch)
            if progress:
                progress(start + len(batch), len(files), "")

    def _files(self, files: Sequence[str]) -> list[Prediction]:
        try:
            return self._answer(files, [Path(f).read_bytes() for f in files])
        # TensorFlow quotes bytes of the file in some messages, which then fail to decode.
        except (OSError, self._tf.errors.InvalidArgumentError, UnicodeDecodeError) as e:
            if len(files) > 1:
                # One junk file fails its batch: ask for each alone.
                return [p for f in files for p in self._files([f])]
            return [Prediction(files[0], "", 0.0, {}, _reason(e))]

    def _answer(self, files: Sequence[str], contents: Sequence[bytes]) -> list[Prediction]:
        out = self._plain(self._bytes(contents=self._tf.constant(contents)))
        names = out["class_names"]
        return [
            Prediction(file, str(label), float(top), dict(zip(names, map(float, row), strict=True)))
            for file, label, top, row in zip(files, out["label"], out["probability"], out["probabilities"], strict=True)
        ]

    @staticmethod
    def _plain(outputs: dict) -> dict[str, np.ndarray]:
        values = {k: v.numpy() for k, v in outputs.items()}
        values["label"] = np.array([x.decode() for x in values["label"]])
        values["class_names"] = np.array([x.decode() for x in values["class_names"][0]])
        return values


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or "cannot be read"
    # The model says itself where a header claims too many pixels.
    too_large = re.search(r"more than \d+ million pixels", getattr(error, "message", ""))
    return too_large[0] if too_large else "no JPEG, PNG, GIF or BMP picture, or damaged"


def load(path: str | Path) -> Model:
    """Loads an exported SavedModel: the numbered folder, the one above it, or the run directory.

    Raises:
        UserError: nothing of the kind is there.
    """
    return Model(locate(path))


def locate(path: str | Path) -> Path:
    """Returns the artefact that a path means: the SavedModel in a folder or a run directory, or the file itself.

    Raises:
        UserError: nothing of the kind is there.
    """
    path = Path(path).expanduser()
    if path.is_file() and path.suffix in (".keras", ".tflite", ".onnx"):
        return path
    for place in (path, path / "1", path / "saved_model" / "1"):
        if (place / "saved_model.pb").is_file():
            return place
    raise UserError(
        f"--saved_model={one_line(path)!r}: no saved_model.pb there; run --phase=export first, then give its folder."
    )


def find_images(pattern: str) -> list[str]:
    """Returns the pictures that a file, a folder (searched whole) or a glob means, sorted.

    Raises:
        UserError: there are none.
    """
    import glob

    path = Path(pattern).expanduser()
    found = (
        [path]
        if path.is_file()
        else path.rglob("*")
        if path.is_dir()
        else map(Path, glob.glob(str(path), recursive=True))
    )
    files = sorted(str(f) for f in found if f.is_file() and (f.suffix.lower() in IMAGE_ENDINGS or f == path))
    if not files:
        raise UserError(
            f"--images={one_line(pattern)!r}: no picture found; expected a file, a folder or a glob of "
            f"{', '.join(IMAGE_ENDINGS)} files."
        )
    return files


def write_predictions(predictions: Iterable[Prediction], stream: TextIO, form: str) -> None:
    """Writes predictions as `csv` (file, label, probability, error) or `jsonl` (with all probabilities)."""
    if form == "csv":
        table = csv.writer(stream)
        table.writerow(["file", "label", "probability", "error"])
        table.writerows([p.file, p.label, f"{p.probability:.6f}", p.error] for p in predictions)
        return
    for p in predictions:
        stream.write(json.dumps(p.__dict__, ensure_ascii=False) + "\n")
