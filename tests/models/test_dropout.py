"""Dropout inside a network: the noise it is given, whatever shares the batch; Keras' where nobody gives any."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_transfer.errors import UserError
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


def nested():
    """A functional model with dropouts in a nested model, in an attention and at its own level."""
    keras.utils.set_random_seed(0)
    inner_inputs = keras.Input((4, 6))
    inner = keras.Model(inner_inputs, keras.layers.Dropout(0.5)(keras.layers.Dense(6)(inner_inputs)), name="inner")
    inputs = keras.Input((4, 6))
    x = keras.layers.Dropout(0.3)(inner(inputs))
    x = keras.layers.MultiHeadAttention(2, 3, dropout=0.4)(x, x)
    return keras.Model(inputs, keras.layers.Flatten()(x))


def test_nested_dropouts_are_a_function_of_seed_step_and_row():
    model = nested()
    layers = dropout.adopt(model)
    assert [layer.rate for layer in layers] == [0.5, 0.3, 0.4]
    assert [layer.purpose for layer in layers] == [1, 2, 3]
    x = tf.random.stateless_normal((8, 4, 6), [1, 2])

    def answer(rows, **other):
        for layer in layers:
            layer.noise = noise(rows=rows, total=8, **other)
        return model(tf.gather(x, rows), training=True).numpy()

    whole = answer(list(range(8)))
    np.testing.assert_array_equal(answer(list(range(8))), whole)
    for rows in ([0, 1, 2], [7, 3], [5]):
        np.testing.assert_allclose(answer(rows), whole[rows], rtol=1e-5, atol=1e-6)
    assert not np.allclose(answer(list(range(8)), step=1), whole)


def test_the_noise_of_a_nested_dropout_is_what_its_purpose_draws():
    inner_inputs = keras.Input((50,))
    inner = keras.Model(inner_inputs, keras.layers.Dropout(0.5)(inner_inputs))
    inputs = keras.Input((50,))
    model = keras.Model(inputs, inner(keras.layers.Dropout(0.2)(inputs)))
    for layer in dropout.adopt(model):
        layer.noise = noise(total=4)
    first, second = noise(total=4).uniform((50,), 1), noise(total=4).uniform((50,), 2)
    expected = tf.where((first >= 0.2) & (second >= 0.5), 1 / 0.8 / 0.5, 0.0)
    np.testing.assert_allclose(model(tf.ones((4, 50)), training=True), expected, rtol=1e-6)


def test_other_random_layers_are_refused():
    inputs = keras.Input((6,))
    noisy = keras.Sequential([keras.Input((6,)), keras.layers.GaussianNoise(0.1, name="noisy")])
    with pytest.raises(
        UserError, match=r"the layer 'noisy' \(GaussianNoise\) draws random numbers of its own: [^\n]+$"
    ):
        dropout.adopt(keras.Model(inputs, noisy(inputs)))


RECURRENT = {
    "lstm": lambda **o: keras.layers.LSTM(4, **o),
    "gru": lambda **o: keras.layers.GRU(4, **o),
    "simple": lambda **o: keras.layers.SimpleRNN(4, **o),
    "both ways": lambda **o: keras.layers.Bidirectional(keras.layers.LSTM(4, **o)),
    "cells": lambda **o: keras.layers.RNN([keras.layers.GRUCell(4), keras.layers.LSTMCell(4, **o)]),
}


def recurrent(kind, **options):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((5, 3))
    return keras.Model(inputs, RECURRENT[kind](**options)(keras.layers.Dropout(0.5)(inputs)))


@pytest.mark.parametrize("kind", RECURRENT)
def test_recurrent_layers_without_dropout_are_taken_and_those_with_it_refused(kind):
    model = recurrent(kind)
    (layer,) = dropout.adopt(model)
    x = tf.random.stateless_normal((6, 5, 3), [1, 2])

    def answer(rows):
        layer.noise = noise(rows=rows, total=6)
        return model(tf.gather(x, rows), training=True).numpy()

    whole = answer(list(range(6)))
    np.testing.assert_array_equal(answer(list(range(6))), whole)
    np.testing.assert_allclose(answer([4, 1]), whole[[4, 1]], rtol=1e-5, atol=1e-6)
    for option in ("dropout", "recurrent_dropout"):
        with pytest.raises(UserError, match="draws random numbers of its own"):
            dropout.adopt(recurrent(kind, **{option: 0.1}))
