"""What the tests of the engine share: plans with nothing left open, methods of a line, and their streams."""

import numpy as np

from tf_transfer.config import Run, Training
from tf_transfer.data.streams import Stream, Streams
from tf_transfer.training.method import Losses, Score

TRAIN = "train"


def plan_of(epochs=1, learning_rate=1.0, **options) -> Training:
    """A resolved plan: what is not given is off."""
    plain = {"optimizer": "sgd", "schedule": "cosine", "warmup": 0.0, "clip_norm": 0.0, "ema": 0.0, "patience": 0}
    plain |= {"accumulate": 1, "regularizer": "none"}
    return Training(epochs=epochs, learning_rate=learning_rate, **plain | options)


def run_of(seed=0, on_nan="stop") -> Run:
    return Run(seed=seed, on_nan=on_nan)


class Simple:
    """A method of functions.

    Args:
        loss: (batch of the first stream, its noise) to losses and hits, both `[B]`; or to `Losses`.
        groups: what trains.
        state: what training changes.
        validate: returns `accuracy`, `loss` and `examples`; or None.
    """

    of_batch = False

    def __init__(self, loss, groups, state, validate=None):
        self.simple, self.trained, self.changed, self.validate = loss, groups, state, validate

    def streams(self):
        raise AssertionError("the tests bring their own")

    def groups(self):
        return self.trained

    def state(self):
        return list(self.changed)

    def loss(self, batch, noise, progress):
        first = next(iter(batch))
        found = self.simple(batch[first], noise[first])
        return found if isinstance(found, Losses) else Losses(found[0], measures={"accuracy": found[1]})

    def after(self, step):
        pass

    def score(self):
        if self.validate is None:
            return None
        found = self.validate()
        size = found["examples"] + 4
        share = (found["accuracy"] * found["examples"] + 2) / size
        return Score(found["accuracy"], float(np.sqrt(share * (1 - share) / size)), found["loss"], found)


def streams_of(split, size=8, seed=0, weights=None, **options) -> Streams:
    return Streams({TRAIN: Stream(split, size, weights=weights, **options)}, seed)
