"""Preprocessing, backbone and head as one classifier: stored examples in, logits out."""

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tf_transfer.errors import UserError, one_line
from tf_transfer.machine import xla
from tf_transfer.modalities import backbones
from tf_transfer.modalities.base import Inputs
from tf_transfer.models import batchnorm, folding, weights
from tf_transfer.models.dropout import adopt as adopt_dropouts
from tf_transfer.run import atomic
from tf_transfer.training.method import HEAD, ParameterGroup
from tf_transfer.training.noise import Noise

# Bytes that a variable takes in a weights file beside its numbers.
_OVERHEAD = 4096


class Classifier:
    """A backbone under a linear head, with its preprocessing inside.

    Args:
        backbone: headless network, preprocessed inputs to `[B, D]`; its batch normalisations and dropouts become those
            of this package, in place.
        inputs: its preprocessing, of `modalities.base.Modality.inputs`.
        num_classes: C, the width of the head.
        dropout: rate between features and head while training, in [0, 1).
        seed: of the head's initial kernel, normal with deviation 0.01.

    Attributes:
        xla: compile the backbone with XLA, without preprocessing and head.
        trials: makes the trials that decide it for each function by cost; None: `xla` holds for all.
        size, mode: of the preprocessing.
        stages: `{layer name: stage}`, see `_stages`.
    """

    def __init__(self, backbone: keras.Model, inputs: Inputs, num_classes: int, dropout: float = 0.0, seed: int = 0):
        self.backbone, self.inputs, self.dropout = backbone, inputs, dropout
        self.size, self.mode = inputs.size, inputs.mode
        self.xla, self.trials = False, None
        self.num_classes = num_classes
        self.num_features = backbone.output_shape[-1]
        self.batchnorms = batchnorm.adopt(backbone)
        self.folds = folding.adopt(backbone)
        self.dropouts = adopt_dropouts(backbone)
        self.stages = _stages(backbone)
        self.head = keras.layers.Dense(
            num_classes, dtype="float32", name=HEAD, kernel_initializer=keras.initializers.RandomNormal(0, 0.01, seed)
        )
        self.head.build((None, self.num_features))

    def features(self, examples: tf.Tensor, training: bool = False, noise: Noise | None = None) -> tf.Tensor:
        """Maps stored examples `[B, ...]` of any size to float32 `[B, D]`."""
        for layer in self.dropouts:
            layer.noise = noise
        for fold in self.folds:
            fold.active = not (training and fold.batchnorm.use_batch_statistics)
        inputs = self.inputs(examples)
        if not self.xla or (training and self._reduces_over_replicas()):
            return tf.cast(self.backbone(inputs, training=training), tf.float32)
        # A new function for each trace, since a trace fixes which folds are active.
        compiled = tf.function(lambda x: self.backbone(x, training=training), autograph=False, jit_compile=True)
        return tf.cast(compiled(inputs), tf.float32)

    def trial(self, what: str, calls: float, size: int) -> xla.Trial | None:
        """Returns the trial of a function, see `xla.Trials`; None where `xla` decides."""
        return self.trials(what, calls, size) if self.trials else None

    def _reduces_over_replicas(self) -> bool:
        """Says whether batch statistics are reduced over replicas inside the network, which XLA cannot compile."""
        replicas = tf.distribute.get_replica_context()
        several = replicas is not None and replicas.num_replicas_in_sync > 1
        return several and any(layer.use_batch_statistics for layer in self.batchnorms)

    def logits(self, examples: tf.Tensor, training: bool = False, noise: Noise | None = None) -> tf.Tensor:
        """Maps stored examples to float32 `[B, C]`; `noise` drives the dropout of a training pass."""
        return self.classify(self.features(examples, training, noise), training, noise)

    def classify(self, features: tf.Tensor, training: bool = False, noise: Noise | None = None) -> tf.Tensor:
        """Maps float32 `[B, D]` features to float32 `[B, C]` logits."""
        if training and self.dropout:
            features = noise.drop(features, self.dropout, purpose=0)
        return self.head(features)

    def set_batchnorm(self, policy: str, layers: set[str] | None = None, steps: int | None = None) -> None:
        """Sets what normalises in a training pass: batch statistics, which also move the averages, or the averages.

        Args:
            policy: `train`, batch statistics over all replicas; `local`, each replica's statistics of its share of the
                batch, whose mean over the replicas moves the averages; or `frozen`, the averages, which stay.
            layers: names of the layers that follow the policy; the others stay frozen. None: all follow.
            steps: length of the coming training. The moving averages then look back over a fiftieth of it, between
                10 and 100 steps: the usual momentum of 0.99 is for long pretraining, and after a few hundred steps
                still holds statistics of outdated weights. None: the momentum of each layer.
        """
        momentum = None if steps is None else 1.0 - 1.0 / min(100, max(10, steps / 50))
        for layer in self.batchnorms:
            layer.momentum = layer.momentum if momentum is None else min(layer.momentum, momentum)
            layer.synchronised = policy != "local"
            layer.use_batch_statistics = policy != "frozen" and (layers is None or layer.name in layers)

    def unfrozen(self, pattern: str) -> set[str]:
        """Returns the names of the layers whose `stageN/layer` matches the regular expression `pattern`.

        Raises:
            UserError: the expression is invalid, or matches no layer that has weights.
        """
        expression = backbones.layer_pattern(pattern)
        layers = [layer for layer in self.backbone.layers if layer.weights]
        names = {layer.name for layer in layers if expression.search(f"stage{self.stages[layer.name]}/{layer.name}")}
        if not names:
            last = max(self.stages[layer.name] for layer in layers)
            raise UserError(
                f"--unfreeze={one_line(pattern)!r} matches no layer. Layers are called stageN/NAME, from "
                f"stage1/{layers[0].name} to stage{last}/{layers[-1].name}."
            )
        return names

    def head_group(self) -> ParameterGroup:
        """Returns the head's kernel and bias."""
        return ParameterGroup(HEAD, [v.value for v in self.head.trainable_variables])

    def groups(self, pattern: str = "", layer_decay: float = 1.0) -> list[ParameterGroup]:
        """Returns one group for each stage that `pattern` unfreezes, and the head's group.

        Args:
            pattern: see `unfrozen`; empty for every layer.
            layer_decay: the learning-rate factor is 1 at the head and falls by `layer_decay` from stage to stage
                towards the input (ULMFiT's discriminative rates, Howard & Ruder 2018).
        """
        names = self.unfrozen(pattern)
        stages: dict[int, list[tf.Variable]] = {}
        for layer in self.backbone.layers:
            if layer.name in names:
                stages.setdefault(self.stages[layer.name], []).extend(v.value for v in layer.trainable_variables)
        top = 1 + max(self.stages[layer.name] for layer in self.backbone.layers if layer.weights)
        below = [ParameterGroup(f"stage{s}", v, layer_decay ** (top - s)) for s, v in sorted(stages.items()) if v]
        return [*below, self.head_group()]

    @property
    def state(self) -> list[tf.Variable]:
        """Every variable that training may change, seeds and statistics included, in a fixed order."""
        return [v.value for v in [*self.backbone.variables, *self.head.variables]]

    def state_values(self) -> list[np.ndarray]:
        """Returns copies of `state`."""
        return [v.numpy() for v in self.state]

    def set_state(self, values: Sequence[np.ndarray]) -> None:
        """Assigns values that `state_values` returned."""
        for variable, value in zip(self.state, values, strict=True):
            variable.assign(value)

    def parameters(self) -> int:
        """Returns the number of parameters, statistics included, as Keras counts them."""
        return self.backbone.count_params() + self.head.count_params()

    def save(self, folder: Path) -> None:
        """Writes two weights files: the backbone, which loads into the plain keras.applications model, and the head.

        Raises:
            OSError: the disk has no room for them.
        """
        # On a full disk HDF5 ends the process. A file of it takes some kilobytes a variable beside the numbers.
        atomic.reserve(folder, 4 * self.parameters() + _OVERHEAD * (16 + len(self.state)))
        self.backbone.save_weights(folder / weights.BACKBONE_FILE)
        self._head_model().save_weights(folder / weights.HEAD_FILE)

    def load(self, folder: Path) -> None:
        """Reads the files that `save` wrote.

        Raises:
            UserError: a file is missing, damaged or of another model.
        """
        for model, name in ((self.backbone, weights.BACKBONE_FILE), (self._head_model(), weights.HEAD_FILE)):
            weights.load_file(model, folder / name, "this model")

    def _head_model(self) -> keras.Model:
        return keras.Sequential([keras.Input((self.num_features,)), self.head], name="head_model")


def _stages(backbone: keras.Model) -> dict[str, int]:
    """Maps every layer to its stage, counted from 1 at the input, for layer-wise rates and `--unfreeze`.

    A new stage begins where the resolution has halved since the first layer that learns. In a network without a
    resolution, such as an embedding under dense layers, every layer that learns begins a stage.
    """
    learning = [layer for layer in backbone.layers if layer.trainable_weights]
    full = next((layer.output.shape[1] for layer in learning if len(layer.output.shape) == 4), None)
    stages, current = {}, 1 if full else 0
    for layer in backbone.layers:
        shape = getattr(layer.output, "shape", ())
        if full and len(shape) == 4 and shape[1]:
            current = 1 + max(0, round(np.log2(full / shape[1])))
        elif not full and layer.trainable_weights:
            current += 1
        stages[layer.name] = max(1, current)
    return stages
