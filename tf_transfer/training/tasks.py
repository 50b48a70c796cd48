"""The kinds of training, as tasks for the loop."""

from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from tf_transfer import runtime
from tf_transfer.data import augment, batches
from tf_transfer.data.arrays import release
from tf_transfer.data.splits import Split
from tf_transfer.models.classifier import Classifier, ParameterGroup
from tf_transfer.training.regularizers import REGULARIZERS
from tf_transfer.training.step import Task


class Predictor:
    """Maps the inputs of a split to outputs, batch by batch, over all replicas.

    Args:
        function: a batch to `[B, K]`; compiled once.
        strategy: its replicas share each batch.
        size: examples a global batch, rounded up to a multiple of the replicas.
    """

    def __init__(self, function: Callable, strategy: tf.distribute.Strategy, size: int):
        self.strategy, replicas = strategy, strategy.num_replicas_in_sync
        self.size = -(-size // replicas) * replicas
        self._run = tf.function(lambda x: strategy.run(function, args=(x,)), autograph=False)

    def __call__(self, inputs: np.ndarray, progress: Callable[[int, int, str], None] | None = None) -> np.ndarray:
        """Returns float32 `[N, K]` for N inputs, in their order."""
        return np.concatenate(list(self.stream(inputs, progress=progress)))

    def stream(
        self, inputs: np.ndarray, start: int = 0, progress: Callable[[int, int, str], None] | None = None
    ) -> Iterator[np.ndarray]:
        """Yields the outputs for the inputs from row `start` on, a batch at a time."""
        done = start
        for chunk, real in batches.in_order(inputs, self.size, start):
            outputs = self._run(self._shared(chunk))
            release(inputs)
            if runtime.several_hosts(self.strategy):
                yield self.strategy.gather(outputs, axis=0).numpy()[:real]
            else:
                parts = self.strategy.experimental_local_results(outputs)
                yield np.concatenate([p.numpy() for p in parts])[:real]
            done += real
            if progress:
                progress(done, len(inputs), "")

    def _shared(self, chunk):
        replicas = self.strategy.num_replicas_in_sync
        if replicas == 1:
            return tf.convert_to_tensor(chunk)
        share = self.size // replicas
        return self.strategy.experimental_distribute_values_from_function(
            lambda c: tf.convert_to_tensor(chunk[c.replica_id_in_sync_group * share :][:share])
        )


def measure(logits: np.ndarray, labels: np.ndarray) -> dict:
    """Returns mean cross-entropy, accuracy and number of examples of float `[N, C]` logits."""
    top = logits.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(logits - top).sum(axis=1)) + top[:, 0]
    losses = log_sum - logits[np.arange(len(labels)), labels]
    accuracy = float((logits.argmax(axis=1) == labels).mean())
    return {"loss": float(losses.mean()), "accuracy": accuracy, "examples": len(labels)}


def standard_error(accuracy: float, examples: int) -> float:
    """Returns that of an accuracy, by Agresti and Coull's adjusted proportion: not zero where all are right."""
    size = examples + 4
    proportion = (accuracy * examples + 2) / size
    return float(np.sqrt(proportion * (1 - proportion) / size))


def validator(predict: Predictor, split: Split | None) -> Callable[[], dict] | None:
    """Returns the measurement of a validation split, or None where there is none."""
    if split is None or len(split) == 0:
        return None
    return lambda: measure(predict(split.inputs), split.labels)


def classification(
    classifier: Classifier,
    groups: list[ParameterGroup],
    augmentation: augment.Augmentation,
    smoothing: float,
    regularizer: str,
    through_backbone: bool,
    validate: Callable[[], dict] | None,
) -> Task:
    """Cross-entropy on pictures: head and full fine-tuning, training from scratch, a source model.

    Args:
        classifier: what trains; its batch-norm policy is already set.
        groups: what of it trains.
        augmentation: of the training pictures.
        smoothing: label smoothing in [0, 1).
        regularizer: spec of R(theta) with its strength.
        through_backbone: run the backbone in training mode (dropout, batch statistics), not only the head.
        validate: see `Task`.
    """

    def loss(batch, noise):
        images, targets = augmentation(batch, classifier.num_classes, smoothing)
        features = classifier.features(images, through_backbone, noise)
        return _cross_entropy(classifier.classify(features, True, noise), targets, batch["label"])

    return Task(loss, groups, classifier.state, _penalty(regularizer, groups), validate)


def probe(classifier: Classifier, smoothing: float, regularizer: str, validate: Callable[[], dict] | None) -> Task:
    """Cross-entropy of the head alone on features that a frozen backbone made beforehand."""
    groups = [classifier.head_group()]

    def loss(batch, noise):
        targets = augment.one_hot(batch["label"], classifier.num_classes, smoothing)
        return _cross_entropy(classifier.classify(batch["inputs"], True, noise), targets, batch["label"])

    state = [v.value for v in classifier.head.variables]
    return Task(loss, groups, state, _penalty(regularizer, groups), validate)


def _cross_entropy(logits, targets, labels):
    losses = tf.nn.softmax_cross_entropy_with_logits(targets, logits)
    hits = tf.cast(tf.equal(tf.argmax(logits, 1, tf.int32), labels), tf.float32)
    return losses, hits


def _penalty(regularizer: str, groups: list[ParameterGroup]):
    backbone = [v for g in groups if g.name != "head" for v in g.variables]
    head = [v for g in groups if g.name == "head" for v in g.variables]
    return REGULARIZERS.create(regularizer, backbone, head)
