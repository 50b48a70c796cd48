"""A data set listed in a CSV file: columns `path`, `label` and optionally `split`."""

import csv
import os
from collections.abc import Iterator

from tf_transfer.data import split_words
from tf_transfer.data.examples import Examples
from tf_transfer.data.file_source import FileSource, Row
from tf_transfer.errors import UserError, one_line


def open_csv(
    path: str, root: str | None = None, test_fraction: float = 0.2, *, modality: Examples, max_unreadable: int = 0
) -> FileSource:
    """Opens the files that a comma-separated UTF-8 file lists, one a line under a header.

    The columns `path` and `label` are required; `split` holds train, validation (val, valid) or
    test. Other columns are ignored.

    Args:
        path: the manifest.
        root: folder that the paths are relative to and must stay in; by default the manifest's.
        test_fraction: share of every class that becomes the test split where there is none.
        modality: of the files.
        max_unreadable: how many files may be skipped because they cannot be decoded.

    Raises:
        UserError: no such file, a column or a value is missing or unknown, a path leaves the root,
            one class only, or a class that the training rows lack.
    """
    manifest = os.path.abspath(os.path.expanduser(str(path)))
    what = f"csv(path={one_line(path)})"
    folder = os.path.realpath(os.path.expanduser(str(root)) if root is not None else os.path.dirname(manifest))
    if not os.path.isdir(folder):
        raise UserError(f"{what}: root={one_line(root)} is not a folder.")
    try:
        # Undecodable bytes of a path become surrogates, and so reach the file system unchanged.
        with open(manifest, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            rows = list(_rows(csv.reader(file), folder, what))
    except OSError as e:
        raise UserError(f"{what}: the manifest cannot be read: {e.strerror}.") from e
    except csv.Error as e:
        raise UserError(f"{what}: not a comma-separated file: {one_line(e)}.") from e
    return FileSource(what, rows, test_fraction, max_unreadable, {}, modality)


def _rows(reader: Iterator[list[str]], folder: str, what: str) -> Iterator[Row]:
    header = [name.strip().lower() for name in next(reader, [])]
    for column in ("path", "label"):
        if header.count(column) != 1:
            found = one_line(", ".join(header)) or "an empty line"
            raise UserError(f"{what}, line 1: expected the header path,label[,split], found {found}.")
    for cells in reader:
        if not cells:
            continue
        where = f"{what}, line {reader.line_num}"
        if len(cells) != len(header):
            raise UserError(f"{where}: expected {len(header)} values, found {len(cells)}; quote a value with a comma.")
        values = {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
        yield _row(values, folder, where)


def _row(values: dict[str, str], folder: str, where: str) -> Row:
    name, label = values["path"], values["label"]
    if not name or not label:
        raise UserError(f"{where}: the {'label' if name else 'path'} is empty.")
    split = split_words.resolve([values["split"]]).get(values["split"]) if "split" in values else ""
    if split is None:
        raise UserError(f"{where}: expected split train, validation or test, got {one_line(values['split'])!r}.")
    path = os.path.realpath(os.path.join(folder, name.replace("\0", "")))
    if "\0" in name or os.path.commonpath((folder, path)) != folder:
        raise UserError(f"{where}: the path {one_line(name)!r} leaves {one_line(folder)}; move the file or set root=.")
    return Row(split, label, path, name)
