"""A residual network for 32-pixel pictures that trains in seconds on two CPU cores."""

import keras
from keras import layers


def SmallResNet(include_top=False, weights=None, input_shape=(32, 32, 3), pooling=None, width=16, depth=1):  # noqa: N802
    """Builds the CIFAR form of ResNet (He et al. 2015, arXiv:1512.03385, section 4.2), headless.

    Args:
        include_top: as in keras.applications; only False exists.
        weights: as in keras.applications; only None exists.
        input_shape: `(H, W, 3)`, at least 16 px.
        pooling: `avg` for `[B, 4 * width]` features, None for the last feature map.
        width: channels of the first stage; doubled in each of the two next.
        depth: residual blocks a stage; the network has 6 * depth + 1 convolutions on its longest path.
    """
    if include_top or weights is not None:
        raise ValueError("small_resnet has no top and no published weights: use weights=None.")
    inputs = layers.Input(input_shape)
    x = _conv_bn(inputs, width, 1, "stem")
    x = layers.Activation("relu", name="stem_relu")(x)
    for stage in range(3):
        for block in range(depth):
            stride = 2 if stage > 0 and block == 0 else 1
            x = _block(x, width * 2**stage, stride, f"stage{stage + 1}_block{block + 1}")
    if pooling == "avg":
        x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
    return keras.Model(inputs, x, name="small_resnet")


def _conv_bn(x, filters, stride, name, kernel=3):
    x = layers.Conv2D(
        filters, kernel, stride, "same", use_bias=False, kernel_initializer="he_normal", name=f"{name}_conv"
    )(x)
    return layers.BatchNormalization(momentum=0.9, name=f"{name}_bn")(x)


def _block(x, filters, stride, name):
    shortcut = x
    if stride != 1 or x.shape[-1] != filters:
        shortcut = _conv_bn(x, filters, stride, f"{name}_shortcut", kernel=1)
    x = layers.Activation("relu", name=f"{name}_1_relu")(_conv_bn(x, filters, stride, f"{name}_1"))
    x = _conv_bn(x, filters, 1, f"{name}_2")
    return layers.Activation("relu", name=f"{name}_out")(layers.Add(name=f"{name}_add")([x, shortcut]))
