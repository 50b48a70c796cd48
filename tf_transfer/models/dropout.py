"""Dropout whose noise is a function of seed, step and example, however the batch is shared out."""

from collections.abc import Iterator

import keras

from tf_transfer.errors import UserError, one_line
from tf_transfer.training.noise import Noise


# The classes keep Keras' names, after which a `.weights.h5` file names its groups.
class Dropout(keras.layers.Dropout):
    """`keras.layers.Dropout` that draws from `noise`; without one, from its own generator."""

    noise: Noise | None = None
    purpose = 0

    def call(self, inputs, training=False):
        """Drops values while training; by `noise_shape` whole examples or channels."""
        if not training or not self.rate or self.noise is None:
            return super().call(inputs, training=training)
        sides = (self.noise_shape or (None,) * len(inputs.shape))[1:]
        shape = [known or side for known, side in zip(sides, inputs.shape[1:], strict=True)]
        return self.noise.drop(inputs, self.rate, self.purpose, shape)


class StochasticDepth(keras.layers.Layer):
    """ConvNeXt's stochastic depth (Huang et al., arXiv:1603.09382): drops a branch of an example by `noise`."""

    noise: Noise | None = None
    purpose = 0

    def call(self, x, training=None):
        """Drops examples of a branch while training."""
        if not training or self.noise is None:
            return x
        return self.noise.drop(x, self.drop_path_rate, self.purpose, (1,) * (len(x.shape) - 1))

    def get_config(self):
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "drop_path_rate": self.drop_path_rate}


_OURS = {"Dropout": Dropout, "StochasticDepth": StochasticDepth}


def adopt(model: keras.Model) -> list[keras.layers.Layer]:
    """Turns every dropout of a network into these classes, in place; returns them in order. Purposes count from 1.

    Dropouts inside other layers, such as in an attention or a nested model, are found too.

    Raises:
        UserError: another layer draws random numbers, which would then depend on how replicas share a batch.
    """
    layers = [layer for layer in walk(model) if type(layer).__name__ in _OURS]
    for number, layer in enumerate(layers, 1):
        layer.__class__ = _OURS[type(layer).__name__]
        layer.purpose = number
    for layer in walk(model):
        if _draws(layer) and type(layer) not in _OURS.values():
            raise UserError(
                f"--backbone: the layer {one_line(layer.name)!r} ({type(layer).__name__}) draws random numbers of its "
                "own: expected Dropout alone, whose noise follows seed, step and example; leave the layer out."
            )
    return layers


def _draws(layer: keras.layers.Layer) -> bool:
    """Says whether a layer draws random numbers; a recurrent cell always has a generator, and uses it for dropout."""
    if getattr(layer, "seed_generator", None) is None:
        return False
    return not hasattr(layer, "recurrent_dropout") or bool(layer.dropout or layer.recurrent_dropout)


def walk(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """Yields the layers of a network in order, each followed by those inside it, each once."""
    seen = set()
    for top in model.layers:
        for layer in top._flatten_layers():
            if id(layer) not in seen:
                seen.add(id(layer))
                yield layer
