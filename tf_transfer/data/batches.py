"""Batches of one split: for training a pure function of (seed, stream, step), for evaluation in order."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from tf_transfer.data.disk_arrays import release
from tf_transfer.data.splits import Split

# Uniform numbers for each example, epoch and view; `augment` says which operation reads which columns.
DRAWS = 8


@dataclass(frozen=True, eq=False)
class Batches:
    """The endless sequence of training batches over one split.

    Epoch e visits every example once, in a permutation drawn from (seed, stream, e). The permutations follow each
    other and are cut into batches: every batch is full, no example is dropped, and batch `step` can be computed
    without the batches before it. Everything random about an example (its augmentation, its mixing partner) is a
    function of (seed, stream, epoch, example).

    Attributes:
        split: the examples; its labels may be None.
        size: examples a batch over all replicas.
        seed: non-negative.
        example_weights: float32 `[N]`, the factor on each example's loss; None: 1 each.
        mix_alpha: alpha of the Beta(alpha, alpha) law of mixup and cutmix; 0 for no mixing.
        views: number of augmented views of each example, each with random numbers of its own.
        stream: name of the stream, from which its random numbers depend; "" for the first stream of a training.
    """

    split: Split
    size: int
    seed: int
    example_weights: np.ndarray | None = None
    mix_alpha: float = 0.0
    views: int = 1
    stream: str = ""
    _epoch: object = field(init=False, repr=False)

    def __post_init__(self):
        object.__setattr__(self, "_epoch", lru_cache(maxsize=3)(self._draw_epoch))

    def steps(self, epochs: float) -> int:
        """Returns the number of batches in this many epochs, at least 1."""
        return max(1, round(epochs * len(self.split) / self.size))

    def batch(self, step: int, share: slice = slice(None)) -> dict[str, np.ndarray]:
        """Returns batch number `step`, counted from 0, or its rows `share`.

        Returns:
            `inputs` (as in the split), `label` int32 `[B]` where the split has labels, `weight` float32 `[B]`,
            `uniform` float32 `[B, DRAWS]` in [0, 1), `row` int32 `[B]`, the place in the global batch; with several
            views `uniform_views` float32 `[B, views, DRAWS]`, whose first view is `uniform`; and when mixing,
            `inputs2`, `label2` and `mix` float32 `[B]`.
        """
        row = np.arange(self.size, dtype=np.int32)[share]
        epochs, place = np.divmod(step * self.size + row.astype(np.int64), len(self.split))
        parts = [self._part(e, place[epochs == e]) for e in np.unique(epochs)]
        found = parts[0] if len(parts) == 1 else {k: np.concatenate([p[k] for p in parts]) for k in parts[0]}
        return found | {"row": row}

    def _draw_epoch(self, epoch: int) -> dict[str, np.ndarray]:
        # A key is two words of 64 bits; the seed has 31.
        other = zlib.crc32(self.stream.encode()) << 32 if self.stream else 0
        random = np.random.Generator(np.random.Philox(key=np.array([self.seed + other, epoch], np.uint64)))
        n = len(self.split)
        drawn = {"order": random.permutation(n), "uniform": random.random((n, DRAWS), dtype=np.float32)}
        if self.mix_alpha:
            drawn["partner"] = random.permutation(n)
            drawn["mix"] = random.beta(self.mix_alpha, self.mix_alpha, n).astype(np.float32)
        if self.views > 1:
            more = random.random((n, self.views - 1, DRAWS), dtype=np.float32)
            drawn["uniform_views"] = np.concatenate([drawn["uniform"][:, None], more], axis=1)
        return drawn

    def _part(self, epoch: int, place: np.ndarray) -> dict[str, np.ndarray]:
        drawn = self._epoch(int(epoch))
        rows = drawn["order"][place]
        part = {"inputs": self.split.inputs[rows]}
        if self.split.labels is not None:
            part["label"] = self.split.labels[rows].astype(np.int32)
        weights = self.example_weights
        part["weight"] = np.ones(len(rows), np.float32) if weights is None else weights[rows].astype(np.float32)
        part |= {name: drawn[name][rows] for name in ("uniform", "uniform_views") if name in drawn}
        if self.mix_alpha:
            other = drawn["partner"][rows]
            part["inputs2"] = self.split.inputs[other]
            if self.split.labels is not None:
                part["label2"] = self.split.labels[other].astype(np.int32)
            part["mix"] = drawn["mix"][rows]
        release(self.split.inputs)
        return part


def in_order(inputs: np.ndarray, size: int, first: int = 0) -> Iterator[tuple[np.ndarray, int]]:
    """Yields batches of one static shape, from row `first` on, with the number of real rows in each.

    The last batch is padded by repeating rows.
    """
    for start in range(first, len(inputs), size):
        chunk = np.asarray(inputs[start : start + size])
        real = len(chunk)
        if real < size:
            chunk = chunk[np.arange(size) % real]
        yield chunk, real
