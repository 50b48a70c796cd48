"""Files that look alike: copies that were saved again, resized, or taken a moment later."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

MOST = 3
"""Largest number of bits by which hashes of files that count as alike may differ."""
# Pairs that are compared at a time.
_PAIRS = 1 << 22


def joined(
    paths: Mapping[bytes, str],
    likeness: Callable[[str], bytes | None],
    most: int,
    progress: Callable[[int, int, str], None] | None = None,
) -> dict[bytes, bytes]:
    """Returns for each content the lowest of the contents that it looks like, directly or by way of others.

    Args:
        paths: of a file of each content, by its digest.
        likeness: gives the hash of a file, 8 bytes; None where it cannot be told from others.
        most: number of bits by which two hashes may differ, up to `MOST`.
        progress: called with the number of files done, that of all, and a text.
    """
    contents, hashes = sorted(paths), []
    with ThreadPoolExecutor() as pool:
        for done, found in enumerate(pool.map(likeness, (paths[content] for content in contents)), 1):
            hashes.append(found)
            if progress:
                progress(done, len(contents), "")
    first: dict[int, bytes] = {}
    # In the order of the contents, so that the first of each set is its lowest.
    pairs = zip(contents, sets(hashes, most).tolist(), strict=True)
    return {content: first.setdefault(number, content) for content, number in pairs}


def sets(hashes: Sequence[bytes | None], most: int) -> np.ndarray:
    """Returns the number of the set of each hash, int `[N]`: sets are connected by pairs of at most `most` bits.

    Two hashes that differ in at most m bits agree in one of m + 1 parts of their bits: only those that share a part are
    compared. Pairs are connected as soon as there are many, so that they need little memory.
    """
    known = np.array([i for i, found in enumerate(hashes) if found is not None], np.int64)
    given = np.array([int.from_bytes(hashes[i], "big") for i in known], np.uint64)
    words, place = np.unique(given, return_inverse=True)
    numbers, pairs, count = np.arange(len(words)), [], 0
    for pair in _near(words, most):
        pairs.append(pair)
        count += pair.shape[1]
        if count >= _PAIRS:
            numbers, pairs, count = _connected(numbers, pairs), [], 0
    # What has no hash is a set by itself.
    found = len(words) + np.arange(len(hashes))
    found[known] = _connected(numbers, pairs)[place]
    return found


def _connected(numbers: np.ndarray, pairs: list[np.ndarray]) -> np.ndarray:
    """Returns the numbers of the sets once those of each pair are one."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    one, other = numbers[np.concatenate([np.zeros((2, 0), np.int64), *pairs], axis=1)]
    graph = coo_array((np.ones(len(one), bool), (one, other)), (len(numbers), len(numbers)))
    return connected_components(graph, directed=False)[1][numbers]


def _near(words: np.ndarray, most: int) -> Iterator[np.ndarray]:
    """Yields the pairs of different words that differ in at most `most` bits, int `[2, P]`, some more than once."""
    width = 64 // (most + 1)
    for part in range(most + 1):
        band = (words >> np.uint64(part * width)) & np.uint64((1 << width) - 1)
        order = np.argsort(band, kind="stable")
        for rows in np.split(order, np.flatnonzero(np.diff(band[order])) + 1):
            step = max(1, _PAIRS // max(1, len(rows)))
            for start in range(0, len(rows) if len(rows) > 1 else 0, step):
                some, others = rows[start : start + step], rows[start:]
                near = np.bitwise_count(words[some][:, None] ^ words[others]) <= most
                one, other = np.nonzero(near & (some[:, None] < others))
                if len(one):
                    yield np.stack([some[one], others[other]])
