"""Dropout inside a network: the noise it is given, whatever shares the batch; Keras' where nobody gives any."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_transfer.modalities import backbones
from tf_transfer.modalities.image.preprocessing import Preprocessing
from tf_transfer.models import dropout
from tf_transfer.models.classifier import Classifier
from tf_transfer.models.dropout import Noise

ROWS = 4000


def noise(step=0, rows=None, total=ROWS):
    return Noise(tf.constant([1, step]), tf.range(total) if rows is None else tf.constant(rows), total)


def network(layer):
    inputs = keras.Input((2, 2, 3))
    model = keras.Model(inputs, layer(inputs))
    (adopted,) = dropout.adopt(model)
    return model, adopted


def stochastic_depth():
    from keras.src.applications.convnext import StochasticDepth

    return StochasticDepth(0.25)


LAYERS = {
    "values": (lambda: keras.layers.Dropout(0.25), 1),
    "examples": (lambda: keras.layers.Dropout(0.25, noise_shape=(None, 1, 1, 1)), 12),
    "channels": (lambda: keras.layers.Dropout(0.25, noise_shape=(None, 1, 1, None)), 4),
    "branches": (stochastic_depth, 12),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_a_share_is_dropped_and_the_mean_stays(kind):
    make, together = LAYERS[kind]
    model, layer = network(make())
    x = tf.ones((ROWS, 2, 2, 3))
    np.testing.assert_array_equal(model(x, training=False), x)
    layer.noise = noise()
    y = model(x, training=True).numpy()
    assert set(np.unique(y)) == {0.0, np.float32(1 / 0.75)}
    independent = ROWS * 12 / together
    assert abs((y == 0).mean() - 0.25) < 4 * np.sqrt(0.25 * 0.75 / independent)
    # What is dropped as one goes together.
    axes = {1: (), 4: (1, 2), 12: (1, 2, 3)}[together]
    assert not axes or (y.max(axes) == y.min(axes)).all()
    layer.noise = noise(step=1)
    assert not np.array_equal(model(x, training=True), y)


@pytest.mark.parametrize("kind", LAYERS)
def test_parts_of_a_batch_see_the_noise_of_the_whole(kind):
    model, layer = network(LAYERS[kind][0]())
    x = tf.random.normal((8, 2, 2, 3))
    layer.noise = noise(total=8)
    whole = model(x, training=True).numpy()
    for rows in ([0, 1, 2], [3, 7], [6, 5, 4]):
        layer.noise = noise(rows=rows, total=8)
        np.testing.assert_array_equal(model(tf.gather(x, rows), training=True), whole[rows])


def test_two_layers_draw_different_numbers():
    inputs = keras.Input((50,))
    model = keras.Model(inputs, [keras.layers.Dropout(0.5)(inputs), keras.layers.Dropout(0.5)(inputs)])
    for layer in dropout.adopt(model):
        layer.noise = noise(total=4)
    first, second = model(tf.ones((4, 50)), training=True)
    assert not np.array_equal(first, second)


def test_efficientnet_is_a_function_of_its_noise_in_a_training_pass():
    keras.utils.set_random_seed(0)
    backbone = backbones.find_backbone("efficientnetb0")
    classifier = Classifier(backbones.build(backbone, 32), Preprocessing(32, "raw"), 3, dropout=0.2)
    assert len(classifier.dropouts) == 9
    images = tf.constant(np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), np.uint8))
    whole = classifier.logits(images, True, noise(total=6)).numpy()
    np.testing.assert_array_equal(classifier.logits(images, True, noise(total=6)), whole)
    part = classifier.logits(images[2:5], True, noise(rows=[2, 3, 4], total=6))
    np.testing.assert_allclose(part, whole[2:5], rtol=1e-4, atol=1e-6)
    assert not np.allclose(classifier.logits(images, True, noise(step=1, total=6)), whole, rtol=1e-3)
