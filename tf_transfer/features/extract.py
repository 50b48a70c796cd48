"""One pass of a frozen backbone over the data, and the scaling that makes a head quick to train."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tf_transfer.data.splits import Split
from tf_transfer.models.classifier import Classifier
from tf_transfer.training.tasks import Predictor

# The views the head can train on, in the order in which `--feature_views` takes them.
VIEWS: tuple[Callable[[np.ndarray], np.ndarray], ...] = (lambda images: images, lambda images: images[:, :, ::-1])


def extract(
    classifier: Classifier,
    split: Split,
    views: int,
    strategy: tf.distribute.Strategy,
    batch_size: int,
    progress: Callable[[int, int, str], None] | None = None,
) -> Split:
    """Returns the pooled features of a split: float32 `[views * N, D]`, view after view.

    Args:
        classifier: its backbone runs in inference mode.
        split: uint8 pictures.
        views: 1 for the pictures as they are, 2 for those and their mirror images.
        strategy: its replicas share each batch.
        batch_size: pictures a batch.
        progress: called with (pictures done, pictures in all, text).
    """
    predict = Predictor(classifier.features, strategy, batch_size)
    total = views * len(split)

    def seen(view):
        return progress and (lambda done, _, text: progress(view * len(split) + done, total, text))

    parts = [predict(_View(split.inputs, VIEWS[v]), seen(v)) for v in range(views)]
    return Split(np.concatenate(parts), np.tile(split.labels, views), list(split.names) * views)


class _View:
    """An array seen through a function, slice by slice."""

    def __init__(self, inputs: np.ndarray, function: Callable):
        self.inputs, self.function = inputs, function

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, part: slice) -> np.ndarray:
        return self.function(self.inputs[part])


class Standardizer:
    """Feature scaling that is trained with and then folded away, exactly.

    A head on raw pooled features is badly conditioned: some features are a hundred times larger than
    others. The head is trained on (f - mean) / deviation, and `fold` rewrites it so that it gives the
    same logits on f: the model keeps one dense layer.

    Attributes:
        mean, deviation: float32 `[D]`; features that do not vary get deviation 1.
    """

    def __init__(self, features: np.ndarray):
        self.mean = features.mean(axis=0, dtype=np.float64).astype(np.float32)
        deviation = features.std(axis=0, dtype=np.float64).astype(np.float32)
        self.deviation = np.where(deviation > 1e-6, deviation, 1.0).astype(np.float32)

    def __call__(self, split: Split) -> Split:
        """Returns the split with its features scaled."""
        return Split((split.inputs - self.mean) / self.deviation, split.labels, split.names)

    def unfold(self, kernel: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rewrites a head on plain features `[D, C]`, `[C]` as one on scaled features."""
        return kernel * self.deviation[:, None], bias + self.mean @ kernel

    def fold(self, kernel: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rewrites a head on scaled features as one on plain features."""
        kernel = kernel / self.deviation[:, None]
        return kernel, bias - self.mean @ kernel
