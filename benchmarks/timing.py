"""Paired timing: alternatives take turns, so that whatever else the machine does hits all of them alike."""

import statistics
from collections.abc import Callable, Mapping

from tf_transfer.machine.timing import timed


def in_turns(functions: Mapping[str, Callable[[], object]], rounds: int, warm: int = 2) -> dict[str, list[float]]:
    """Returns the seconds of every call of every function, `rounds` each, after `warm` calls that do not count."""
    for function in functions.values():
        timed(function, warm, n=0)
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            seconds[name] += timed(function)
    return seconds


def compare(seconds: Mapping[str, list[float]], baseline: str) -> dict[str, dict]:
    """Returns for each name its median seconds, and how many times as fast as the baseline it was.

    The ratio is taken round by round; given are its median and its quartiles.
    """
    found = {}
    for name, times in seconds.items():
        ratios = sorted(b / t for b, t in zip(seconds[baseline], times, strict=True))
        low, _, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else (ratios[0],) * 3
        found[name] = {
            "seconds": statistics.median(times),
            "ratio": statistics.median(ratios),
            "low": low,
            "high": high,
        }
    return found
