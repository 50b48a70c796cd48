"""The registry of export formats beside the SavedModel, by the names of `--export_targets`."""

import functools
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from tf_transfer.errors import UserError
from tf_transfer.export import gate, keras_file, litert, onnx_file, weights_files
from tf_transfer.export.trained import Trained
from tf_transfer.modalities.base import Modality
from tf_transfer.models import weights
from tf_transfer.registry import Registry, split_list

# Number of examples whose features are compared, and of examples of another size whose logits are compared.
_FEATURES, _OTHER_SIZE = 256, 16
_BATCH = 32


@dataclass(frozen=True)
class Target:
    """An export format.

    Attributes:
        write: given a trained model and a path, writes the file, and others beside it if needed.
        file: name of the file, which `runners.open_artefact` opens.
        arithmetic: of its computation, a key of `gate.TOLERANCE`.
        takes: its input, in words, for the model card.
        gives: its output, in words.
        any_size: whether it resizes examples itself.
        packages: packages that it needs beyond the required ones.
    """

    write: Callable[[Trained, Path], None]
    file: str
    arithmetic: str
    takes: str
    gives: str
    any_size: bool = False
    packages: tuple[str, ...] = ()


TARGET = Registry("--export_targets")
_RESIZED = "already of the size that the network sees, by bilinear resizing with antialiasing"

TARGET.register("keras")(
    Target(keras_file.write, "model.keras", "float32", "uint8 [N, H, W, 3], RGB pixels, any size",
           "float32 [N, C], logits", any_size=True)
)  # fmt: skip
TARGET.register("weights")(
    Target(weights_files.write, weights.BACKBONE_FILE, "float32",
           f"float32 [N, S, S, 3], RGB pixels {_RESIZED}, preprocessed by the mode of network.json",
           "float32 [N, D], pooled features, of which the head makes logits")
)  # fmt: skip
TARGET.register("litert_float16")(
    Target(litert.write_float16, "model.tflite", "float16", f"float32 [N, S, S, 3], RGB pixels in [0, 255], {_RESIZED}",
           "float32 [N, C], calibrated probabilities")
)  # fmt: skip
TARGET.register("litert_int8")(
    Target(litert.write_int8, "model.tflite", "int8", f"uint8 [N, S, S, 3], RGB pixels, {_RESIZED}",
           "float32 [N, C], calibrated probabilities in steps of 1/256")
)  # fmt: skip
TARGET.register("onnx")(
    Target(onnx_file.write, "model.onnx", "float32", f"uint8 [N, S, S, 3], RGB pixels, {_RESIZED}",
           "float32 [N, C], logits and calibrated probabilities", packages=("onnx", "tf2onnx", "onnxruntime"))
)  # fmt: skip


def parse(text: str | None, modality: Modality) -> list[str]:
    """Lists the names in `--export_targets`, each once.

    Raises:
        UserError: an unknown name, one that holds no networks of the modality, or one whose packages are not installed.
    """
    names = [] if text in (None, "none") else list(dict.fromkeys(split_list(text)))
    for name in names:
        if name in TARGET.names() and name not in modality.targets:
            known = ", ".join(modality.targets) or "none"
            raise UserError(
                f"--export_targets={name} holds no network of {modality.many}; expected: {known}. The SavedModel is "
                "always written."
            )
        missing = [p for p in TARGET.factory(name).packages if importlib.util.find_spec(p) is None]
        if missing:
            raise UserError(
                f"--export_targets={name} needs {', '.join(missing)}: pip install {' '.join(missing)}, or in a "
                f"checkout of this package pip install -e '.[{name}]'."
            )
    return names


def check(
    name: str, trained: Trained, folder: Path, examples: np.ndarray, logits: np.ndarray, latency: Sequence[int] = ()
) -> tuple[gate.Answers, dict]:
    """Runs an artefact in a process of its own and compares it with the model from which it was made.

    Args:
        name: of the target.
        trained: the model.
        folder: of the artefact.
        examples: stored examples `[N, ...]`.
        logits: float32 `[N, C]`, of the model in float32.
        latency: batch sizes to time.

    Returns:
        Its answers, and the figures of the comparison.

    Raises:
        UserError: the artefact differs from the model, or cannot be run.
    """
    target, end = TARGET.factory(name), "it is not kept"
    size, many = trained.classifier.size, trained.modality.many
    tolerance = gate.TOLERANCE["kernels" if target.arithmetic == "float32" else target.arithmetic]
    fit = np.asarray if target.any_size else functools.partial(trained.modality.resized, size=size)
    found = gate.answers(folder / target.file, examples, latency, fit=fit)
    parity = gate.compare(found, logits, tolerance, trained.temperature, name, end, many)
    if "features" in found.arrays:
        some = examples[:_FEATURES]
        expected = in_batches(trained.classifier.features, some)
        difference = np.abs(found.arrays["features"][:_FEATURES] - expected).max() / np.abs(expected).max()
        parity["max_feature_difference"] = float(difference)
        if not difference <= 1e-4:
            raise UserError(f"{name} has features that differ by {difference:.2g} of the largest; {end}.")
    if target.any_size:
        other = tf.image.resize(examples[:_OTHER_SIZE], (3 * size // 2 + 1, size - 1)).numpy().round().astype(np.uint8)
        expected = trained.classifier.logits(other).numpy()
        resized = gate.answers(folder / target.file, other)
        parity["other_size"] = gate.compare(
            resized, expected, tolerance, trained.temperature, f"{name}, on {many} to be resized,", end, many
        )
    return found, parity


def in_batches(function: Callable, examples: np.ndarray) -> np.ndarray:
    """Applies a function to many examples, batch by batch."""
    return np.concatenate([function(examples[start : start + _BATCH]) for start in range(0, len(examples), _BATCH)])
