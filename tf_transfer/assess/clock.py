"""The time an assessment may take, what it is spent on, and what was left out for want of it."""

import time
from collections.abc import Callable

from tf_transfer.console import Console, clock


class Clock:
    """Counts a budget down and says on the console what is done.

    Args:
        minutes: the budget, positive.
        console: where to speak.

    Attributes:
        left_out: a record each, with `what` and `why`.
        spent: seconds by block.
    """

    def __init__(self, minutes: float, console: Console):
        self.seconds, self.console = 60.0 * minutes, console
        self.left_out: list[dict[str, str]] = []
        self.spent: dict[str, float] = {}
        self._begun = time.monotonic()

    def left(self) -> float:
        """Returns the seconds that are left; negative when the budget is overdrawn."""
        return self.seconds - (time.monotonic() - self._begun)

    def affords(self, what: str, seconds: float, keep: float = 0.0) -> bool:
        """Says whether there is time for something; what there is none for is noted as left out.

        Args:
            what: it is.
            seconds: that it takes, as far as is known.
            keep: seconds that shall be left after it.
        """
        if self.left() - seconds >= keep:
            return True
        self.leave_out(what, f"it would take about {max(1.0, seconds):.0f} s")
        return False

    def leave_out(self, what: str, why: str) -> None:
        """Notes what is not measured, and says so."""
        self.left_out.append({"what": what, "why": why})
        self.console.line(f"assess  left out: {what}: {why}")

    def say(self, text: str) -> None:
        """Says what begins, with the time left."""
        self.console.line(f"assess  {clock(max(0.0, self.left()))} left  {text}")

    def timed(self, block: str, work: Callable):
        """Returns what `work()` returns, its seconds noted under the block."""
        begun = time.monotonic()
        try:
            return work()
        finally:
            self.spent[block] = self.spent.get(block, 0.0) + time.monotonic() - begun
