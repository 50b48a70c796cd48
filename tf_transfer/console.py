"""The output of a running command: lines, and on a terminal a progress bar with the time left."""

import os
import sys
import time
from collections.abc import Callable

from tf_transfer.errors import one_line


class Console:
    """Writes to a stream; a bar is drawn only where the stream is a terminal.

    Args:
        stream: where to write, by default standard output.
    """

    def __init__(self, stream=None):
        # There is no standard output where its caller closed it.
        self.stream = stream or sys.stdout or Nowhere()
        self.terminal = self.stream.isatty()
        self._drawn = 0

    def line(self, text: str = "") -> None:
        """Prints a line, in place of the bar where one is drawn."""
        self._clear()
        # A file name may hold characters that the stream's encoding lacks.
        encoding = self.stream.encoding or "utf-8"
        self._write(text.encode(encoding, "replace").decode(encoding) + "\n")

    def note(self, text: str) -> None:
        """Prints a note: something that the user may want to look into."""
        self.line(f"note  {text}")

    def epoch(self, phase: str, record: dict) -> None:
        """Prints the record of an epoch."""
        width = len(str(record["epochs"]))
        self.line(
            f"{phase}  epoch {record['epoch']:>{width}}/{record['epochs']}  {_measures(record)}  rate "
            f"{record['learning_rate']:.2g}  "
            f"{record['examples_per_second']:,.0f} examples/s  {record['seconds']:.1f} s"
        )

    def path(self, phase: str, record: dict) -> None:
        """Prints the record of one L2 strength of a solved head."""
        cut = "" if record["converged"] else ", cut short"
        self.line(
            f"{phase}  l2 {record['l2']:.2g}  {_measures(record)}  {record['iterations']} iterations{cut}  "
            f"{record['seconds']:.1f} s"
        )

    def bar(self, label: str) -> Callable[[int, int, str], None]:
        """Returns a progress function (done, total, text) that redraws at most ten times a second."""
        first, last = None, 0.0

        def show(done: int, total: int, text: str = "") -> None:
            """Redraws the bar."""
            nonlocal first, last
            now = time.monotonic()
            # Rate and time left count from the first call: compiling, or rows that an interrupted pass had done,
            # say nothing about the rest.
            first = first or (now, done)
            if not self.terminal or (now - last < 0.1 and done < total):
                return
            last, seconds, more = now, now - first[0], done - first[1]
            gauge = "#" * round(24 * done / total)
            pace = (
                f"{more / seconds:,.1f}/s  {clock(seconds / more * (total - done))} left" if seconds and more else "..."
            )
            self._draw(f"{label} [{gauge:.<24}] {done}/{total}  {pace}  {one_line(text, 40)}")
            if done >= total:
                self._clear()

        return show

    def _draw(self, text: str) -> None:
        self._write("\r" + text.ljust(self._drawn))
        self._drawn = len(text)

    def _clear(self) -> None:
        if self._drawn:
            self._write("\r" + " " * self._drawn + "\r")
            self._drawn = 0

    def _write(self, text: str) -> None:
        """Writes; once the reader has left, such as `head` or a closed session, the work goes on without it."""
        try:
            self.stream.write(text)
            self.stream.flush()
        except BrokenPipeError:
            if self.stream is sys.stdout:
                # What is still buffered would fail again at the end of the process.
                with open(os.devnull, "wb") as nowhere:
                    os.dup2(nowhere.fileno(), self.stream.fileno())
            self.stream = Nowhere()


def _measures(record: dict) -> str:
    told = []
    for part in ("train", "validation"):
        value = record.get(f"{part}_accuracy", record.get(f"{part}_value"))
        if value is not None:
            told.append(f"{part} {value:.4f} (loss {record[f'{part}_loss']:.4f})")
        elif f"{part}_loss" in record:
            told.append(f"{part} loss {record[f'{part}_loss']:.4f}")
    return "  ".join(told)


def clock(seconds: float) -> str:
    """Returns `1:02:03` or `2:03`."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


class Nowhere:
    """A stream that drops all text."""

    encoding = "utf-8"

    def write(self, text: str) -> None:
        """Drops text."""

    def flush(self) -> None:
        """Does nothing."""

    def isatty(self) -> bool:
        """Is no terminal."""
        return False
