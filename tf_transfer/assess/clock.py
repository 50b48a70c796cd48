"""The time that an assessment may take, what it is spent on, and what is left out for want of it."""

import time
from collections.abc import Callable

from tf_transfer.console import Console, clock


class Clock:
    """Counts a budget down and says on the console what is done.

    Args:
        minutes: the budget, positive.
        console: where to speak.
        now: reads a clock, in seconds. Every decision about time reads it, so that a test with a clock of its own knows
            beforehand what is measured.

    Attributes:
        left_out: a record each, with `what` and `why`.
        spent: seconds by block.
    """

    def __init__(self, minutes: float, console: Console, now: Callable[[], float] = time.monotonic):
        self.seconds, self.console, self.now = 60.0 * minutes, console, now
        self.left_out: list[dict[str, str]] = []
        self.spent: dict[str, float] = {}
        self._begun = self.now()

    def left(self) -> float:
        """Returns the seconds that are left; negative when the budget is overdrawn."""
        return self.seconds - (self.now() - self._begun)

    def affords(self, what: str, seconds: float, keep: float = 0.0) -> bool:
        """Says whether there is time for a measurement; notes it as left out where there is none.

        Args:
            what: name of the measurement.
            seconds: it takes about so long.
            keep: seconds that must be left after it.
        """
        if self.left() - seconds >= keep:
            return True
        self.leave_out(what, f"it would take about {max(1.0, seconds):.0f} s")
        return False

    def leave_out(self, what: str, why: str) -> None:
        """Notes a measurement that is not made, and says so."""
        self.left_out.append({"what": what, "why": why})
        self.console.line(f"assess  left out: {what}: {why}")

    def say(self, text: str) -> None:
        """Says what begins, and how much time is left."""
        self.console.line(f"assess  {clock(max(0.0, self.left()))} left  {text}")

    def spend(self, block: str, work: Callable):
        """Returns `work()`, and adds its seconds to those of the block."""
        begun = self.now()
        try:
            return work()
        finally:
            self.spent[block] = self.spent.get(block, 0.0) + self.now() - begun
