"""The supervised method: trains on labels a head, or a whole network from pretrained or random weights."""

import math
from collections.abc import Mapping

import tensorflow as tf

from tf_transfer.data.streams import Stream
from tf_transfer.machine.xla import Trial
from tf_transfer.models.inference import FORWARD, Predictor
from tf_transfer.phases.catalogue import RANDOM
from tf_transfer.training.method import METHODS, Losses, ParameterGroup, Score, Setting
from tf_transfer.training.noise import Noise

# Name of its only stream.
TRAIN = "train"
# Rows of features that are classified at once.
_FEATURES = 4096


@METHODS.register("supervised")
class Supervised:
    """The problem's loss on labelled examples; for classification, cross-entropy.

    A head-only phase trains the head; a phase that begins from random weights trains everything; a phase that begins
    from pretrained weights trains the layers of `--unfreeze`, at rates that fall by `--layer_decay`.
    """

    of_batch = of_source = False
    of_features = True

    def __init__(self, setting: Setting):
        self.setting, self.model, self.plan = setting, setting.model, setting.plan
        self.augmentation = setting.modality.augmentation("none" if setting.on_features else setting.plan.augment)
        size = _FEATURES if setting.on_features else 2 * setting.plan.batch_size
        function = self.model.classify if setting.on_features else self.model.logits
        self._predict = Predictor(function, setting.strategy, size, self._trial(size))

    def _trial(self, size: int) -> Trial | None:
        """Returns the trial of the passes over the validation split; None where XLA is decided, or there are none."""
        if self.setting.on_features or self.model.trials is None or self.setting.data.validation is None:
            return None
        held = self.setting.data.validation
        passes = math.ceil(self.plan.epochs or 1)
        return self.model.trial(FORWARD, passes * math.ceil(len(held) / size), size)

    def streams(self) -> dict[str, Stream]:
        """Returns the stream of labelled training examples, weighted by class."""
        data = self.setting.data
        weights = data.class_weights[data.train.labels]
        stream = Stream(data.train, self.plan.batch_size, weights=weights, mix_alpha=self.augmentation.mix_alpha)
        return {TRAIN: stream}

    def groups(self) -> list[ParameterGroup]:
        """Returns the parameters of the head and of the layers that the phase trains."""
        if self.setting.phase.head_only:
            return [self.model.head_group()]
        if self.setting.phase.begins == RANDOM:
            return self.model.groups()
        return self.model.groups(self.plan.unfreeze, self.plan.layer_decay)

    def state(self) -> list[tf.Variable]:
        """Returns the variables of the model, or on features the variables of the head."""
        return [v.value for v in self.model.head.variables] if self.setting.on_features else self.model.state

    def loss(self, batch: Mapping[str, Mapping], noise: Mapping[str, Noise], progress: tf.Tensor) -> Losses:
        """Computes the loss of each example and whether it was right; see `training.method.Method`."""
        examples, drawn, problem = batch[TRAIN], noise[TRAIN], self.setting.problem
        inputs, targets = self._shown(examples)
        features = inputs if self.setting.on_features else self.model.features(inputs, self._through(), drawn)
        logits = self.model.classify(features, True, drawn)
        losses = problem.loss(self._offset(logits), targets)
        return Losses(losses, measures={"accuracy": problem.hits(logits, examples["label"])})

    def _offset(self, logits):
        """Returns the logits that the loss sees, see `splits.class_offsets`."""
        offsets = self.setting.data.class_offsets
        return logits if offsets is None else logits + offsets

    def _shown(self, examples: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns augmented inputs and their targets; features are not augmented."""

        def targets_of(labels: tf.Tensor) -> tf.Tensor:
            return self.setting.problem.targets(labels, self.model.num_classes, self.plan.label_smoothing)

        if self.setting.on_features:
            return examples["inputs"], targets_of(examples["label"])
        return self.augmentation(examples, targets_of)

    def _through(self) -> bool:
        """Says whether the backbone, too, runs in training mode (dropout, batch statistics)."""
        return not self.setting.phase.head_only or self.plan.bn != "frozen"

    def after(self, step: tf.Tensor) -> None:
        """Does nothing after the update."""

    def score(self) -> Score | None:
        """Scores the validation split by the problem; None where there is none.

        Validation examples are as uneven as training ones: where offsets train, what selects epochs is the logits with
        them. A balanced accuracy would hang on the few examples of rare classes. Recorded are the plain measures.
        """
        held = self.setting.data.validation
        if held is None or len(held) == 0:
            return None
        logits, problem = self._predict(held.inputs), self.setting.problem
        plain = Score(*problem.score(logits, held.labels))
        if self.setting.data.class_offsets is None:
            return plain
        return Score(*problem.score(self._offset(logits), held.labels))._replace(measures=plain.measures)
