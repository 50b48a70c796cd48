"""Signals that ask a run to stop: training finishes its step and saves, everything else stops where it is.

What else a run does, reading, evaluating, exporting, is done again by the same command; what it has written stands.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """A signal asked the run to stop.

    Attributes:
        code: what the process exits with, 128 and the signal's number: 130 for SIGINT, 143 for SIGTERM.
        saved: training was saved, and goes on from there.
    """

    def __init__(self, number: int, saved: bool = False):
        super().__init__(signal.Signals(number).name)
        self.code, self.saved = 128 + number, saved


class _State:
    deferring = False
    requested: int | None = None


@contextlib.contextmanager
def handled() -> Iterator[None]:
    """Inside, SIGINT and SIGTERM raise `Stopped`, or are noted where they are deferred.

    One that is ignored stays so: a shell has a command in the background ignore the Ctrl-C meant for another.
    """
    heeded = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, _on_signal) for number in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _State.requested = None


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Inside, a first signal is noted, for `requested`; a second ends the process at once.

    Raises:
        Stopped: at the end, for one that nobody has heeded.
    """
    before, _State.deferring = _State.deferring, True
    try:
        yield
    finally:
        _State.deferring = before
    if _State.requested is not None and not before:
        raise Stopped(_State.requested)


def requested() -> int | None:
    """Returns the number of the signal that asks to stop, or None."""
    return _State.requested


def _on_signal(number: int, frame) -> None:
    if not _State.deferring:
        raise Stopped(number)
    if _State.requested is not None:
        # Whatever is being written stands beside its place and has no name yet.
        os._exit(128 + number)
    _State.requested = number
    sys.stderr.write(
        "\nstopping: the step or validation under way is finished and saved; the same signal again leaves at once\n"
    )
