"""SavedModel with everything inside: raw pictures or file bytes in, class names and probabilities out."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import tensorflow as tf

from tf_transfer.modalities.image import decode_rows, pixels
from tf_transfer.models import folding
from tf_transfer.models.classifier import Classifier

SIGNATURES = ("serving_default", "serve_bytes", "features")


class _Served(tf.Module):
    """The signatures; holds variables, constants and assets only, so that it loads without Keras."""

    def __init__(
        self, classifier: Classifier, class_names: Sequence[str], temperature: float, variables, assets: Sequence[Path]
    ):
        super().__init__()
        self.state = variables
        self.assets = [tf.saved_model.Asset(str(path)) for path in assets]
        self.class_names = tf.constant([name.encode("utf-8", "backslashreplace") for name in class_names])
        self.temperature = tf.constant(temperature, tf.float32)
        size = classifier.size
        # Traced once, for all signatures: the network is most of the file, and of the time to write and to load it.
        images = tf.TensorSpec((None, None, None, 3), tf.uint8)
        self.network = tf.function(classifier.features, [images], autograph=False)

        def logits(images):
            return classifier.classify(_without_none(self.network, images))

        def serve_images(images):
            return self._answer(logits(_coloured(images)))

        def serve_bytes(contents):
            """Answers files; where one is bad, its row is empty and its status says why."""
            images, status = decode_rows.decode(contents, size)
            answer = self._answer(logits(images))
            empty = {name: tf.zeros_like(value) for name, value in answer.items()} | {"label": tf.fill([1], "")}
            empty["class_names"] = answer["class_names"]
            good = status == decode_rows.OK
            chosen = {name: tf.where(_beside(good, value), value, empty[name]) for name, value in answer.items()}
            return chosen | {"status": status}

        def features(images):
            return {"features": _without_none(self.network, _coloured(images))}

        def decode(content):
            return tf.cast(pixels.resize(pixels.decode(content), size), tf.uint8)

        images = tf.TensorSpec((None, None, None, None), tf.uint8, "images")
        self.serve_images = tf.function(serve_images, [images], autograph=False)
        self.serve_bytes = tf.function(serve_bytes, [tf.TensorSpec((None,), tf.string, "contents")], autograph=False)
        self.features = tf.function(features, [images], autograph=False)
        self.decode = tf.function(decode, [tf.TensorSpec((), tf.string, "content")], autograph=False)

    def _answer(self, logits):
        """Returns the outputs that both ways in share."""
        best = tf.argmax(logits, axis=1)
        probabilities = tf.nn.softmax(logits / self.temperature)
        return {
            "label": tf.gather(self.class_names, best),
            "probability": tf.reduce_max(probabilities, axis=1),
            "probabilities": probabilities,
            "logits": logits,
            "class_names": tf.tile(self.class_names[None], (tf.shape(logits)[0], 1)),
        }


def write(
    classifier: Classifier,
    class_names: Sequence[str],
    folder: Path,
    temperature: float = 1.0,
    assets: Mapping[str, bytes] | None = None,
) -> list[str]:
    """Writes a SavedModel into `folder`: batch normalisations are folded into the layers before them.

    Signatures, for N pictures and C classes:
        serving_default: `images` uint8 `[N, H, W, 3]`, or grey `[N, H, W, 1]`, any size.
        serve_bytes: `contents` string `[N]`, JPEG, PNG, GIF, BMP or WebP files. Rows are independent: `status` string
            `[N]` is `ok`, or says why the file has no answer; its label is then empty, and its numbers are 0.
        features: `images` as above; `features` float32 `[N, D]`, the pooled embedding.
    The first two return `label` string `[N]`, `probability` float32 `[N]`, `probabilities` and `logits` float32
    `[N, C]`, and `class_names` string `[N, C]`, in the order of the probabilities, which are
    softmax(logits / temperature).
    Beside the signatures, the loaded object has `decode`: one file, a scalar string, to the uint8 `[S, S, 3]` that the
    network sees of it; it fails where the file is bad.

    Args:
        classifier: what is written.
        class_names: in the order of its logits.
        folder: a new folder.
        temperature: see `evaluation.temperature`; 1 leaves the probabilities as they are.
        assets: further files by name, for `assets/`; `class_names.txt` is always there.

    Returns:
        The names of the signatures.
    """
    contents = {"class_names.txt": escaped(class_names)} | dict(assets or {})
    # A server need not have XLA, and would compile anew for every size of a batch.
    xla, classifier.xla = classifier.xla, False
    try:
        with folding.constant(classifier.folds) as folded, tempfile.TemporaryDirectory() as scratch:
            paths = [Path(scratch) / name for name in contents]
            for path, content in zip(paths, contents.values(), strict=True):
                path.write_bytes(content)
            served = _Served(classifier, class_names, temperature, _variables(classifier, folded), paths)
            signatures = (served.serve_images, served.serve_bytes, served.features)
            tf.saved_model.save(served, str(folder), signatures=dict(zip(SIGNATURES, signatures, strict=True)))
    finally:
        classifier.xla = xla
    return list(SIGNATURES)


def escaped(class_names: Sequence[str]) -> bytes:
    """Returns the class names one a line, in ASCII: whatever is in them, a line stays one."""
    return "".join(f"{name.encode('unicode_escape').decode('ascii')}\n" for name in class_names).encode()


def _variables(classifier: Classifier, folded: list[tf.Variable]) -> list[tf.Variable]:
    """Returns what the network computes with, without what is folded away."""
    replaced = {id(v) for fold in classifier.folds for v in fold.replaced}
    state = [v.value for v in [*classifier.backbone.weights, *classifier.head.weights]]
    return [v for v in state if id(v) not in replaced] + folded


def _coloured(images):
    """Grey pictures get three channels; other numbers of channels fail."""
    channels = tf.shape(images)[3]
    allowed = tf.debugging.Assert(
        (channels == 1) | (channels == 3), ["images must have 1 or 3 channels, not", channels]
    )
    with tf.control_dependencies([allowed]):
        return tf.ensure_shape(
            tf.cond(channels == 1, lambda: tf.image.grayscale_to_rgb(images[..., :1]), lambda: images[..., :3]),
            (None, None, None, 3),
        )


def _without_none(function, images):
    """Applies a function of pictures; the kernels of some networks fail on an empty batch, which gets one to drop."""
    count = tf.shape(images)[0]
    padded = tf.pad(images, [[0, tf.cast(count == 0, tf.int32)], [0, 0], [0, 0], [0, 0]])
    return function(padded)[:count]


def _beside(good, value):
    """Shapes bool `[N]` to go with a value of any rank."""
    return tf.reshape(good, tf.concat([tf.shape(good), tf.ones(len(value.shape) - 1, tf.int32)], 0))
