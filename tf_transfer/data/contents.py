"""Digests of the contents of files: equal ones are the same example, wherever they are and whatever they are called."""

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from tf_transfer.errors import UserError, one_line

# How much of a file is read at a time, and how many files are read at once: disks answer several requests together.
_CHUNK, _THREADS = 1 << 20, 8


class Keys(NamedTuple):
    """What decides the splits of each example, see `holdout`.

    Attributes:
        contents: a digest of each example's file.
        groups: a digest of the group of each example; None without groups.
        alike: the lowest content that each example looks like, see `likeness`; None where only equal files are copies.
    """

    contents: Sequence[bytes]
    groups: Sequence[bytes] | None = None
    alike: Sequence[bytes] | None = None

    @property
    def deciding(self) -> Sequence[bytes]:
        """The keys of what stays together: of the groups, or else of what looks alike, or of equal contents."""
        return next(keys for keys in (self.groups, self.alike, self.contents) if keys is not None)

    def take(self, rows: np.ndarray) -> "Keys":
        """Returns the keys of some examples."""
        return Keys(*(None if keys is None else [keys[i] for i in rows] for keys in self))


def digests(paths: Sequence[str], progress: Callable[[int, int, str], None] | None = None) -> list[bytes]:
    """Returns a 16-byte digest of the content of each file, of its path where it cannot be read.

    Args:
        paths: the files.
        progress: called with the number of files done, that of all, and a text.
    """
    found = []
    with ThreadPoolExecutor(_THREADS) as pool:
        for done, digest in enumerate(pool.map(_digest, paths), 1):
            found.append(digest)
            if progress:
                progress(done, len(paths), "")
    return found


def digest_of(text: str) -> bytes:
    """Returns a 16-byte digest of a text, such as the name of a group."""
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).digest()


def joined(contents: Sequence[bytes], groups: Sequence[str], what: str) -> dict[bytes, bytes]:
    """Returns the key of the group of each content; groups that share a file are one.

    Raises:
        UserError: all are of one group.
    """
    above: dict[str, str] = {name: name for name in groups}

    def top(name: str) -> str:
        while above[name] != name:
            above[name] = name = above[above[name]]
        return name

    first: dict[bytes, str] = {}
    for content, name in zip(contents, groups, strict=True):
        one, other = top(name), top(first.setdefault(content, name))
        # The first in order names the group, whatever the order of the files.
        above[max(one, other)] = min(one, other)
    if len({top(name) for name in above}) < 2:
        raise UserError(
            f"{what}: --group_by: expected several groups, found that all files are of {one_line(min(above))!r}, or of "
            "groups that share a file with it: nothing can be held out."
        )
    return {content: digest_of(top(name)) for content, name in first.items()}


def _digest(path: str) -> bytes:
    hasher = hashlib.blake2b(digest_size=16)
    try:
        with open(path, "rb", buffering=0) as file:
            while chunk := file.read(_CHUNK):
                hasher.update(chunk)
    except (OSError, ValueError):
        # Reading the examples tells which files these are.
        return digest_of(path)
    return hasher.digest()
