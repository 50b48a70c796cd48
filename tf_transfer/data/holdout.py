"""Which examples are held out of training: decided by what each example is, not by its place in a list.

Every key (the digest of a file, or of a group of files) is hashed to a place in [0, 1), with the use and the seed as
salt. `apart` holds out the keys whose place is below the fraction, each without regard to the others: a data set that
grows adds to every split and moves nothing, and equal files are never on two sides.
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
    `apart`; one key that several examples share may make a class give more or fewer.
    """
    counts = np.bincount(labels)
    wanted = np.minimum(np.maximum(1, np.round(fraction * counts)), counts - 1)
    place, got, held = places(keys.deciding, use, seed), np.zeros(len(counts), int), np.zeros(len(labels), bool)
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
