"""Preprocessing to the bit: against Keras' own, and the same for tensors, in a graph, and in a functional model."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.applications import imagenet_utils

from tf_transfer.modalities.image.preprocessing import Preprocessing, scale

PIXELS = np.random.default_rng(1).uniform(0, 255, (2, 16, 16, 3)).astype(np.float32)


@pytest.mark.parametrize("mode", ["caffe", "tf", "torch"])
def test_scaled_pixels_are_those_of_keras_to_the_bit(mode):
    expected = imagenet_utils.preprocess_input(tf.constant(PIXELS), data_format="channels_last", mode=mode)
    np.testing.assert_array_equal(scale(tf.constant(PIXELS), mode), expected)
    theirs = tf.function(lambda x: imagenet_utils.preprocess_input(x, data_format="channels_last", mode=mode))
    np.testing.assert_array_equal(tf.function(lambda x: scale(x, mode))(PIXELS), theirs(tf.constant(PIXELS)))


def test_the_other_modes_are_their_formulas():
    np.testing.assert_array_equal(scale(tf.constant(PIXELS), "raw"), PIXELS)
    np.testing.assert_array_equal(scale(tf.constant(PIXELS), "v2"), PIXELS / np.float32(128) - np.float32(1))


@pytest.mark.parametrize("mode", ["caffe", "tf", "torch", "v2", "raw"])
@pytest.mark.parametrize("side", [11, 16, 40])
def test_a_functional_model_computes_the_same(mode, side, tmp_path):
    preprocess = Preprocessing(16, mode)
    images = np.random.default_rng(side).integers(0, 256, (2, side, side + 3, 3), np.uint8)
    inputs = keras.Input((None, None, 3), dtype="uint8")
    keras.Model(inputs, preprocess(inputs)).save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(loaded(images), preprocess(tf.constant(images)))
