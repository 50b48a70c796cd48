"""A data set listed in a CSV file: columns `path`, `label` and optionally `split`."""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from tf_transfer.data import class_names, csv_text, groups, split_words
from tf_transfer.data.examples import Examples, Row
from tf_transfer.data.file_source import CARVE, FileSource
from tf_transfer.errors import UserError, one_line

_USUAL = {
    "path": ("filename", "file_name", "filepath", "file_path", "file", "name", "id"),
    "label": ("class", "class_name", "category", "target", "species", "y"),
}
"""Other names of the columns, to propose."""


class _Root(NamedTuple):
    """Where the files are.

    Attributes:
        folder: that the paths are relative to and must stay in.
        prefix: what the paths begin with that is taken off, with slashes and without one at its end.
    """

    folder: str
    prefix: str


def open_csv(
    path: str,
    root: str | None = None,
    test_fraction: float = 0.2,
    path_column: str | None = None,
    label_column: str | None = None,
    split_column: str | None = None,
    prefix: str | None = None,
    encoding: str | None = None,
    *,
    modality: Examples,
    max_unreadable: int = 0,
    group_by: str | None = None,
    carve: int = CARVE,
    progress: Callable[[int, int, str], None] | None = None,
    near_copies: int | None = None,
) -> FileSource:
    """Opens the files that a CSV file lists, one a line under a header.

    Cells are separated by commas, semicolons, tabs or bars. The columns `path` and `label` are required; `split`
    holds train, validation (val, dev, ...) or test. Other columns are ignored.

    Args:
        path: the manifest.
        root: folder that the paths are relative to and must stay in; by default the manifest's.
        test_fraction: share of every class that becomes the test split where there is none.
        path_column: name of the column `path`, if another.
        label_column: the same for `label`.
        split_column: the same for `split`.
        prefix: what the paths begin with that is taken off, such as `C:/data`.
        encoding: of the text; by default UTF-8, or what the file's byte order mark says.
        modality: of the files.
        max_unreadable: how many files may be skipped because they cannot be decoded.
        group_by: the column that names the group of an example, or what of a path does, see `groups.of_paths`; None:
            no groups.
        carve: see `file_source.FileSource`.
        progress: the same.
        near_copies: the same.

    Raises:
        UserError: no such file, a column or a value is missing or unknown, a path leaves the root,
            a label names several classes, one class only, or a class that the training rows lack.
    """
    manifest = os.path.abspath(os.path.expanduser(str(path)))
    what = f"csv(path={one_line(path)})"
    folder = os.path.abspath(os.path.expanduser(str(root)) if root is not None else os.path.dirname(manifest))
    if not os.path.isdir(folder):
        raise UserError(f"{what}: root={one_line(root)} is not a folder.")
    asked = {"path": path_column, "label": label_column, "split": split_column}
    columns = {key: str(name or key).strip().lower() for key, name in asked.items()}
    lines = csv_text.read(manifest, what, columns.values(), encoding)
    _, header = next(lines, (1, []))
    places = _places(header, asked, columns, what)
    cells = list(lines)
    found = _Root(folder, str(prefix or "").replace("\\", "/").rstrip("/"))
    rows = list(_rows(cells, places, found, what))
    if group_by is not None:
        named = _groups(str(group_by), header, cells, rows, what)
        rows = [replace(row, group=group) for row, group in zip(rows, named, strict=True)]
    if carve > 1:
        _refuse_several([number for number, _ in cells], [row.label for row in rows], what)
    notes = _notes([values[places["label"]] for _, values in cells])
    return FileSource(what, rows, test_fraction, max_unreadable, notes, modality, carve, progress, near_copies)


def _groups(rule: str, header: list[str], cells: list[tuple[int, list[str]]], rows: list[Row], what: str) -> list[str]:
    """Returns the name of each row's group: the cell of a column, or what the rule reads off the path."""
    names = [name.lower() for name in header]
    if names.count(rule.lower()) != 1:
        return groups.of_paths(rows, rule, what, header)
    place = names.index(rule.lower())
    for number, values in cells:
        if not values[place]:
            raise UserError(f"{what}, line {number}: --group_by={one_line(rule)}: the {one_line(rule)} is empty.")
    return [values[place] for _, values in cells]


def _refuse_several(lines: list[int], labels: list[str], what: str) -> None:
    several = class_names.several(labels)
    for number, label in zip(lines, labels, strict=True):
        if label in several:
            raise UserError(
                f"{what}, line {number}: expected one class, found {one_line(label)!r}, which names "
                f"{len(several[label])} ({one_line(', '.join(several[label]))}); several labels an example are not "
                "supported. Keep one in each row, or write the combination as a class of its own, such as "
                f"{one_line('+'.join(several[label]))}."
            )


def _places(header: list[str], asked: Mapping[str, str | None], columns: Mapping[str, str], what: str) -> dict:
    """Returns the place of each column in a row; that of `split` is missing where the file has none."""
    names = [name.lower() for name in header]
    needed = [key for key in columns if key != "split" or asked[key]]
    if any(names.count(columns[key]) != 1 for key in needed):
        seen = one_line(", ".join(header)) or "an empty line"
        expected = ",".join(columns[key] for key in needed) + ("" if "split" in needed else "[,split]")
        raise UserError(
            f"{what}, line 1: expected the header {expected}, found {seen}. Other names of the columns: "
            f"csv(path=..., {_proposal(header)})."
        )
    return {key: names.index(name) for key, name in columns.items() if name in names}


def _proposal(header: list[str]) -> str:
    """Returns arguments that name the columns, from the header where it has usual names."""

    def like(key: str) -> str:
        words = (key, *_USUAL[key])
        fitting = [name for word in words for name in header if name.lower() == word]
        return one_line(fitting[0]) if fitting else "NAME"

    return f"path_column={like('path')}, label_column={like('label')}"


def _rows(lines: list[tuple[int, list[str]]], places: Mapping[str, int], root: _Root, what: str) -> Iterator[Row]:
    asked = {cells[places["split"]] for _, cells in lines} if "split" in places else set()
    # In a column a word such as eval counts alone, in a folder also inside a name.
    splits = split_words.resolve(name for name in asked if (word := split_words.named(name)) and not word.rest)
    for number, cells in lines:
        where = f"{what}, line {number}"
        values = {key: cells[place] for key, place in places.items()}
        name, label = values["path"], csv_text.repaired(values["label"])
        if not name or not label:
            raise UserError(f"{where}: the {'label' if name else 'path'} is empty.")
        split = splits.get(values["split"]) if "split" in values else ""
        if split is None:
            found = one_line(values["split"])
            raise UserError(f"{where}: expected split train, validation or test, got {found!r}.")
        name = _name(name, root)
        yield Row(split, label, _path(name, root, where), name)


def _name(name: str, root: _Root) -> str:
    """Returns the path of a file as it is written on this system."""

    def there(name: str) -> bool:
        return "\0" not in name and os.path.lexists(os.path.join(root.folder, name))

    # Bytes that are not UTF-8 and backslashes may be part of a name.
    if (other := csv_text.repaired(name)) != name and not there(name):
        name = other
    if "\\" in name and not there(name):
        name = name.replace("\\", "/")
    if root.prefix and name.casefold().startswith(f"{root.prefix}/".casefold()):
        name = name[len(root.prefix) + 1 :]
    return name


def _path(name: str, root: _Root, where: str) -> str:
    """Returns the path of a file inside the root, as it is written: it may be a link to any other place."""
    if "\0" not in name and not re.match("[A-Za-z]:/", name):
        path = os.path.normpath(os.path.join(root.folder, name))
        if os.path.commonpath((root.folder, path)) == root.folder:
            return path
        # The root itself may be written in two ways.
        path, folder = os.path.realpath(path), os.path.realpath(root.folder)
        if os.path.commonpath((folder, path)) == folder:
            return path
    raise UserError(f"{where}: the path {one_line(name)!r} leaves {one_line(root.folder)}; {_remedy(name, root)}.")


def _remedy(name: str, root: _Root) -> str:
    """Says how to write a path that leaves the root, or which prefix hides a file that is there."""
    parts = [] if "\0" in name or ".." in name.split("/") else name.split("/")
    for i in range(1, len(parts)):
        if os.path.isfile(os.path.join(root.folder, *parts[i:])):
            return f"the file is there without its beginning: give prefix={one_line('/'.join(parts[:i]))}"
    return "move the file, set root= to its folder, or take off the beginning of the paths by prefix="


def _notes(labels: list[str]) -> dict[str, list[str]]:
    repaired = [csv_text.repaired(label) for label in labels]
    changed = [new for old, new in zip(labels, repaired, strict=True) if old != new]
    if not changed:
        return {}
    return {
        "encoding": [
            f"{len(changed)} labels are not UTF-8 and were read as cp1252, such as {one_line(changed[0])!r}; if that "
            "is wrong, save the file as UTF-8 or give encoding=."
        ]
    }
