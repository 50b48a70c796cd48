"""Which examples are held out of training: decided by what each example is, not by its place in a list.

Every key (the digest of a file, or of a group of files) is hashed to a place in [0, 1), with the use and the seed as
salt. `apart` holds out the keys whose place is below the fraction, each without regard to the others: a data set that
grows adds to every split and moves nothing, and equal files are never on two sides. Two exceptions: in a class of a
handful of files, which gives one and keeps one whatever their places, another file may take over that part; and where
what looks alike stays together, a new copy may move the files that it looks like, as the lowest content decides.
"""

import hashlib
from collections.abc import Sequence

import numpy as np

from tf_transfer.data.contents import Keys

TEST, VALIDATION, FEW_SHOT = b"test", b"validation", b"few-shot"
"""Uses of a choice; the choices of two uses do not depend on each other."""
_SCALE = 2.0**64


def places(keys: Sequence[bytes], use: bytes, seed: int) -> np.ndarray:
    """Returns the place of each key, float64 `[N]` in [0, 1); equal keys have equal places."""
    salt = seed.to_bytes(8, "little")
    hashed = b"".join(hashlib.blake2b(key, digest_size=8, salt=salt, person=use).digest() for key in keys)
    return np.frombuffer(hashed, "<u8") / _SCALE


def apart(labels: np.ndarray, keys: Keys, fraction: float, use: bytes, seed: int) -> np.ndarray:
    """Holds out each key by its own place.

    The share of a class that is held out differs from the fraction by chance, with the standard deviation
    sqrt(fraction (1 - fraction) / n). A class of two keys or more gives at least one, that of the lowest place, and
    keeps at least one; a class of one key keeps it.

    Args:
        labels: int `[N]`.
        keys: of the examples.
        fraction: of the examples to hold out, in (0, 1).
        use: `TEST` or `VALIDATION`.
        seed: of the choice.

    Returns:
        bool `[N]`, True where an example is held out.
    """
    place = places(keys.deciding, use, seed)
    held = place < fraction
    classes = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    for rows in classes:
        of = place[rows]
        if of.min() < of.max() and not held[rows].any():
            held |= place == of.min()
    # Last, as a class without training examples is worse than one without a test.
    for rows in classes:
        if held[rows].all():
            held &= place != place[rows].max()
    return held


def ranked(labels: np.ndarray, keys: Keys, fraction: float, use: bytes, seed: int) -> np.ndarray:
    """Holds out the keys of the lowest places of each class, as many as the rounded fraction of its examples.

    For few examples, of which a share that varies by chance would be too many or too few. Arguments and result as of
    `apart`; one key that several examples share may make a class give more or fewer, and has the lowest of the places
    of their contents. With the use and the seed of `few`, files that come move examples from validation to training,
    and out, but none into validation.
    """
    lowest: dict[bytes, float] = {}
    for key, at in zip(keys.deciding, places(keys.contents, use, seed), strict=True):
        lowest[key] = min(at, lowest.get(key, 1.0))
    counts = np.bincount(labels)
    wanted = np.minimum(np.maximum(1, np.round(fraction * counts)), counts - 1)
    place = np.array([lowest[key] for key in keys.deciding])
    got, held = np.zeros(len(counts), int), np.zeros(len(labels), bool)
    order = np.argsort(place, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(place[order])) + 1):
        more = np.bincount(labels[rows], minlength=len(counts))
        of = more > 0
        if ((got + more <= wanted) | (got == 0) & (more < counts) & (wanted > 0))[of].all():
            held[rows], got = True, got + more
    return held


def few(labels: np.ndarray, keys: Keys, per_class: int, seed: int) -> np.ndarray:
    """Returns the rows of `per_class` examples of each class, those of the lowest places, ascending."""
    place = places(keys.contents, FEW_SHOT, seed)
    order = np.lexsort((place, labels))
    parts = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
    return np.sort(np.concatenate([part[:per_class] for part in parts]))


def balanced(labels: np.ndarray, keys: Keys, fraction: float, use: bytes, seed: int) -> np.ndarray:
    """Holds out groups, each as a whole, so that every class gives about the fraction of its examples.

    Groups are few and of several sizes: held out by their places alone, a class would give far more or less. Begins
    from the places, as `apart`, and moves one group, or exchanges two, as long as that brings the shares nearer to the
    fraction: most groups stay where they are when others come, but not all, as no choice can promise both. Arguments
    and result as of `apart`.
    """
    from scipy.sparse import csr_array

    place, group = np.unique(places(keys.deciding, use, seed), return_inverse=True)
    table = csr_array((np.ones(len(labels)), (group, labels)), (len(place), labels.max() + 1))
    table.sum_duplicates()
    search = _Search(table, fraction, place < fraction)
    search.free_classes()
    while search.move() or search.exchange():
        pass
    search.give_one()
    return search.held[group]


class _Search:
    """Local search for the groups to hold out: minimises the sum over classes of (share held out - fraction)^2.

    Attributes:
        held: bool `[G]`, the groups that are held out.
    """

    # Groups up to which exchanges are looked for: there are G^2, and many groups are balanced without them.
    _EXCHANGED = 400

    def __init__(self, table, fraction: float, held: np.ndarray):
        self.table, self.held = table, held
        self.counts = np.asarray(table.sum(0))
        present = self.counts > 0
        self.weight = np.where(present, 1 / np.maximum(self.counts, 1) ** 2, 0.0)
        self.target = fraction * self.counts
        self.squares = table.power(2) @ self.weight
        exchanged = table.shape[0] <= self._EXCHANGED
        self.products = (table * self.weight) @ table.T if exchanged else None
        if exchanged:
            self.products = self.products.toarray()

    def _held_counts(self) -> np.ndarray:
        return np.asarray(self.table.T @ self.held.astype(float))

    def _changes(self) -> np.ndarray:
        """Change of the sum if each group went to the other side."""
        gap = self._held_counts() - self.target
        return np.where(self.held, -2, 2) * (self.table @ (self.weight * gap)) + self.squares

    def _allowed(self, *groups: int) -> bool:
        """Says whether every class that has training examples keeps some when these groups go to the other side."""
        after = self.held.copy()
        after[list(groups)] ^= True
        left = self.counts - self.table.T @ after.astype(float)
        return bool((left[self.counts > self._held_counts()] > 0).all())

    def move(self) -> bool:
        """Moves the group that brings the shares nearest, if there is one."""
        changes = self._changes()
        for best in np.argsort(changes, kind="stable"):
            if changes[best] > -1e-9:
                return False
            if self._allowed(best):
                self.held[best] ^= True
                return True
        return False

    def exchange(self) -> bool:
        """Exchanges the two groups that bring the shares nearest, if there are two."""
        if self.products is None or not self.held.any() or self.held.all():
            return False
        changes, inside, outside = self._changes(), np.flatnonzero(self.held), np.flatnonzero(~self.held)
        both = changes[inside, None] + changes[outside] - 2 * self.products[np.ix_(inside, outside)]
        best = np.unravel_index(both.argmin(), both.shape)
        pair = inside[best[0]], outside[best[1]]
        if both[best] > -1e-9 or not self._allowed(*pair):
            return False
        self.held[list(pair)] ^= True
        return True

    def free_classes(self) -> None:
        """Frees the group of the highest place of each class without training examples."""
        dense = self.table.tocsc()
        for label in np.flatnonzero(self.counts):
            groups = dense.indices[dense.indptr[label] : dense.indptr[label + 1]]
            if self.held[groups].all():
                self.held[groups.max()] = False

    def give_one(self) -> None:
        """Holds out the best group of each class that gives none, where others stay."""
        columns = self.table.tocsc()
        for label in np.flatnonzero(self._held_counts() == 0):
            groups = columns.indices[columns.indptr[label] : columns.indptr[label + 1]]
            changes = self._changes()
            for best in groups[np.argsort(changes[groups], kind="stable")]:
                if self._allowed(best):
                    self.held[best] = True
                    break
