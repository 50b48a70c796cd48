"""Times calls: the one stopwatch of the package and its benchmarks."""

import time
from collections.abc import Callable


def timed(
    call: Callable[[], object], warm: int = 0, n: int = 1, now: Callable[[], float] = time.perf_counter
) -> list[float]:
    """Times calls.

    Args:
        call: what is timed. On a GPU it must fetch its result, or only the launch is timed.
        warm: calls before the timed ones; the first call often compiles.
        n: calls that are timed.
        now: the clock, in seconds.

    Returns:
        The seconds of each of the `n` calls.
    """
    for _ in range(warm):
        call()
    seconds = []
    for _ in range(n):
        begun = now()
        call()
        seconds.append(now() - begun)
    return seconds
