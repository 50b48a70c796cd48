"""The output formats of predictions, by the ending of the file; each is written as a stream, of any length."""

import csv
import importlib.util
import io
import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from tf_transfer.errors import UserError, one_line
from tf_transfer.serving import Prediction

# Rows in a group of a Parquet file; a group is held in memory.
_GROUP = 10_000


def columns(top: int | None) -> list[str]:
    """Returns the columns of a table: for the answer, or for the `top` likeliest classes."""
    if top is None:
        return ["file", "label", "probability", "error"]
    named = [f"{name}_{k}" for k in range(1, top + 1) for name in ("label", "probability")]
    return ["file", *named, "error"]


def _values(p: Prediction, top: int | None) -> list:
    """Returns the row of a prediction; without an answer, the probability is empty and not 0."""
    if top is None:
        return [p.file, p.label, None if p.error else p.probability, p.error]
    likeliest = list(p.probabilities.items()) or [("", None)] * top
    return [p.file, *itertools.chain.from_iterable(likeliest), p.error]


def write_csv(predictions: Iterable[Prediction], stream: BinaryIO, top: int | None) -> None:
    """Writes a table, with probabilities to six digits."""
    text = io.TextIOWrapper(stream, "utf-8", errors="backslashreplace", newline="")
    table = csv.writer(text)
    table.writerow(columns(top))
    for p in predictions:
        table.writerow(f"{value:.6f}" if isinstance(value, float) else value for value in _values(p, top))
    text.detach()


def write_jsonl(predictions: Iterable[Prediction], stream: BinaryIO, top: int | None) -> None:
    """Writes an object a line: all probabilities by class name, or `top`, a list of the likeliest."""
    for p in predictions:
        fields = dict(p.__dict__)
        if p.error:
            fields["probability"] = None
        if top is not None:
            fields["top"] = [{"label": k, "probability": v} for k, v in fields.pop("probabilities").items()]
        stream.write((json.dumps(fields, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace"))


def write_parquet(predictions: Iterable[Prediction], stream: BinaryIO, top: int | None) -> None:
    """Writes the table of `write_csv`, in groups of 10,000 rows."""
    import pyarrow as pa
    from pyarrow import parquet

    names = columns(top)
    kinds = [pa.float64() if name.startswith("probability") else pa.string() for name in names]
    schema = pa.schema(list(zip(names, kinds, strict=True)))
    with parquet.ParquetWriter(stream, schema) as writer:
        for group in _groups(predictions, _GROUP):
            rows = [[_plain(value) for value in _values(p, top)] for p in group]
            writer.write_table(pa.table([list(column) for column in zip(*rows, strict=True)], schema=schema))


def _groups(values: Iterable, size: int) -> Iterator[list]:
    values = iter(values)
    while group := list(itertools.islice(values, size)):
        yield group


def _plain(value):
    """Escapes a file name that is not UTF-8, as the other formats do."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


FORMATS = {".csv": write_csv, ".jsonl": write_jsonl, ".parquet": write_parquet}
# First bytes of a file of each format.
STARTS = {".csv": b"file,", ".jsonl": b'{"file": ', ".parquet": b"PAR1"}


def check(path: Path) -> None:
    """Refuses a file to which predictions cannot be written.

    Raises:
        UserError: its ending is not a format, a package is missing, or it exists and holds something else.
    """
    kind = path.suffix.lower()
    if kind not in FORMATS:
        raise UserError(f"--predictions={one_line(path)!r}: expected a name that ends in {', '.join(FORMATS)}.")
    if kind == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise UserError(
            f"--predictions={one_line(path)!r}: Parquet needs pyarrow: pip install pyarrow, or in a checkout of this "
            "package pip install -e '.[parquet]'; or name a .csv."
        )
    if path.is_dir():
        raise UserError(f"--predictions={one_line(path)!r} is a folder; expected a file to write.")
    if path.is_file():
        with path.open("rb") as stream:
            head = stream.read(len(STARTS[kind]))
        if head and head != STARTS[kind]:
            raise UserError(
                f"--predictions={one_line(path)!r} is there already, and holds no predictions: remove it, or name "
                "another file."
            )
