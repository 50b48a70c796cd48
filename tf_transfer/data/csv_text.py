"""The cells of a CSV file, whatever program saved it: its encoding, its separator, its empty rows."""

import csv
import io
import re
from collections.abc import Collection, Iterator

from tf_transfer.errors import UserError, one_line
from tf_transfer.text_file import decoded

_SEPARATORS = ",\t;|"
_UNDECODED = re.compile("[\udc80-\udcff]")


def read(
    path: str, what: str, columns: Collection[str], encoding: str | None = None
) -> Iterator[tuple[int, list[str]]]:
    """Reads a CSV file whose header has certain columns; the separator is the one that shows them.

    Yields the number of the line and the cells, first of the header, then of each row, as many as the header has. Rows
    whose cells are all empty are dropped.

    Args:
        path: the file.
        what: name of the data set in errors.
        columns: names in lower case that the header should have.
        encoding: of the text; None is UTF-8, or what the file's byte order mark says.

    Raises:
        UserError: the file cannot be read, or a row has more or fewer cells than the header.
    """
    text = _text(path, what, encoding)
    first, _, rest = text.partition("\n")
    # The line by which spreadsheets are told the separator.
    told = re.fullmatch(r"sep=(.)\r?", first)
    separator = told[1] if told else _separator(first, columns)
    try:
        reader = csv.reader(io.StringIO(rest if told else text, newline=""), delimiter=separator)
        header = [name.strip() for name in next(reader, [])]
        yield 1, header
        yield from _rows(reader, len(header), what, separator, 1 if told else 0)
    except csv.Error as e:
        raise UserError(f"{what}: not a comma-separated file: {one_line(e)}.") from e


def repaired(cell: str) -> str:
    """Returns a cell with the bytes that are not UTF-8 read as cp1252, in which Windows saves Western text."""
    if not _UNDECODED.search(cell):
        return cell
    return cell.encode("utf-8", "surrogateescape").decode("cp1252", "surrogateescape")


def _text(path: str, what: str, encoding: str | None) -> str:
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as e:
        raise UserError(f"{what}: the manifest cannot be read: {e.strerror}.") from e
    if content.startswith(b"PK\3\4"):
        raise UserError(f"{what}: expected a text file, found an archive or a spreadsheet; save it as CSV.")
    try:
        return content.decode(str(encoding)).removeprefix("\ufeff") if encoding else decoded(content)
    except (LookupError, UnicodeError) as e:
        hint = f"encoding={one_line(encoding)}" if encoding else "save the file as UTF-8, or give encoding="
        raise UserError(f"{what}: the text cannot be decoded, {hint}: {one_line(e)}.") from e


def _separator(first: str, columns: Collection[str]) -> str:
    def rank(separator: str) -> tuple[int, int]:
        cells = next(csv.reader([first], delimiter=separator), [])
        return len(set(columns) & {cell.strip().lower() for cell in cells}), len(cells)

    try:
        return max(_SEPARATORS, key=rank)
    except csv.Error:
        return ","


def _rows(
    reader: Iterator[list[str]], width: int, what: str, separator: str, before: int
) -> Iterator[tuple[int, list[str]]]:
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        while len(cells) > width and not cells[-1].strip():
            cells.pop()
        number = reader.line_num + before
        if len(cells) != width:
            mark = {",": "comma", ";": "semicolon", "\t": "tab"}.get(separator, separator)
            raise UserError(
                f"{what}, line {number}: expected {width} values, found {len(cells)}; quote a value with a {mark}."
            )
        yield number, [cell.strip() for cell in cells]
