"""One pass of a frozen backbone over the data, and the scaling that makes a head quick to train."""

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf

from tf_transfer.data.batches import DRAWS
from tf_transfer.data.disk_arrays import release, temporary
from tf_transfer.data.splits import Split
from tf_transfer.features.shared_store import SharedStore
from tf_transfer.features.store import FeatureStore
from tf_transfer.machine.strategy import several_hosts
from tf_transfer.modalities.augmentation import Augmentation
from tf_transfer.models.classifier import Classifier
from tf_transfer.models.inference import Predictor

# Rows of features that are processed at a time.
_ROWS = 4096


@dataclass(frozen=True)
class Views:
    """Fixed views of every example: as it is, mirrored where the augmentation mirrors, then augmented at random.

    Attributes:
        number: how many, at least 1.
        augment: the augmentation; its mixing of examples is not used.
        seed: of the random views, which are a function of (seed, view, row).
    """

    number: int = 1
    augment: Augmentation = field(default_factory=Augmentation)
    seed: int = 0

    def see(self, inputs: np.ndarray, view: int, start: int, total: int) -> np.ndarray:
        """Returns one view of the stored examples `[B, ...]` whose rows begin at `start`, out of `total`."""
        if view == 0:
            return inputs
        if view == 1 and self.augment.mirror:
            return self.augment.mirror(inputs)
        uniform = _draw(self.seed, view, total)[start : start + len(inputs)]
        return self.augment.view(tf.constant(inputs), tf.constant(uniform)).numpy()


@functools.lru_cache(maxsize=1)
def _draw(seed: int, view: int, total: int) -> np.ndarray:
    random = np.random.Generator(np.random.Philox(key=[seed, view]))
    return random.random((total, DRAWS), dtype=np.float32)


def extract(
    classifier: Classifier,
    split: Split,
    views: Views,
    strategy: tf.distribute.Strategy,
    batch_size: int,
    progress: Callable[[int, int, str], None] | None = None,
    store: FeatureStore | None = None,
    facts: Mapping | None = None,
    predict: Predictor | None = None,
) -> tuple[Split, int]:
    """Returns the pooled features of a split; computes those that are not in the store.

    Args:
        classifier: its backbone runs in inference mode.
        split: stored examples.
        views: of each example.
        strategy: its replicas share each batch.
        batch_size: examples a batch.
        progress: called with (examples done, examples in all, text).
        store: keeps the features; None keeps none.
        facts: what determines them beside the examples and the views: network, weights, precision.
        predict: computes the features; one for several splits is traced once.

    Returns:
        Float32 `[views * N, D]` features, view after view; and the number of rows that were in the store.
    """
    store, total = store or FeatureStore(None, 0), len(split)
    predict = predict or Predictor(classifier.features, strategy, batch_size)

    def compute(start: int) -> Iterator[np.ndarray]:
        """Yields the features from row `start` of all views on."""
        first, row = divmod(start, total)
        for view in range(first, views.number):

            def seen(done, _, text, view=view):
                if progress:
                    progress(view * total + done, views.number * total, text)

            yield from predict.stream(_View(split.inputs, views, view), row, seen)
            row = 0

    facts = {**(facts or {}), "views": [views.number, views.augment.text, views.seed], "examples": split.fingerprint}
    shape = (views.number * total, classifier.num_features)
    if several_hosts(strategy):
        store = SharedStore(store, strategy)
    made, here = store.get(facts, shape, compute)
    return Split(
        made, None if split.labels is None else np.tile(split.labels, views.number), list(split.names) * views.number
    ), here


class _View:
    """The examples of a split seen in one view, slice by slice."""

    def __init__(self, inputs: np.ndarray, views: Views, view: int):
        self.inputs, self.views, self.view = inputs, views, view

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, part: slice) -> np.ndarray:
        seen = self.views.see(self.inputs[part], self.view, part.start, len(self.inputs))
        release(self.inputs)
        return seen


class Standardizer:
    """Scales features while the head trains; `fold` then moves the scaling into the head, exactly.

    A head on raw pooled features is badly conditioned: some features are a hundred times larger than
    others. So the head trains on (f - mean) / deviation, and `fold` rewrites it so that it gives the
    same logits on f. The model keeps one dense layer.

    Attributes:
        mean, deviation: float32 `[D]`; features that do not vary get deviation 1.
    """

    def __init__(self, features: np.ndarray):
        self.mean = _mean(features, lambda rows: rows).astype(np.float32)
        deviation = np.sqrt(_mean(features, lambda rows: np.square(rows - self.mean))).astype(np.float32)
        self.deviation = np.where(deviation > 1e-6, deviation, 1.0).astype(np.float32)

    def __call__(self, split: Split) -> Split:
        """Returns the split with scaled features, memory-mapped where they are large."""
        scaled = temporary(split.inputs.shape, np.float32)
        for start in range(0, len(split), _ROWS):
            scaled[start : start + _ROWS] = self.apply(split.inputs[start : start + _ROWS])
            release(split.inputs)
            release(scaled)
        return Split(scaled, split.labels, split.names)

    def apply(self, features: np.ndarray) -> np.ndarray:
        """Returns float32 `[N, D]` features scaled."""
        return (features - self.mean) / self.deviation

    def unfold(self, kernel: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rewrites a head on plain features `[D, C]`, `[C]` as one on scaled features."""
        return kernel * self.deviation[:, None], bias + self.mean @ kernel

    def fold(self, kernel: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rewrites a head on scaled features as one on plain features."""
        kernel = kernel / self.deviation[:, None]
        return kernel, bias - self.mean @ kernel


def _mean(features: np.ndarray, function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Returns the float64 mean over the rows of a function of them, a few rows at a time."""
    total = np.zeros(features.shape[1])
    for start in range(0, len(features), _ROWS):
        total += function(np.asarray(features[start : start + _ROWS], np.float64)).sum(axis=0)
        release(features)
    return total / len(features)
