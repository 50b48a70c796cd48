"""Logits of trials on sets of examples: each candidate's network is built once and takes the weights in turn."""

from functools import cached_property

import numpy as np

from tf_transfer.assess.networks import Pool
from tf_transfer.assess.plan import Trial
from tf_transfer.assess.trials import TrialResult
from tf_transfer.data.splits import Split
from tf_transfer.models.classifier import Classifier
from tf_transfer.models.inference import Predictor

# Number of models whose weights stay in memory: corruptions are predicted by several in turn.
_STATES = 4


class Scorer:
    """Predicts with one candidate network.

    Args:
        pool: the candidate.
        validation: the examples whose features the pool holds, or None.
    """

    def __init__(self, pool: Pool, validation: Split | None):
        self.pool, self._features = pool, {}
        if validation is not None:
            self._features[id(validation)] = validation, np.asarray(pool.validation.inputs)
        self._states: dict[Trial, list[np.ndarray]] = {}
        self._loaded: Trial | None = None
        self._size = pool.session.rows_at_once()

    @cached_property
    def network(self) -> Classifier:
        """A classifier that holds the weights of the model used last."""
        return self.pool.session.pretrained(self.pool.classifier.num_classes, "random")

    @cached_property
    def predict(self) -> Predictor:
        """Maps examples to the logits of `network`."""
        return Predictor(self.network.logits, self.pool.session.strategy, self._size)

    @cached_property
    def _frozen(self) -> Predictor:
        return Predictor(self.pool.classifier.features, self.pool.session.strategy, self._size)

    def features(self, split: Split, keep: bool = False) -> np.ndarray:
        """Returns float32 `[N, D]` features of the pretrained network; `keep` holds them for the next call."""
        if id(split) in self._features:
            return self._features[id(split)][1]
        found = self._frozen(split.inputs)
        if keep:
            # With the split, which must live as long as its id is a key.
            self._features[id(split)] = split, found
        return found

    def logits(self, ran: TrialResult, split: Split, keep: bool = False) -> np.ndarray:
        """Returns float32 `[N, C]` of a trial's model."""
        if ran.head is not None:
            kernel, bias = ran.head
            return self.features(split, keep) @ kernel + bias
        self.load(ran)
        return self.predict(split.inputs)

    def load(self, ran: TrialResult) -> Classifier:
        """Loads the weights of a trial into `network` and returns it; a caller that changes them calls `forget`."""
        if self._loaded == ran.trial:
            return self.network
        if ran.trial in self._states:
            self.network.set_state(self._states[ran.trial])
        elif ran.head is None:
            self.network.load(ran.run.path / ran.phase)
        else:
            self.network.set_state(self.pool.classifier.state_values())
            self.network.head.set_weights(ran.head)
        while len(self._states) > _STATES:
            del self._states[next(iter(self._states))]
        self._states[ran.trial], self._loaded = self.network.state_values(), ran.trial
        return self.network

    def forget(self) -> None:
        """Notes that the weights of `network` are no longer those of a trial."""
        self._loaded = None
