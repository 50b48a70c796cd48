"""The keys of files, by which they are split: of their contents, of what looks like them, and of their groups."""

from collections.abc import Callable, Sequence

from tf_transfer.data import contents, likeness
from tf_transfer.data.contents import Keys
from tf_transfer.data.examples import Examples, Row
from tf_transfer.errors import one_line


class FileKeys:
    """The keys of the files of a data set; each file is read once.

    Args:
        what: name of the data set in errors.
        rows: all of its examples.
        modality: of the files.
        near_copies: number of bits up to which files count as copies, see `likeness`; None: equal files alone.
        progress: called while files are read, with those done, all, and a text.

    Attributes:
        notes: facts to report.

    Raises:
        UserError: all examples are of one group.
    """

    def __init__(
        self,
        what: str,
        rows: Sequence[Row],
        modality: Examples,
        near_copies: int | None = None,
        progress: Callable[[int, int, str], None] | None = None,
    ):
        self.notes: dict[str, list[str]] = {}
        self._digests: dict[str, bytes] = {}
        self._progress = progress
        self._alike = None if near_copies is None else self._looking_alike(rows, modality, near_copies)
        self._groups = None
        if any(row.group for row in rows):
            self._groups = contents.joined(self._sames(rows), [row.group for row in rows], what)

    def contents(self, rows: Sequence[Row]) -> list[bytes]:
        """Returns the digest of the content of each file."""
        if new := list(dict.fromkeys(row.path for row in rows if row.path not in self._digests)):
            self._digests.update(zip(new, contents.digests(new, self._progress), strict=True))
        return [self._digests[row.path] for row in rows]

    def of(self, rows: Sequence[Row]) -> Keys:
        """Returns the keys of some examples."""
        sames = self._sames(rows)
        groups = None if self._groups is None else [self._groups[content] for content in sames]
        return Keys(self.contents(rows), groups, None if self._alike is None else sames)

    def _looking_alike(self, rows: Sequence[Row], modality: Examples, most: int) -> dict[bytes, bytes]:
        """Returns the lowest content that each content looks like, and notes how many look like others."""
        # Backwards, so that of equal files the first is named.
        named = dict(zip(self.contents(rows)[::-1], rows[::-1], strict=True))
        paths = {digest: row.path for digest, row in named.items()}
        found = likeness.joined(paths, modality.likeness, most, self._progress)
        if others := [(named[digest].name, named[first].name) for digest, first in found.items() if digest != first]:
            pair = " = ".join(one_line(name) for name in others[0])
            told = f"{len(others)} files look like another and stay on its side, such as {pair}."
            # Drawings and small pictures differ in few bits without being copies.
            doubt = " So many are hardly copies: it is made for photographs." if 3 * len(others) > len(found) else ""
            self.notes["near copies"] = [f"{told}{doubt}"]
        return found

    def _sames(self, rows: Sequence[Row]) -> list[bytes]:
        """Returns what stands for each content: the lowest that it looks like, or itself."""
        found = self.contents(rows)
        return found if self._alike is None else [self._alike[digest] for digest in found]
