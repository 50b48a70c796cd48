import keras
import numpy as np
import pytest
import tensorflow as tf

from tf_transfer.errors import UserError
from tf_transfer.machine.strategy import make_strategy
from tf_transfer.models import batchnorm

RANDOM = np.random.default_rng(0)


def pair(shape, **options):
    """Keras' layer and ours, with the same random parameters and statistics."""
    layers = []
    for _ in range(2):
        layer = keras.layers.BatchNormalization(momentum=0.8, epsilon=1e-3, **options)
        layer.build((None, *shape[1:]))
        layers.append(layer)
    values = [RANDOM.uniform(0.5, 2.0, w.shape).astype(np.float32) for w in layers[0].weights]
    for layer in layers:
        layer.set_weights(values)
    layers[1].__class__ = batchnorm.BatchNormalization
    layers[1].use_batch_statistics = True
    return layers


def run(layer, x, cotangent, training):
    """Output, gradients towards input, gamma and beta, and the statistics afterwards."""
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=training)
        objective = tf.reduce_sum(y * cotangent)
    gradients = tape.gradient(objective, [x, *(v.value for v in layer.trainable_variables)])
    return [y, *gradients, *(v.numpy() for v in layer.non_trainable_variables)]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(6, 5, 4, 7), (16, 7)])
@pytest.mark.parametrize("options", [{}, {"scale": False}, {"center": False}, {"scale": False, "center": False}])
def test_output_gradients_and_statistics_equal_those_of_keras(shape, options, training):
    x = RANDOM.normal(3.0, 2.0, shape).astype(np.float32)
    cotangent = RANDOM.normal(size=shape).astype(np.float32)
    theirs, ours = (run(layer, x, cotangent, training) for layer in pair(shape, **options))
    assert len(ours) == 4 + options.get("scale", True) + options.get("center", True)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5)


def test_moving_statistics_follow_the_formula():
    x = RANDOM.normal(3.0, 2.0, (8, 5, 5, 3)).astype(np.float32)
    _, layer = pair(x.shape)
    mean, variance = (w.numpy() for w in layer.non_trainable_variables)
    layer(x, training=True)
    moved_mean, moved_variance = (w.numpy() for w in layer.non_trainable_variables)
    np.testing.assert_allclose(moved_mean, 0.8 * mean + 0.2 * x.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(moved_variance, 0.8 * variance + 0.2 * x.var((0, 1, 2)), rtol=1e-5)


def test_policy_alone_decides_which_statistics_normalise():
    x = RANDOM.normal(3.0, 2.0, (16, 4)).astype(np.float32)
    _, layer = pair(x.shape)
    layer.use_batch_statistics = False
    before = [w.numpy() for w in layer.weights]
    np.testing.assert_array_equal(layer(x, training=True), layer(x, training=False))
    layer.use_batch_statistics, layer.trainable = True, False  # Keras would freeze the statistics with gamma and beta.
    y = (layer(x, training=True) - before[1]) / before[0]
    np.testing.assert_allclose(np.mean(y, axis=0), 0, atol=1e-5)
    assert not np.array_equal(before[2], layer.weights[2].numpy())


def test_half_precision_keeps_statistics_in_float32():
    x = RANDOM.normal(100.0, 1.0, (64, 4)).astype(np.float32)
    inputs = keras.Input((4,), dtype="bfloat16")
    layer = keras.layers.BatchNormalization(dtype="mixed_bfloat16", momentum=0.0)
    model = keras.Model(inputs, layer(inputs))
    batchnorm.adopt(model)
    layer.use_batch_statistics = True
    half = tf.cast(x, tf.bfloat16)
    y = model(half, training=True)
    assert y.dtype == tf.bfloat16
    seen = tf.cast(half, tf.float32).numpy()
    np.testing.assert_allclose(layer.moving_mean.numpy(), seen.mean(0), rtol=1e-5)
    np.testing.assert_allclose(layer.moving_variance.numpy(), seen.var(0), rtol=1e-3)
    np.testing.assert_allclose(tf.cast(y, tf.float32), (seen - seen.mean(0)) / seen.std(0), atol=0.02)


@pytest.mark.parametrize("shape", [(8, 5, 4, 7), (16, 7)])
def test_two_replicas_equal_one_device_on_the_whole_batch(shape):
    x = RANDOM.normal(3.0, 2.0, shape).astype(np.float32)
    x[: len(x) // 2] += 5.0  # the replicas' own statistics differ much
    cotangent = RANDOM.normal(size=shape).astype(np.float32)
    values = [RANDOM.uniform(0.5, 2.0, shape[-1]).astype(np.float32) for _ in range(4)]

    def on(strategy):
        with strategy.scope():
            layer = keras.layers.BatchNormalization(momentum=0.8)
            layer.build((None, *shape[1:]))
            layer.set_weights(values)
        layer.__class__ = batchnorm.BatchNormalization
        layer.use_batch_statistics = True
        data = tf.data.Dataset.from_tensors((x, cotangent)).unbatch().batch(len(x), drop_remainder=True)
        part = next(iter(strategy.experimental_distribute_dataset(data)))

        @tf.function
        def step(x, cotangent):
            def replica(x, cotangent):
                with tf.GradientTape() as tape:
                    tape.watch(x)
                    y = layer(x, training=True)
                    objective = tf.reduce_sum(y * cotangent)
                gradients = tape.gradient(objective, [x, layer.gamma.value, layer.beta.value])
                return y, *gradients

            return strategy.run(replica, (x, cotangent))

        y, dx, dgamma, dbeta = (strategy.experimental_local_results(r) for r in step(*part))
        parameters = [sum(g.numpy() for g in each) for each in (dgamma, dbeta)]
        return [np.concatenate(y), np.concatenate(dx), *parameters, *(w.numpy() for w in layer.non_trainable_variables)]

    one = on(make_strategy("one"))
    two = on(make_strategy("mirrored"))
    for a, b in zip(two, one, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_local_statistics_are_those_of_each_replica():
    x = RANDOM.normal(3.0, 2.0, (8, 5, 4, 7)).astype(np.float32)
    x[:4] += 5.0
    strategy = make_strategy("mirrored")
    with strategy.scope():
        layer = keras.layers.BatchNormalization(momentum=0.8)
        layer.build((None, 5, 4, 7))
    layer.__class__ = batchnorm.BatchNormalization
    layer.use_batch_statistics, layer.synchronised = True, False
    data = tf.data.Dataset.from_tensors(x).unbatch().batch(8, drop_remainder=True)
    part = next(iter(strategy.experimental_distribute_dataset(data)))
    run = tf.function(lambda part: strategy.run(lambda x: layer(x, training=True), (part,)))
    halves = np.concatenate(strategy.experimental_local_results(run(part))).reshape(2, 4, 5, 4, 7)
    for half, seen in zip(halves, np.split(x, 2), strict=True):
        np.testing.assert_allclose(half, (seen - seen.mean((0, 1, 2))) / np.sqrt(seen.var((0, 1, 2)) + 1e-3), atol=1e-4)
    means, variances = ([f(half, (0, 1, 2)) for half in np.split(x, 2)] for f in (np.mean, np.var))
    np.testing.assert_allclose(layer.moving_mean.numpy(), 0.2 * np.mean(means, 0), rtol=1e-4)
    np.testing.assert_allclose(layer.moving_variance.numpy(), 0.8 + 0.2 * np.mean(variances, 0), rtol=1e-4)


def mobilenet():
    model = keras.applications.MobileNet(alpha=0.25, include_top=False, weights=None, input_shape=(32, 32, 3))
    random = np.random.default_rng(3)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([random.uniform(0.5, 2.0, w.shape) for w in layer.weights])
    return model


def test_weight_files_are_exchanged_with_plain_keras_models(tmp_path):
    x = RANDOM.uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)
    plain, adopted = mobilenet(), mobilenet()
    assert len(batchnorm.adopt(adopted)) == 27
    kernel = adopted.layers[1]
    kernel.set_weights([2 * w for w in kernel.get_weights()])
    for source, target in ((adopted, plain), (mobilenet(), adopted)):
        source.save_weights(tmp_path / "model.weights.h5")
        assert np.abs(source(x) - target(x)).max() > 1e-3
        target.load_weights(tmp_path / "model.weights.h5")
        np.testing.assert_allclose(target(x), source(x), rtol=1e-4, atol=1e-5)


def test_adopting_keeps_variables_and_names():
    model = mobilenet()
    before = [(v.path, id(v)) for v in model.variables]
    layers = batchnorm.adopt(model)
    assert [(v.path, id(v)) for v in model.variables] == before
    assert layers == [layer for layer in model.layers if layer.name.endswith("_bn")]
    assert not any(layer.use_batch_statistics for layer in layers)


def test_another_axis_is_refused():
    inputs = keras.Input((3, 8, 8))
    model = keras.Model(inputs, keras.layers.BatchNormalization(axis=1, name="channels_first")(inputs))
    with pytest.raises(ValueError, match="'channels_first' normalises axis 1"):
        batchnorm.adopt(model)


@pytest.mark.parametrize("strategy", ["one", "mirrored"])
def test_folded_networks_are_recognised(strategy):
    with make_strategy(strategy).scope():
        model = keras.Sequential([keras.Input((4,)), *(keras.layers.BatchNormalization() for _ in range(2))])
    layers = batchnorm.adopt(model)
    assert batchnorm.already_folded(layers) is True
    layers[1].moving_variance.assign([1, 1, 1, 1.5])
    assert batchnorm.already_folded(layers) is False
    assert batchnorm.already_folded([]) is False


def test_a_normalisation_inside_another_layer_is_refused():
    block = keras.Sequential([keras.Input((6,)), keras.layers.BatchNormalization(name="deep")], name="block")
    inputs = keras.Input((6,))
    with pytest.raises(UserError, match=r"BatchNormalization 'deep' stands inside the layer 'block'[^\n]+$"):
        batchnorm.adopt(keras.Model(inputs, block(inputs)))
