"""Batch normalisation whose statistics follow `--bn` alone, computed by one fused kernel."""

import keras
import tensorflow as tf

from tf_transfer.errors import UserError, one_line


# The class keeps Keras' name: a `.weights.h5` file names the group of a layer after its class, and must load into
# the plain keras.applications model.
class BatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` over channels last, with two differences.

    * `use_batch_statistics` alone decides whether batch or moving statistics normalise. Keras decides
      by the `training` argument of a call and by `trainable`, which also freezes gamma and beta, and
      under `fit` drops `training=False` given to an inner model (keras#20285).
    * `FusedBatchNormV3` computes it, in float32 statistics whatever the input's precision; Keras runs
      a chain of elementwise operations. On several replicas the statistics are of the global batch, or where
      `synchronised` is False of each replica's share.

    Outputs, gradients and moving statistics equal Keras' (Ioffe & Szegedy 2015, arXiv:1502.03167);
    the variance that enters the moving average is the biased one, as in Keras.
    """

    use_batch_statistics = False
    synchronised = True
    # Set by `folding.adopt` where the normalisation can be folded into the layer before it.
    fold = None

    def call(self, inputs, training=None, mask=None):
        """Normalises `[B, H, W, C]` or `[B, C]`; batch statistics need `training` and the policy."""
        if self.fold is not None and self.fold.active:
            return inputs
        x = inputs if inputs.shape.rank == 4 else inputs[:, None, None, :]
        if training and self.use_batch_statistics:
            replicas = tf.distribute.get_replica_context()
            several = replicas is not None and replicas.num_replicas_in_sync > 1
            y, mean, variance = self._over_replicas(x, replicas) if several and self.synchronised else self._fused(x)
            if several and not self.synchronised:
                mean, variance = replicas.all_reduce("MEAN", [mean, variance])
            self._update(self.moving_mean, mean)
            self._update(self.moving_variance, variance)
        else:
            y = self._normalise(x, self.moving_mean.value, self.moving_variance.value)
        return y if inputs.shape.rank == 4 else y[:, 0, 0, :]

    def _scale_offset(self):
        channels = self.moving_mean.shape[0]
        gamma = self.gamma.value if self.scale else tf.ones(channels)
        beta = self.beta.value if self.center else tf.zeros(channels)
        return tf.convert_to_tensor(gamma), tf.convert_to_tensor(beta)

    def _normalise(self, x, mean, variance):
        gamma, beta = self._scale_offset()
        mean, variance = tf.convert_to_tensor(mean), tf.convert_to_tensor(variance)
        y, *_ = tf.raw_ops.FusedBatchNormV3(
            x=x, scale=gamma, offset=beta, mean=mean, variance=variance, epsilon=self.epsilon, is_training=False
        )
        return y

    def _fused(self, x):
        gamma, beta = self._scale_offset()
        none = tf.zeros([0])
        y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=x, scale=gamma, offset=beta, mean=none, variance=none, epsilon=self.epsilon, is_training=True
        )
        n = tf.cast(tf.size(x) // tf.shape(x)[-1], tf.float32)
        # The kernel returns the unbiased variance (n - 1); Keras averages the biased one.
        return y, mean, variance * ((n - 1.0) / n)

    def _over_replicas(self, x, replicas):
        gamma, beta = self._scale_offset()
        wide, channels = tf.cast(x, tf.float32), x.shape[-1]
        own = tf.reduce_mean(wide, (0, 1, 2))
        spread = tf.reduce_mean(tf.math.squared_difference(wide, own), (0, 1, 2))
        # One reduction a layer, in float64: squares of means much larger than the deviation cancel below.
        means, spreads = tf.cast(own, tf.float64), tf.cast(spread, tf.float64)
        reduced = replicas.all_reduce("MEAN", tf.concat([means, spreads + means**2], 0))
        mean, variance = reduced[:channels], reduced[channels:] - reduced[:channels] ** 2
        mean, variance = tf.cast(mean, tf.float32), tf.cast(variance, tf.float32)
        y = tf.nn.batch_normalization(wide, mean, variance, beta, gamma, self.epsilon)
        return tf.cast(y, x.dtype), mean, variance

    def _update(self, moving, value):
        value = tf.stop_gradient(value)
        moving.assign(moving * self.momentum + tf.cast(value, moving.dtype) * (1.0 - self.momentum))


def adopt(model: keras.Model) -> list[BatchNormalization]:
    """Turns every batch normalisation of `model` into this class, in place, and returns them in order.

    Only the class of a layer changes: variables, names and graph stay, and no second copy of the network is built.

    Raises:
        UserError: a normalisation is nested in another layer, where `--bn` would not reach it.
        ValueError: a layer normalises another axis than the channels, the last one.
    """
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for outer in model.layers:
        for layer in outer._flatten_layers(include_self=False):
            if isinstance(layer, keras.layers.BatchNormalization):
                raise UserError(
                    f"--backbone: the BatchNormalization {one_line(layer.name)!r} stands inside the layer "
                    f"{one_line(outer.name)!r}, where --bn cannot reach it: build the network of one level."
                )
    for layer in layers:
        if layer.axis not in (-1, len(layer.input.shape) - 1):
            raise ValueError(f"Layer {layer.name!r} normalises axis {layer.axis}; only channels-last is supported.")
        layer.__class__ = BatchNormalization
    return layers


def already_folded(layers: list[BatchNormalization]) -> bool:
    """Returns whether all layers have mean 0 and variance 1: their statistics were folded into the convolutions.

    Training such layers on batch statistics would destroy the network.
    """
    return bool(layers) and all(
        (layer.moving_mean.value.numpy() == 0).all() and (layer.moving_variance.value.numpy() == 1).all()
        for layer in layers
    )
