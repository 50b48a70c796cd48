"""Finds the files of `--inputs`, and files that arrive in a watched folder."""

import collections
import csv
import glob
import io
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from tf_transfer.data import tree
from tf_transfer.data.examples import is_example
from tf_transfer.errors import UserError, one_line
from tf_transfer.modalities.words import Words
from tf_transfer.text_file import decoded

_COLUMNS = ("path", "file")
# Looks in a row that fail before it is told.
_FAILURES = 3


def find_files(text: str, words: Words) -> list[str]:
    """Lists the files of a file name, a folder (with its sub-folders), a glob or a .csv list.

    Files of a list keep its order, others are sorted. Commas separate several of these, unless the whole text is
    the name of a file or folder.

    Args:
        text: value of `--inputs`.
        words: of the model; its endings, and else the first bytes, say which files of a folder and of a glob count.

    Raises:
        UserError: there are none.
    """
    if files := _find(text, words):
        return files
    found = []
    for part in list(filter(None, map(str.strip, text.split(",")))) or [text]:
        files = _find(part, words)
        if not files:
            known = glob.has_magic(part) or os.path.lexists(os.path.expanduser(part))
            there = f"no {words.one} found" if known else "there is no such file or folder"
            raise UserError(
                f"--inputs={one_line(part)!r}: {there}; expected a file, a folder, a glob of "
                f"{', '.join((*words.endings, *words.convertible))} files, or a .csv list of them."
            )
        found += files
    return found


def _find(text: str, words: Words) -> list[str]:
    path = os.path.expanduser(text)
    if os.path.isfile(path):
        return _listed(Path(path)) if path.lower().endswith(".csv") else [str(Path(path))]
    if os.path.isdir(path):
        return _in_folder(path, _listing(path, text, words))
    found = glob.glob(path, recursive=True)
    return sorted(str(Path(f)) for f in found if os.path.isfile(f) and is_example(f, words))


def _listing(path: str, text: str, words: Words) -> tree.Folder:
    """Lists a folder as that of a data set is: links are followed, hidden files and folders left out."""
    try:
        return tree.read(path, words)
    except OSError as e:
        raise UserError(f"--inputs={one_line(text)!r}: {one_line(e.filename)} cannot be listed: {e.strerror}.") from e


def _in_folder(path: str, listing: tree.Folder) -> list[str]:
    return sorted(os.path.join(Path(path), name) for name in listing.paths())


def _listed(path: Path) -> list[str]:
    """Reads a list: the column `path` or `file` of a table, or one path a line, relative to the list's folder."""
    try:
        text = decoded(path.read_bytes())
        table = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text.partition("\n")[0]))
        rows = [(number, row) for number, row in enumerate(table, 1) if any(map(str.strip, row))]
    except (OSError, UnicodeError, csv.Error) as e:
        raise UserError(f"--inputs={one_line(path)!r} cannot be read: {one_line(e)}.") from e
    head = [cell.strip().lower() for cell in rows[0][1]] if rows else []
    column = next((head.index(name) for name in _COLUMNS if name in head), None)
    if column is not None:
        rows = rows[1:]
    elif all(len(row) == 1 for _, row in rows):
        column = 0
    else:
        raise UserError(
            f"--inputs={one_line(path)!r}: expected a column {' or '.join(_COLUMNS)}, or one path a line; the first "
            f"line has {one_line(', '.join(head))!r}."
        )
    for number, row in rows:
        if len(row) <= column or not row[column].strip():
            raise UserError(f"--inputs={one_line(path)!r}: no path in row {number}.")
    return [str(path.parent / os.path.expanduser(row[column])) for _, row in rows]


def _delimiter(head: str) -> str:
    """Returns the delimiter of columns: a comma, or in a header without commas a semicolon or a tab."""
    others = (d for d in ";\t" if d in head and {cell.strip(' "\n\r').lower() for cell in head.split(d)} & {*_COLUMNS})
    return "," if "," in head else next(others, ",")


def passed_over(text: str, words: Words) -> dict[str, int]:
    """Counts the files in a folder that hold no example, by ending and reason; none if `text` is not a folder."""
    folder = os.path.expanduser(text)
    if not os.path.isdir(folder):
        return {}
    inside = _listing(folder, text, words).walk()
    return dict(sum((each.others for each in inside), collections.Counter()))


class Arrivals:
    """The files that arrive in a folder, once they have stopped changing; a file that changes later arrives again.

    Args:
        folder: searched with its sub-folders.
        words: of the model; its endings, and else the first bytes, say which files count.
        known: files that are not reported as long as they have this state, see `state`.
        note: called with a line, once, where the folder cannot be listed in several looks in a row.

    Raises:
        UserError: there is no such folder.
    """

    def __init__(
        self,
        folder: str,
        words: Words,
        known: Mapping[str, tuple[int, int] | None] = MappingProxyType({}),
        note: Callable[[str], None] = lambda text: None,
    ):
        self._folder = os.path.expanduser(folder)
        if not os.path.isdir(self._folder):
            raise UserError(f"--inputs={one_line(folder)!r}: --watch looks into a folder; there is none of this name.")
        self._known, self._words, self._note, self._failed = dict(known), words, note, 0
        self._files: list[str] = []
        self._waiting: dict[str, tuple[int, int]] = {}

    def look(self) -> list[str]:
        """Returns the files, sorted, that are unchanged since the last call and were not returned in this state."""
        try:
            self._files, self._failed = _in_folder(self._folder, tree.read(self._folder, self._words)), 0
        except OSError as e:
            # A sub-folder may go while it is listed; the next look lists what is left.
            self._failed += 1
            if self._failed == _FAILURES:
                self._note(
                    f"{one_line(e.filename)} cannot be listed ({e.strerror}): until it can, no new files are seen."
                )
        states = {file: state(file) for file in self._files}
        fresh = {file: now for file, now in states.items() if now and self._known.get(file) != now}
        settled = {file: now for file, now in fresh.items() if self._waiting.get(file) == now}
        self._known |= settled
        self._waiting = {file: now for file, now in fresh.items() if file not in settled}
        return sorted(settled)

    @property
    def waiting(self) -> bool:
        """Says whether some files are still changing, or were seen only once."""
        return bool(self._waiting)

    @property
    def told(self) -> int:
        """Number of files that were returned or known."""
        return len(self._known)


def state(file: str) -> tuple[int, int] | None:
    """Returns the size of a file in bytes and the time of its last change in nanoseconds; None without access."""
    try:
        found = os.stat(file)
    except (OSError, ValueError):
        return None
    return found.st_size, found.st_mtime_ns
