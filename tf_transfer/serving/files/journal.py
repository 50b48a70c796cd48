"""The journal: keeps answers in a file beside the output, so that a kill loses at most one batch.

The first line describes the work; each further line is the JSON list of a batch. A batch is complete or absent, and an
interrupted batch is predicted again as a whole: the last bit of a row can depend on the other rows of its batch.
"""

import contextlib
import json
import os
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from tf_transfer.errors import UserError, one_line
from tf_transfer.run import lock
from tf_transfer.serving import Prediction

# Seconds between two syncs to the disk.
_SYNC = 5.0
# Older names of options, in journals of older versions.
_RENAMED = {"--images": "--inputs"}


class Journal:
    """The answers so far; at the start, the answers that an earlier command left for the same work.

    Args:
        output: the output file; the journal is `.NAME.part` beside it.
        work: everything that determines the answers, as JSON values.
        full: keep all probabilities of a prediction, not only its answer.
        many: the word for the examples.
        restart: drop the answers of an earlier command.

    Raises:
        UserError: it cannot be written, another process writes it, or it has answers of other work.
    """

    def __init__(self, output: Path, work: Mapping, full: bool, many: str, restart: bool = False):
        self._path, self._full, self._many = output.with_name(f".{output.name}.part"), full, many
        self._all, self._dropped = 0, frozenset()
        self._file = -1
        try:
            with self._writing():
                output.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._opened()
                self._size = 0 if restart else self._kept(work)
                os.ftruncate(self._file, self._size)
                if not self._size:
                    self._write(json.dumps({"work": work}))
        except BaseException:
            self.close()
            raise
        self._synced = time.monotonic()

    @property
    def count(self) -> int:
        """Number of answers, without dropped ones."""
        return self._all - len(self._dropped)

    def append(self, batch: Sequence[Prediction], states: Sequence[tuple[int, int] | None]) -> None:
        """Adds the answers of one batch; syncs to the disk every few seconds.

        Args:
            batch: the answers.
            states: of their files as they were read, see `finding.state`.
        """
        rows = [
            [p.file, p.label, p.probability, p.probabilities if self._full else {}, p.error, state]
            for p, state in zip(batch, states, strict=True)
        ]
        with self._writing():
            self._write(json.dumps(rows))
            self._all += len(batch)
            if time.monotonic() - self._synced > _SYNC:
                os.fsync(self._file)
                self._synced = time.monotonic()

    def states(self) -> Iterator[tuple[str, tuple[int, int] | None]]:
        """Yields the file of each answer that was ever added, and its state when it was read."""
        for name, *_, state in self._rows():
            yield name, tuple(state) if state else None

    def drop(self, places: Collection[int]) -> None:
        """Ignores these answers, by their index in `states`, as long as this journal is open."""
        self._dropped = frozenset(places)

    def keep_last(self) -> None:
        """Keeps only the last answer of each file: earlier ones are of contents that no longer exist."""
        last, stale = {}, set()
        for place, (file, _) in enumerate(self.states()):
            if file in last:
                stale.add(last[file])
            last[file] = place
        self.drop(stale)

    def __iter__(self) -> Iterator[Prediction]:
        """Yields all answers that were not dropped, from the disk, without the rest of an interrupted `append`."""
        for place, (*row, _) in enumerate(self._rows()):
            if place not in self._dropped:
                yield Prediction(*row)

    def _rows(self) -> Iterator[list]:
        with self._path.open("rb") as stream:
            at = len(stream.readline())
            while at < self._size:
                line = stream.readline()
                at += len(line)
                yield from json.loads(line)

    def close(self, finished: bool = False) -> None:
        """Closes the file; removes it where its answers are in the output."""
        if self._file < 0:
            return
        if finished:
            with contextlib.suppress(OSError):
                self._path.unlink()
        os.close(self._file)
        self._file = -1

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def _kept(self, work: Mapping) -> int:
        """Returns the number of bytes with complete batches of the same work, and counts their answers."""
        with self._path.open("rb") as stream:
            head = _parsed(stream.readline())
            if not isinstance(head, dict) or not isinstance(head.get("work"), dict):
                return 0
            kept = stream.tell()
            while isinstance(rows := _parsed(stream.readline()), list):
                kept = stream.tell()
                self._all += len(rows)
        earlier = {_RENAMED.get(name, name): value for name, value in head["work"].items()}
        if earlier == work:
            return kept
        if self._all:
            self._refuse({k for k in {*work, *earlier} if earlier.get(k) != work.get(k)})
        return 0

    def _refuse(self, differ: Collection[str]) -> None:
        raise UserError(
            f"--predictions={one_line(self._output())!r}: {self._all:,} {self._many} are answered for an earlier "
            f"command that did not finish, and had another {', '.join(sorted(differ))}. Give that one again to go on, "
            "--restart to drop its answers, or another --predictions."
        )

    def _write(self, line: str) -> None:
        content = memoryview(line.encode() + b"\n")
        os.lseek(self._file, self._size, os.SEEK_SET)
        written = 0
        while written < len(content):
            written += os.write(self._file, content[written:])
        # Counted only now: the next write overwrites a batch that was not written as a whole.
        self._size += written

    def _opened(self) -> int:
        file = lock.opened(self._path)
        if file is None:
            raise UserError(
                f"--predictions={one_line(self._output())!r} is being written by another process; wait for it, "
                "or name another file."
            )
        return file

    def _output(self) -> Path:
        return self._path.with_name(self._path.name.removeprefix(".").removesuffix(".part"))

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as e:
            raise UserError(f"--predictions={one_line(self._output())!r} cannot be written: {e.strerror}.") from e


def _parsed(line: bytes):
    """Returns the value of a complete line; None for a line that was cut off."""
    if not line.endswith(b"\n"):
        return None
    try:
        return json.loads(line)
    except ValueError:
        return None
