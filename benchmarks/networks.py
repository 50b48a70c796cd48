"""The networks that the benchmarks time: Keras' own, ours of the same weights, and PyTorch's where it is installed."""

import importlib.util
from collections.abc import Callable

# Network, side in pixels, batch, rounds: the laptop's and the flagship's.
CASES = (("mobilenet(alpha=0.25)", 96, 128, 20), ("resnet50", 224, 32, 7))
PRECISIONS = ("float32", "bfloat16")


def cases(quick: bool) -> tuple[tuple[str, int, int, int], ...]:
    """Returns the cases, with two rounds each where it is to be quick."""
    return tuple((spec, size, batch, 2 if quick else rounds) for spec, size, batch, rounds in CASES)


def network(spec: str, size: int, precision: str):
    """Returns a plain Keras network and, of the same weights, a classifier of ours."""
    from tf_transfer.machine.precision import precision_policy
    from tf_transfer.modalities import backbones
    from tf_transfer.modalities.image.preprocessing import Preprocessing
    from tf_transfer.models.classifier import Classifier

    backbone = backbones.find_backbone(spec)
    with precision_policy(precision):
        plain, ours = backbones.build(backbone, size), backbones.build(backbone, size)
        ours.set_weights(plain.get_weights())
        return plain, Classifier(ours, Preprocessing(size, "raw"), 10)


def pictures(batch: int, size: int):
    """Returns random uint8 pictures as a tensor."""
    import numpy as np
    import tensorflow as tf

    return tf.constant(np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), np.uint8))


def waiting(function: Callable) -> Callable[[], object]:
    """Returns the function with a wait for what it computed."""
    return lambda: function().numpy()


def torch_resnet():
    """Returns transformers' ResNet-50 with ten classes, channels last, or None where it is not installed."""
    if not all(map(importlib.util.find_spec, ("torch", "transformers"))):
        return None
    import torch
    from transformers import ResNetConfig, ResNetForImageClassification

    torch.manual_seed(0)
    return ResNetForImageClassification(ResNetConfig(num_labels=10)).to(memory_format=torch.channels_last)
