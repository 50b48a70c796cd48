"""SavedModel with everything inside: raw pictures or file bytes in, class names and probabilities out."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from tf_transfer.data import pixels
from tf_transfer.errors import UserError
from tf_transfer.models import folding
from tf_transfer.models.classifier import Classifier

# Largest difference of probabilities between the served and the evaluated model, by their precision; `other` where
# the one computes in float32 and the other in bfloat16.
TOLERANCE = {"float32": 1e-5, "bfloat16": 2e-2, "other": 5e-2}


class _Served(tf.Module):
    """The two signatures; holds variables and constants only, so that it loads without Keras."""

    def __init__(self, classifier: Classifier, class_names: tuple[str, ...], folded: list[tf.Variable]):
        super().__init__()
        replaced = {id(v) for fold in classifier.folds for v in fold.replaced}
        state = [v.value for v in [*classifier.backbone.weights, *classifier.head.weights]]
        self.state = [v for v in state if id(v) not in replaced] + folded
        names = tf.constant([name.encode("utf-8", "backslashreplace") for name in class_names])
        size = classifier.size

        def answer(images):
            """Returns the outputs of both signatures."""
            logits = classifier.logits(images)
            best = tf.argmax(logits, axis=1)
            everyone = tf.tile(names[None], (tf.shape(logits)[0], 1))
            return {
                "label": tf.gather(names, best),
                "probability": tf.reduce_max(tf.nn.softmax(logits), axis=1),
                "probabilities": tf.nn.softmax(logits),
                "logits": logits,
                "class_names": everyone,
            }

        def serve_images(images):
            return answer(images)

        def serve_bytes(contents):
            signature = tf.TensorSpec((size, size, 3), tf.float32)
            return answer(
                tf.map_fn(lambda c: pixels.resize(pixels.decode(c), size), contents, fn_output_signature=signature)
            )

        self.serve_images = tf.function(
            serve_images, [tf.TensorSpec((None, None, None, 3), tf.uint8, "images")], autograph=False
        )
        self.serve_bytes = tf.function(serve_bytes, [tf.TensorSpec((None,), tf.string, "contents")], autograph=False)


def write(classifier: Classifier, class_names: tuple[str, ...], folder: Path) -> list[str]:
    """Writes a SavedModel into `folder`: batch normalisations are folded into the layers before them.

    Signatures, for N pictures and C classes:
        serving_default: `images` uint8 `[N, H, W, 3]`, any size.
        serve_bytes: `contents` string `[N]`, JPEG, PNG, GIF or BMP files.
    Both return `label` string `[N]`, `probability` float32 `[N]`, `probabilities` and `logits` float32
    `[N, C]`, and `class_names` string `[N, C]`, in the order of the probabilities.

    Returns:
        The names of the signatures.
    """
    # A server need not have XLA, and would compile anew for every size of a batch.
    xla, classifier.xla = classifier.xla, False
    with folding.constant(classifier.folds) as folded:
        served = _Served(classifier, class_names, folded)
        signatures = {"serving_default": served.serve_images, "serve_bytes": served.serve_bytes}
        tf.saved_model.save(served, str(folder), signatures=signatures)
    classifier.xla = xla
    return list(signatures)


def parity(folder: Path, images: np.ndarray, logits: np.ndarray, precision: str) -> dict:
    """Compares a written SavedModel with the logits of the model it was written from.

    Args:
        folder: the SavedModel.
        images: uint8 `[N, H, W, 3]`.
        logits: float32 `[N, C]` of the evaluated model on these pictures.
        precision: a key of `TOLERANCE`.

    Returns:
        `n`, `max_probability_difference`, `argmax_agreement`, `tolerance`.

    Raises:
        UserError: the difference is above the tolerance: the export is not the model that was measured.
    """
    served = tf.saved_model.load(str(folder)).signatures["serving_default"]
    outputs = [
        served(images=tf.constant(images[i : i + 32]))["probabilities"].numpy() for i in range(0, len(images), 32)
    ]
    expected, got = tf.nn.softmax(logits).numpy(), np.concatenate(outputs)
    difference = float(np.abs(expected - got).max())
    found = {
        "n": len(images),
        "max_probability_difference": difference,
        "argmax_agreement": float((expected.argmax(1) == got.argmax(1)).mean()),
        "tolerance": TOLERANCE[precision],
    }
    if not difference <= TOLERANCE[precision]:
        raise UserError(
            f"The exported model differs from the evaluated one by {difference:.3g} in probability "
            f"(tolerance {TOLERANCE[precision]:g}); nothing was exported."
        )
    return found
