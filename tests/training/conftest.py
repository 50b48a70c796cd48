import numpy as np
import pytest
import tensorflow as tf
from engine_tools import Simple, streams_of

from tf_transfer.data.splits import Split
from tf_transfer.training.method import ParameterGroup

FEATURES, CLASSES = 4, 3


@pytest.fixture
def make_streams():
    """Batches of vectors from three overlapping clouds, with weights from 0.5 to 1.5."""

    def make(n=40, size=8, seed=0):
        random = np.random.default_rng(7)
        labels = random.integers(0, CLASSES, n, np.int32)
        inputs = (random.normal(size=(n, FEATURES)) + 1.5 * np.eye(CLASSES, FEATURES)[labels]).astype(np.float32)
        return streams_of(Split(inputs, labels, [""] * n), size, seed, np.linspace(0.5, 1.5, n))

    return make


@pytest.fixture
def softmax_regression():
    """A method small enough to be done again in NumPy: a kernel, and a bias that learns at half the rate."""

    def make(strategy, validate=None):
        with strategy.scope():
            kernel = tf.Variable(np.random.default_rng(3).normal(size=(FEATURES, CLASSES)).astype(np.float32))
            bias = tf.Variable(tf.zeros(CLASSES))

        def loss(batch, noise):
            logits = batch["inputs"] @ kernel + bias
            hits = tf.equal(tf.argmax(logits, 1, tf.int32), batch["label"])
            return tf.nn.sparse_softmax_cross_entropy_with_logits(batch["label"], logits), tf.cast(hits, tf.float32)

        groups = [ParameterGroup("stage1", [bias], 0.5), ParameterGroup("head", [kernel])]
        return Simple(loss, groups, [bias, kernel], validate)

    return make
