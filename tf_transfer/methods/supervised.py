"""The kinds of training, as tasks for the loop."""

from collections.abc import Callable

import tensorflow as tf

from tf_transfer.data.splits import Split
from tf_transfer.evaluation.classification import measure
from tf_transfer.modalities import augmentation as augmentations
from tf_transfer.models.classifier import Classifier, ParameterGroup
from tf_transfer.models.inference import Predictor
from tf_transfer.training.regularizers import REGULARIZERS
from tf_transfer.training.step import Task


def validator(predict: Predictor, split: Split | None) -> Callable[[], dict] | None:
    """Returns the measurement of a validation split, or None where there is none."""
    if split is None or len(split) == 0:
        return None
    return lambda: measure(predict(split.inputs), split.labels)


def classification(
    classifier: Classifier,
    groups: list[ParameterGroup],
    augmentation: augmentations.Augmentation,
    smoothing: float,
    regularizer: str,
    through_backbone: bool,
    validate: Callable[[], dict] | None,
) -> Task:
    """Cross-entropy on examples: head and full fine-tuning, training from scratch, a source model.

    Args:
        classifier: what trains; its batch-norm policy is already set.
        groups: what of it trains.
        augmentation: of the training examples.
        smoothing: label smoothing in [0, 1).
        regularizer: spec of R(theta) with its strength.
        through_backbone: run the backbone in training mode (dropout, batch statistics), not only the head.
        validate: see `Task`.
    """

    def loss(batch, noise):
        inputs, targets = augmentation(batch, classifier.num_classes, smoothing)
        features = classifier.features(inputs, through_backbone, noise)
        return _cross_entropy(classifier.classify(features, True, noise), targets, batch["label"])

    return Task(loss, groups, classifier.state, _penalty(regularizer, groups), validate)


def probe(classifier: Classifier, smoothing: float, regularizer: str, validate: Callable[[], dict] | None) -> Task:
    """Cross-entropy of the head alone on features that a frozen backbone made beforehand."""
    groups = [classifier.head_group()]

    def loss(batch, noise):
        targets = augmentations.one_hot(batch["label"], classifier.num_classes, smoothing)
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
