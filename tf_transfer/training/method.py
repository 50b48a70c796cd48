"""The contract of a method: what one kind of training gives the loop.

A method is a class in `methods/`, registered under the name that `--method` gives it; its hyper-parameters are the
arguments of its spec, `--method='coral(weight=0.5)'`. It is made once a phase, from the `Setting`, and the loop then
asks it for streams of examples, for the variables that train, and for the losses of every step. It has no gradient
tape and no loop of its own. Everything that it changes is in `state`, so that an interrupted run resumes to the bit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import tensorflow as tf

from tf_transfer.config import Training
from tf_transfer.data.streams import Stream
from tf_transfer.data.training_data import TrainingData
from tf_transfer.modalities.base import Modality
from tf_transfer.phases.catalogue import Phase
from tf_transfer.registry import Registry
from tf_transfer.training.noise import Noise
from tf_transfer.training.problem import Problem

# Factories of (setting, hyper-parameters) -> Method.
METHODS = Registry("--method")
HEAD = "head"
"""Name of the parameter group of the head; regularizers tell it from the backbone."""


@dataclass(frozen=True)
class ParameterGroup:
    """Variables that train with one learning-rate factor.

    Attributes:
        name: `head`, or `stage1` ... from the input up.
        variables: the tf.Variables.
        factor: multiplies the learning rate.
    """

    name: str
    variables: Sequence[tf.Variable]
    factor: float = 1.0


NO_LOSS = 0.0


class Losses(NamedTuple):
    """The losses of one step, for the examples that a replica sees.

    Attributes:
        examples: float32 `[B]`, the loss of each example of the first stream; it is multiplied by the example's weight
            and averaged over the global batch.
        batch: scalar loss of the whole *global* batch, the same on every replica: made of tensors that
            `across.gather` has brought together. Methods that have one say so by `of_batch`.
        measures: recorded beside the loss: `[B]`, one for each example (the mean over the global batch is recorded), or
            a scalar of the global batch.
    """

    examples: tf.Tensor
    batch: tf.Tensor | float = NO_LOSS
    measures: Mapping[str, tf.Tensor] = {}


class Score(NamedTuple):
    """A measurement of the current variables on validation data, read by selection and early stopping.

    Attributes:
        value: larger is better, such as an accuracy.
        standard_error: of the value.
        loss: smaller is better; it decides between values that are within one standard error.
        measures: what is recorded, such as `accuracy` and the number of `examples`.
        each: the results of each validation example, in their order: `right`, bool `[N]`, and `loss`, float `[N]`.
            Those of the kept epoch are compared with other phases'; a phase whose method has none is not compared.
    """

    value: float
    standard_error: float
    loss: float
    measures: Mapping[str, float] = {}
    each: Mapping[str, np.ndarray] = {}


@dataclass(frozen=True)
class Setting:
    """What a method is made from.

    Attributes:
        model: a `models.classifier.Classifier`, its weights loaded.
        data: the splits that train and validate; the labels of an unlabelled split are None.
        plan: the phase's options, nothing left open.
        phase: its row of the catalogue.
        modality: what an example is; it augments them.
        problem: the loss, what is right, and the score.
        strategy: its replicas share each batch.
        on_features: the inputs of `data` are features that the frozen backbone computed beforehand.
        source: the splits of `--source_dataset`, for methods that say by `of_source` that they read them; else None.
    """

    model: Any
    data: TrainingData
    plan: Training
    phase: Phase
    modality: Modality
    problem: Problem
    strategy: tf.distribute.Strategy
    on_features: bool = False
    source: TrainingData | None = None


class Method(Protocol):
    """One kind of training, bound to its setting.

    Attributes:
        of_batch: whether its losses have a `batch` part; such a method cannot be accumulated over parts of a batch.
        of_source: whether it reads `--source_dataset`, too; then that decides what it trains, and is recorded.
        of_features: whether it may train a head on features that the frozen backbone computes once.
    """

    of_batch: bool = False
    of_source: bool = False
    of_features: bool = False

    def streams(self) -> dict[str, Stream]:
        """Returns the streams by name; the first sets the length of an epoch, and its examples are weighted."""

    def groups(self) -> list[ParameterGroup]:
        """Returns the variables that train, own heads included; none where only statistics move."""

    def state(self) -> list[tf.Variable]:
        """Returns every variable that training may change: checkpointed, at the end restored to the kept epoch's."""

    def loss(self, batch: Mapping[str, Mapping], noise: Mapping[str, Noise], progress: tf.Tensor) -> Losses:
        """Computes the losses of a step; called in each replica.

        Args:
            batch: by stream, see `data.batches.Batches.batch`.
            noise: by stream; every random number is drawn from it.
            progress: scalar in [0, 1), the share of the training's steps that are done.
        """

    def after(self, step: tf.Tensor) -> None:
        """Runs after the update of step `step`, across replicas: a moving average, a mask. Graph operations only."""

    def score(self) -> Score | None:
        """Measures the current variables on validation data; None where there is none."""
