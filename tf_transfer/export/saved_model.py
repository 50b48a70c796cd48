"""Writes a complete SavedModel: raw examples or file bytes in, class names and probabilities out."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import tensorflow as tf

from tf_transfer.data.examples import Stored
from tf_transfer.modalities.base import Modality
from tf_transfer.models import folding
from tf_transfer.models.classifier import Classifier
from tf_transfer.serving.inputs import OK
from tf_transfer.serving.signatures import EXAMPLES, FEATURES, FILES

SIGNATURES = (EXAMPLES, FILES, FEATURES)


class _Served(tf.Module):
    """The exported object: signatures, variables, constants and assets only, so that it loads without Keras."""

    def __init__(
        self,
        classifier: Classifier,
        modality: Modality,
        class_names: Sequence[str],
        temperature: float,
        variables: Sequence[tf.Variable],
        assets: Sequence[Path],
    ):
        super().__init__()
        self.state = variables
        self.assets = [tf.saved_model.Asset(str(path)) for path in assets]
        self.class_names = tf.constant([name.encode("utf-8", "backslashreplace") for name in class_names])
        self.temperature = tf.constant(temperature, tf.float32)
        name, spec = modality.signature()
        given = tf.TensorSpec(spec.shape, spec.dtype, name)
        # Traced once for all signatures: the network is most of the file, and of the time to write and load it.
        stored = tf.function(modality.accept, [given], autograph=False).get_concrete_function().structured_outputs
        network = tf.function(classifier.features, [tf.TensorSpec(stored.shape, stored.dtype)], autograph=False)
        self.network = network

        def logits(examples):
            return classifier.classify(_without_none(network, examples))

        def serve_examples(examples):
            return self._answer(logits(modality.accept(examples)))

        def features(examples):
            return {"features": _without_none(network, modality.accept(examples))}

        self.serve_examples = tf.function(serve_examples, [given], autograph=False)
        self.features = tf.function(features, [given], autograph=False)
        if modality.endings:
            self._serve_files(modality, classifier.size, logits)

    def _serve_files(self, modality: Modality, size: int, logits: Callable) -> None:
        """Adds `serve_bytes`, which answers files, and `decode`, which decodes one."""
        # Brings files of any size to the size of the network.
        form = Stored(modality.random(1, size).shape[1:], native=False, dtype=modality.dtype)

        def serve_bytes(contents):
            """Answers files; the row of a bad file is empty, and its status says why."""
            examples, status = modality.decode_rows(contents, size)
            answer = self._answer(logits(examples))
            empty = {name: tf.zeros_like(value) for name, value in answer.items()} | {"label": tf.fill([1], "")}
            empty["class_names"] = answer["class_names"]
            good = status == OK
            chosen = {name: tf.where(_beside(good, value), value, empty[name]) for name, value in answer.items()}
            return chosen | {"status": status}

        def decode(content):
            return modality.fit(modality.decode(content), form)

        contents = tf.TensorSpec((None,), tf.string, "contents")
        self.serve_bytes = tf.function(serve_bytes, [contents], autograph=False)
        self.decode = tf.function(decode, [tf.TensorSpec((), tf.string, "content")], autograph=False)

    def _answer(self, logits):
        """Returns the outputs that `serving_default` and `serve_bytes` share."""
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
    modality: Modality,
    class_names: Sequence[str],
    folder: Path,
    temperature: float = 1.0,
    assets: Mapping[str, bytes] | None = None,
) -> list[str]:
    """Writes a SavedModel into `folder`: batch normalisations are folded into the layers before them.

    Signatures, for N examples and C classes:
        serving_default: the input that the modality's `signature` names; for pictures `images` uint8 `[N, H, W, 3]`, or
            grey `[N, H, W, 1]`, any size.
        serve_bytes: `contents` string `[N]`, files; absent where the modality has no files. Rows are independent:
            `status` string `[N]` is `ok`, or says why the file has no answer; its label is then empty, and its numbers
            are 0.
        features: the input of `serving_default`; `features` float32 `[N, D]`, the pooled embedding.
    The first two return `label` string `[N]`, `probability` float32 `[N]`, `probabilities` and `logits` float32
    `[N, C]`, and `class_names` string `[N, C]`, in the order of the probabilities, which are
    softmax(logits / temperature).
    The loaded object also has `decode`, which maps one file, a scalar string, to a stored example at the size of the
    network, for pictures uint8 `[S, S, 3]`; it fails for a bad file.

    Args:
        classifier: the model to write.
        modality: of its examples.
        class_names: in the order of its logits.
        folder: a new folder.
        temperature: see `evaluation.temperature`; 1 leaves the probabilities as they are.
        assets: further files by name, for `assets/`; `class_names.txt` is always there.

    Returns:
        The names of the signatures.
    """
    contents = {"class_names.txt": escaped(class_names)} | dict(assets or {})
    # Without XLA, which a server may lack, and which would compile for every batch size.
    xla, classifier.xla = classifier.xla, False
    try:
        with folding.constant(classifier.folds) as folded, tempfile.TemporaryDirectory() as scratch:
            paths = [Path(scratch) / name for name in contents]
            for path, content in zip(paths, contents.values(), strict=True):
                path.write_bytes(content)
            variables = _variables(classifier, folded)
            served = _Served(classifier, modality, class_names, temperature, variables, paths)
            signatures = {EXAMPLES: served.serve_examples, FEATURES: served.features}
            if modality.endings:
                signatures[FILES] = served.serve_bytes
            tf.saved_model.save(served, str(folder), signatures=signatures)
    finally:
        classifier.xla = xla
    return [name for name in SIGNATURES if name in signatures]


def escaped(class_names: Sequence[str]) -> bytes:
    """Returns the class names in ASCII, one a line; line breaks and other characters in names are escaped."""
    return "".join(f"{name.encode('unicode_escape').decode('ascii')}\n" for name in class_names).encode()


def _variables(classifier: Classifier, folded: list[tf.Variable]) -> list[tf.Variable]:
    """Returns the variables that the folded network reads."""
    replaced = {id(v) for fold in classifier.folds for v in fold.replaced}
    state = [v.value for v in [*classifier.backbone.weights, *classifier.head.weights]]
    return [v for v in state if id(v) not in replaced] + folded


def _without_none(function: Callable, examples):
    """Applies a function to examples; adds one to an empty batch, and drops it, as some kernels fail on none."""
    sides = tf.shape(examples)
    one = tf.zeros(tf.concat([[tf.cast(sides[0] == 0, tf.int32)], sides[1:]], 0), examples.dtype)
    return function(tf.concat([examples, one], 0))[: sides[0]]


def _beside(good, value):
    """Reshapes bool `[N]` to broadcast against a value of any rank."""
    return tf.reshape(good, tf.concat([tf.shape(good), tf.ones(len(value.shape) - 1, tf.int32)], 0))
