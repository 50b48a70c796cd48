"""The summary of predictions on the terminal: their number, the first ones, and the bad files."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from tf_transfer.console import Console
from tf_transfer.errors import one_line
from tf_transfer.serving import Prediction

_SHOWN = 20


class Summary:
    """Counts predictions while they are written; keeps the first, and the first bad ones."""

    def __init__(self):
        self.good = self.bad = 0
        self._first: list[Prediction] = []
        self._first_bad: list[Prediction] = []

    def of(self, predictions: Iterable[Prediction]) -> Iterator[Prediction]:
        """Yields the predictions, and counts them."""
        for p in predictions:
            self.bad += bool(p.error)
            self.good += not p.error
            kept = self._first_bad if p.error else self._first
            if len(kept) < _SHOWN:
                kept.append(p)
            yield p

    def tell(self, output: Path, console: Console) -> None:
        """Prints the first answers, the first bad files, and the numbers of both."""
        for p in self._first:
            console.line(f"{one_line(p.file, 100)}  {one_line(p.label, 60)}  {p.probability:.4f}")
        if self.good > _SHOWN:
            console.line(f"... and {self.good - _SHOWN:,} more")
        for p in self._first_bad:
            console.line(f"{one_line(p.file, 100)}  not read: {one_line(p.error, 100)}")
        if self.bad > _SHOWN:
            console.line(f"... and {self.bad - _SHOWN:,} more that were not read; {one_line(output)} names them all")
        console.line(f"predict  {self.good:,} predicted, {self.bad:,} not read; all in {one_line(output)}")
