"""Folds batch normalisation in inference mode into the layer before it.

With fixed statistics, normalisation is a linear map of each channel, which a linear layer before it can absorb:

    scale  = gamma / sqrt(variance + epsilon)
    kernel' = kernel * scale        bias' = (bias - mean) * scale + beta

No pass over the activations is then left for the normalisation (Jacob et al. 2018, arXiv:1712.05877, section 3.2).
The folded layer has two forms:

* *trainable*: every call computes kernel' and bias' from the variables, so that gradients reach kernel, bias, gamma
  and beta exactly; the statistics are constants.
* *constant*: kernel' and bias' are computed once, see `constant`. For serving, where batches are small.

The model keeps its variables: its `.weights.h5` loads into the plain `keras.applications` model at any time.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence

import keras
import tensorflow as tf

from tf_transfer.models.batchnorm import BatchNormalization


class Fold:
    """A linear layer and the batch normalisation that is the only consumer of its output.

    Attributes:
        layer, batchnorm: the two.
        active: compute both as one layer; set before the network is traced.
    """

    def __init__(self, layer: keras.layers.Layer, batchnorm: BatchNormalization):
        self.layer, self.batchnorm, self.active = layer, batchnorm, False
        self._constants: tuple[tf.Variable, tf.Variable] | None = None
        self._depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
        kernel = layer.pointwise_kernel if isinstance(layer, keras.layers.SeparableConv2D) else layer.kernel
        # Read here: inside a call Keras returns copies in the precision of the computation.
        self.kernel = kernel.value
        self._bias = layer.bias.value if layer.use_bias else None
        self._gamma = batchnorm.gamma.value if batchnorm.scale else None
        self._beta = batchnorm.beta.value if batchnorm.center else None
        self._mean, self._variance = batchnorm.moving_mean.value, batchnorm.moving_variance.value

    def weights(self, dtype: tf.DType) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the folded kernel, in the shape of the layer's kernel, and the folded bias `[C]`."""
        kernel, bias = self._constants or self._worked_out()
        return tf.cast(kernel, dtype), tf.cast(bias, dtype)

    def _worked_out(self) -> tuple[tf.Tensor, tf.Tensor]:
        mean, variance = (tf.stop_gradient(tf.convert_to_tensor(v)) for v in (self._mean, self._variance))
        scale = tf.math.rsqrt(variance + self.batchnorm.epsilon)
        if self._gamma is not None:
            scale *= tf.convert_to_tensor(self._gamma)
        bias = -mean * scale if self._bias is None else (tf.convert_to_tensor(self._bias) - mean) * scale
        if self._beta is not None:
            bias += tf.convert_to_tensor(self._beta)
        kernel = tf.convert_to_tensor(self.kernel)
        # A depthwise kernel holds the output channels in its last two axes.
        return kernel * (tf.reshape(scale, kernel.shape[2:]) if self._depthwise else scale), bias

    @property
    def replaced(self) -> list[tf.Variable]:
        """The variables that a constant fold no longer reads."""
        every = (self.kernel, self._bias, self._gamma, self._beta, self._mean, self._variance)
        return [variable for variable in every if variable is not None]

    def make_constant(self) -> list[tf.Variable]:
        """Computes the folded weights once, in the precision of the computation; returns the variables with them."""
        dtype = self.layer.compute_dtype
        self._constants = tuple(tf.Variable(tf.cast(x, dtype), trainable=False) for x in self._worked_out())
        return list(self._constants)

    def make_trainable(self) -> None:
        """Computes the folded weights from the variables again, at every call."""
        self._constants = None


# The classes keep Keras' names, after which a `.weights.h5` file names its groups.
class Conv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D` that may have a `fold`, and that trains on CPUs also with one group for each channel."""

    fold = None
    # Compute convolutions of one pixel as matrix products; see `convolving`.
    products = True

    def call(self, inputs):
        """Convolves `[B, H, W, C]`."""
        if self.fold is not None and self.fold.active:
            kernel, bias = self.fold.weights(inputs.dtype)
            return tf.nn.bias_add(self._convolve(inputs, kernel), bias)
        outputs = self._convolve(inputs, tf.convert_to_tensor(self.kernel))
        return tf.nn.bias_add(outputs, tf.convert_to_tensor(self.bias)) if self.use_bias else outputs

    def _convolve(self, inputs, kernel):
        if self.groups > 1 and self.groups == inputs.shape[-1] and not _gpus():
            # TensorFlow lacks the gradient of grouped convolutions on CPUs, but has it for depthwise ones, as this is.
            shape = (*self.kernel_size, self.groups, self.filters // self.groups)
            return _depthwise(self, inputs, tf.reshape(kernel, shape))
        if set(self.kernel_size + self.strides) != {1} or self.groups != 1 or _gpus() or not Conv2D.products:
            return self.convolution_op(inputs, kernel)
        # A matrix product, which on CPUs is 7 % faster with its gradients, in MobileNet and ResNet-50.
        shape = tf.shape(inputs)
        products = tf.matmul(tf.reshape(inputs, (-1, inputs.shape[-1])), kernel[0, 0])
        outputs = tf.reshape(products, tf.concat([shape[:3], [self.filters]], 0))
        return tf.ensure_shape(outputs, (*inputs.shape[:3], self.filters))


class DepthwiseConv2D(keras.layers.DepthwiseConv2D):
    """`keras.layers.DepthwiseConv2D` that may have a `fold`."""

    def call(self, inputs):
        """Convolves `[B, H, W, C]`, each channel by itself."""
        if not self.fold.active:
            return super().call(inputs)
        kernel, bias = self.fold.weights(inputs.dtype)
        return tf.nn.bias_add(_depthwise(self, inputs, kernel), bias)


class SeparableConv2D(keras.layers.SeparableConv2D):
    """`keras.layers.SeparableConv2D` that may have a `fold`; its pointwise kernel takes the scale."""

    def call(self, inputs):
        """Convolves `[B, H, W, C]`, each channel by itself, then across channels."""
        if not self.fold.active:
            return super().call(inputs)
        kernel, bias = self.fold.weights(inputs.dtype)
        between = _depthwise(self, inputs, self.depthwise_kernel)
        return tf.nn.bias_add(tf.nn.conv2d(between, kernel, 1, "VALID"), bias)


class Dense(keras.layers.Dense):
    """`keras.layers.Dense` that may have a `fold`."""

    def call(self, inputs, training=None):
        """Multiplies `[..., D]` by the kernel."""
        if not self.fold.active:
            return super().call(inputs, training)
        kernel, bias = self.fold.weights(inputs.dtype)
        return tf.nn.bias_add(tf.matmul(inputs, kernel), bias)


def _depthwise(layer, inputs, kernel):
    return keras.ops.depthwise_conv(
        inputs, kernel, layer.strides, layer.padding, layer.data_format, layer.dilation_rate
    )


def _gpus() -> bool:
    return bool(tf.config.list_physical_devices("GPU"))


_LINEAR = {cls.__name__: cls for cls in (Conv2D, DepthwiseConv2D, SeparableConv2D, Dense)}


def adopt(model: keras.Model) -> list[Fold]:
    """Makes every linear layer foldable, in place, that a batch normalisation follows in the model's graph.

    Convolutions with a group for each channel become `Conv2D` in any case, since only so they train on CPUs.

    Not folded are layers with an activation, with several consumers, or called more than once; and normalisations
    before a convolution (DenseNet, ResNetV2), because padding comes between the two.

    Args:
        model: functional, without nested models; its normalisations come from `batchnorm.adopt`.

    Returns:
        The pairs, none of them active.
    """
    nodes = [node for depth in model._nodes_by_depth.values() for node in depth]
    for node in nodes:
        layer = node.operation
        if _is_linear(layer) and getattr(layer, "groups", 1) == layer.input.shape[-1] > 1:
            layer.__class__ = Conv2D
    calls = Counter(id(node.operation) for node in nodes)
    taken = [tensor for node in nodes for tensor in node.arguments.keras_tensors] + list(model.outputs)
    consumers = Counter(_source(tensor) for tensor in taken)
    folds = []
    for node in nodes:
        batchnorm = node.operation
        if not isinstance(batchnorm, BatchNormalization) or calls[id(batchnorm)] > 1:
            continue
        output = node.arguments.keras_tensors[0]
        layer = output._keras_history.operation
        if calls[id(layer)] == 1 and consumers[_source(output)] == 1 and _is_linear(layer):
            layer.__class__ = _LINEAR[type(layer).__name__]
            fold = layer.fold = batchnorm.fold = Fold(layer, batchnorm)
            folds.append(fold)
    return folds


def _source(tensor) -> tuple[int, int, int]:
    history = tensor._keras_history
    return id(history.operation), history.node_index, history.tensor_index


def _is_linear(layer: keras.layers.Layer) -> bool:
    """Says whether a layer is linear, channels last, and of a Keras class itself: a subclass may compute otherwise."""
    name = type(layer).__name__
    return (
        type(layer) in (getattr(keras.layers, name, None), _LINEAR.get(name))
        and name in _LINEAR
        and layer.activation in (None, keras.activations.linear)
        and getattr(layer, "data_format", "channels_last") == "channels_last"
        and not getattr(layer, "lora_enabled", False)
        and getattr(layer, "quantization_mode", None) is None
    )


@contextlib.contextmanager
def constant(folds: Sequence[Fold]) -> Iterator[list[tf.Variable]]:
    """Inside, active folds use weights that are computed once; yields the variables that hold them."""
    try:
        yield [variable for fold in folds for variable in fold.make_constant()]
    finally:
        for fold in folds:
            fold.make_trainable()


@contextlib.contextmanager
def convolving() -> Iterator[None]:
    """Inside, convolutions of one pixel are traced as convolutions, which other runtimes quantise by channel."""
    Conv2D.products = False
    try:
        yield
    finally:
        Conv2D.products = True
