"""The input of every export format: the trained classifier in float32, with its facts."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from tf_transfer.machine.precision import precision_policy
from tf_transfer.modalities import backbones, base
from tf_transfer.models import folding
from tf_transfer.models.classifier import Classifier


@dataclass(frozen=True)
class Trained:
    """A trained model, ready to export.

    Attributes:
        classifier: computes in float32, on one device.
        backbone: the spec of its network.
        folder: of the phase, with its two weights files.
        class_names: in the order of the logits.
        temperature: probabilities are softmax(logits / temperature).
        examples: returns some of its stored training examples, at its input size.
    """

    classifier: Classifier
    backbone: backbones.Backbone
    folder: Path
    class_names: Sequence[str]
    temperature: float
    examples: Callable[[], np.ndarray]

    @property
    def modality(self) -> base.Modality:
        """The modality of its examples."""
        return base.find(self.backbone.modality)

    def plain(self):
        """Builds the network of Keras' own layers, with the trained weights."""
        with precision_policy("float32"):
            network = backbones.build(self.backbone, self.classifier.size)
        network.set_weights(self.classifier.backbone.get_weights())
        return network


def load(
    backbone: backbones.Backbone,
    size: int,
    folder: Path,
    class_names: Sequence[str],
    temperature: float,
    examples: Callable[[], np.ndarray],
    dropout: float = 0.0,
) -> Trained:
    """Builds the model of a phase outside of any strategy: variables of several devices cannot be exported.

    Args:
        backbone: the spec.
        size: input size of the network.
        folder: of the phase.
        class_names: in the order of the logits.
        temperature: see `Trained`.
        examples: see `Trained`.
        dropout: rate before the head while training.
    """
    with precision_policy("float32"):
        network = backbones.build(backbone, size)
        inputs = base.find(backbone.modality).inputs(size, backbone.mode)
        classifier = Classifier(network, inputs, len(class_names), dropout)
    classifier.load(folder)
    return Trained(classifier, backbone, folder, class_names, temperature, examples)


class Inference(tf.Module):
    """A classifier without resizing, with normalisations folded into constant weights.

    Attributes:
        answer: maps `[N, S, S, 3]` of the signature's type, values in [0, 255], to a dict of float32 `[N, C]`.
    """

    def __init__(self, trained: Trained, dtype: tf.DType, logits: bool, shift: np.ndarray | float):
        super().__init__()
        classifier = trained.classifier
        # Arrays become constants of the graph; tensors from outside would become further inputs.
        kernel, bias = classifier.head.get_weights()

        def answer(images):
            """Answers examples of the network's input size."""
            for fold in classifier.folds:
                fold.active = True
            inputs = classifier.inputs.fitting(tf.cast(images, tf.float32))
            features = classifier.backbone(inputs, training=False)
            if logits:
                said = tf.matmul(features, kernel) + bias
                return {"logits": said, "probabilities": tf.nn.softmax(said / trained.temperature)}
            # The temperature is part of the weights, so that integers are not rounded between logits and probabilities.
            warm, offset = kernel / np.float32(trained.temperature), bias / np.float32(trained.temperature)
            return {"probabilities": tf.nn.softmax(tf.matmul(features, warm) + (offset + np.float32(shift)))}

        size = classifier.size
        self.state = [v.value for v in classifier.backbone.weights]
        self.answer = tf.function(
            answer, [tf.TensorSpec((None, size, size, 3), dtype, "images")], autograph=False, jit_compile=False
        )


@contextlib.contextmanager
def inference(
    trained: Trained, dtype: tf.DType, logits: bool = False, shift: np.ndarray | float = 0.0
) -> Iterator[Inference]:
    """Yields the classifier for other runtimes: convolutions stay convolutions, and folded weights are constants.

    Args:
        trained: the model.
        dtype: of the examples.
        logits: whether it also answers logits.
        shift: float32 `[C]`, added to the logits before the softmax, but not to the answered logits.
    """
    with folding.constant(trained.classifier.folds) as folded, folding.convolving():
        made = Inference(trained, dtype, logits, shift)
        made.folded = folded
        yield made
