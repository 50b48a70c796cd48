"""SIGINT and SIGTERM: training finishes its step and saves; everything else stops at once.

Reading, evaluating and exporting begin again when the same command is given again; files already written stay.
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
        code: exit status of the process, 128 plus the signal's number: 130 for SIGINT, 143 for SIGTERM.
        saved: training was saved, and the same command resumes it.
    """

    def __init__(self, number: int, saved: bool = False):
        super().__init__(signal.Signals(number).name)
        self.code, self.saved = 128 + number, saved


class _State:
    deferring = False
    requested: int | None = None


@contextlib.contextmanager
def handled() -> Iterator[None]:
    """Inside, SIGINT and SIGTERM raise `Stopped`; inside `deferred` they are noted.

    A signal that the process ignores stays ignored: a shell makes commands in the background ignore Ctrl-C.
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
    """Inside, the first signal is noted, for `requested`; the second ends the process at once.

    Raises:
        Stopped: at the end, for a signal that the code inside did not act on.
    """
    before, _State.deferring = _State.deferring, True
    try:
        yield
    finally:
        _State.deferring = before
    if _State.requested is not None and not before:
        raise Stopped(_State.requested)


def requested() -> int | None:
    """Returns the number of the signal that asked to stop, or None."""
    return _State.requested


def _on_signal(number: int, frame) -> None:
    if not _State.deferring:
        raise Stopped(number)
    if _State.requested is not None:
        # Safe: a file that is being written has no name of its own yet, see `run.atomic`.
        os._exit(128 + number)
    _State.requested = number
    sys.stderr.write(
        "\nstopping: the step or validation under way is finished and saved; the same signal again leaves at once\n"
    )
