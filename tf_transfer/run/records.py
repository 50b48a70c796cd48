"""The records of a run, `records.jsonl`, one JSON object a line: appended, read, and removed again after a crash."""

import datetime
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tf_transfer.errors import UserError, one_line
from tf_transfer.run import atomic

# Kinds of records that training makes.
OF_TRAINING = ("start", "plan", "race", "epoch", "path", "rollback")


def to_json(value: Any, indent: int | None = None) -> str:
    """Returns JSON of plain values, NumPy numbers and arrays, and paths."""
    return json.dumps(value, indent=indent, ensure_ascii=False, default=_plain)


def encoded(value: Any, indent: int | None = None) -> bytes:
    """Returns JSON as UTF-8; lone surrogates of undecodable file names are escaped."""
    return to_json(value, indent).encode("utf-8", "backslashreplace")


def stamped(kind: str, values: Mapping[str, Any]) -> dict:
    """Returns a record with the current time."""
    return {"kind": kind, "time": datetime.datetime.now().astimezone().isoformat(timespec="seconds"), **values}


def append(path: Path, record: Mapping[str, Any]) -> None:
    """Adds a record to the file and waits until it is on the disk."""
    line = encoded(record) + b"\n"
    with path.open("ab+") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            # A line that a crash cut off gets its end, so that it stays a line of its own.
            line = line if file.read() == b"\n" else b"\n" + line
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def read(path: Path) -> list[dict]:
    """Returns the records in order; a line cut off by a crash is skipped.

    Raises:
        UserError: the file has whole lines, and none is a record.
    """
    content = path.read_bytes() if os.path.isfile(path) else b""
    found = [record for line in content.splitlines() if (record := _parsed(line)) is not None]
    if not found and b"\n" in content:
        raise UserError(f"{one_line(path)} is damaged, no line of it is a record; use another --run_dir or mend it.")
    return found


def attempt(records: Sequence[dict], phase: str) -> list[int]:
    """Returns the indices of a phase's training records since it last ended or the run was started over."""
    begin = 0
    for i, record in enumerate(records):
        if record["kind"] == "start_over" or (record["kind"], record.get("phase")) == ("phase_end", phase):
            begin = i + 1
    return [i for i in range(begin, len(records)) if _of_training(records[i], phase)]


def rewind(path: Path, phase: str, count: int = 0) -> None:
    """Removes the records of an unfinished attempt at a phase but for the first `count`; all others stay.

    A line that a crash cut off is removed, too.
    """
    lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
    read = [(line, record) for line in lines if (record := _parsed(line)) is not None]
    gone = set(attempt([record for _, record in read], phase)[count:])
    if gone or len(read) < len(lines):
        atomic.write_file(path, b"".join(line for i, (line, _) in enumerate(read) if i not in gone))


def _of_training(record: Mapping, phase: str) -> bool:
    return record.get("phase") == phase and record["kind"] in OF_TRAINING


def _parsed(line: bytes) -> dict | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and "kind" in record else None


def _plain(value: Any) -> Any:
    """Converts NumPy numbers, arrays and paths for JSON."""
    return value.tolist() if hasattr(value, "tolist") else str(value)
