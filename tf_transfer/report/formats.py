"""Formats numbers for people; None, or a number that is not finite, becomes a dash."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from tf_transfer.errors import one_line

DASH = "\N{EN DASH}"
_SPACE = "\N{NO-BREAK SPACE}"
_ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"


def shortened(text: Any, limit: int) -> str:
    """Returns one line of at most `limit` characters; a longer one is shortened in the middle.

    Names of classes and files often begin alike and differ at the end.
    """
    flat = one_line(text, max(limit, len(str(text))))
    if len(flat) <= limit:
        return flat
    end = (limit - 1) // 2
    return f"{flat[: limit - 1 - end].rstrip()}{_ELLIPSIS}{flat[len(flat) - end :].lstrip()}"


def told_apart(names: Sequence[str], limit: int = 16) -> list[str]:
    """Returns the names shortened to `limit` characters; to more where two names would otherwise look alike.

    Where they still do, what all of them begin and end with is left out.
    """
    for several in (names, _own_parts(names)):
        for longer in (limit, 3 * limit // 2, 2 * limit):
            found = [shortened(name, longer) or "(no name)" for name in several]
            if len(set(found)) >= len(set(names)):
                return found
    return [shortened(name, 2 * limit) or "(no name)" for name in names]


def _own_parts(names: Sequence[str]) -> list[str]:
    """Returns the names without their common beginning and end, for each of which an ellipsis stands."""
    begin = _shared(names)
    end = _shared([name[begin:][::-1] for name in names])
    before, after = (_ELLIPSIS if length > 1 else "" for length in (begin, end))
    begin, end = begin if before else 0, end if after else 0
    return [f"{before}{name[begin : len(name) - end]}{after}" for name in names]


def _shared(names: Sequence[str]) -> int:
    """Returns how many characters all names begin with."""
    # What the first and the last in order share, those between share too.
    first, last = min(names, default=""), max(names, default="")
    return next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))


def clipped(text: Any, limit: int) -> str:
    """Returns one line of at most `limit` characters, broken off behind an entry of its list or behind a word."""
    flat = one_line(text, max(limit, len(str(text))))
    if len(flat) <= limit:
        return flat
    room = flat[: limit - 1]
    at = next((i for i in (room.rfind("; "), room.rfind(" ")) if i >= limit // 2), -1)
    return shortened(flat, limit) if at < 0 else f"{room[:at]} {_ELLIPSIS}"


def number(value: Any) -> float | None:
    """Returns `value` if it is a finite number, else None."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and math.isfinite(value) else None


def decimal(value: Any, digits: int = 3) -> str:
    """Returns e.g. `0.412`."""
    return DASH if number(value) is None else f"{value:.{digits}f}"


def significant(value: Any, digits: int = 3) -> str:
    """Returns a number of any size with `digits` significant digits, e.g. `47.4`, `0.00358` or `1.20e-05`."""
    if number(value) is None or not value:
        return decimal(value, 0)
    place = math.floor(math.log10(abs(value)))
    return f"{value:.{digits - 1}e}" if place < -4 else decimal(value, max(0, digits - 1 - place))


def percent(share: Any, digits: int = 1) -> str:
    """Returns a share in [0, 1] as e.g. `88.0 %`."""
    return DASH if number(share) is None else f"{100 * share:.{digits}f}{_SPACE}%"


def percent_range(estimate: Mapping | None) -> str:
    """Returns the interval of an estimate of a share as e.g. `87.3-88.6 %`."""
    low, high = (number((estimate or {}).get(end)) for end in ("low", "high"))
    return DASH if low is None or high is None else f"{100 * low:.1f}{DASH}{percent(high)}"


def decimal_range(estimate: Mapping | None) -> str:
    """Returns the interval of an estimate as e.g. `0.398-0.426`."""
    low, high = (number((estimate or {}).get(end)) for end in ("low", "high"))
    return DASH if low is None or high is None else f"{low:.3f}{DASH}{high:.3f}"


def points(difference: Any) -> str:
    """Returns a difference of shares in percentage points, signed, e.g. `+15.6`."""
    return DASH if number(difference) is None else f"{100 * difference:+.1f}".replace("-", "\N{MINUS SIGN}")


def count(value: Any) -> str:
    """Returns e.g. `45,000`."""
    return DASH if number(value) is None else f"{value:,.0f}"


def duration(seconds: Any) -> str:
    """Returns e.g. `42 s`, `3 min 12 s` or `2 h 05 min`."""
    if number(seconds) is None:
        return DASH
    if seconds < 10:
        return f"{seconds:.1f}{_SPACE}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}{_SPACE}s"
    if whole < 3600:
        return f"{whole // 60}{_SPACE}min {whole % 60:02d}{_SPACE}s"
    return f"{whole // 3600}{_SPACE}h {whole % 3600 // 60:02d}{_SPACE}min"


def byte_size(size: Any) -> str:
    """Returns e.g. `13.4 MB`, in powers of ten."""
    if number(size) is None:
        return DASH
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f}{_SPACE}B" if unit == "B" else f"{size:.1f}{_SPACE}{unit}"
        size /= 1000
    return f"{size:.1f}{_SPACE}GB"


def p_value(p: Any) -> str:
    """Returns e.g. `p = 0.032` or `p < 0.001`."""
    if number(p) is None:
        return f"p {DASH}"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def setting(value: Any) -> str:
    """Returns the value of a setting: text unchanged, a dash for None and empty text, everything else as JSON."""
    if value is None or value == "":
        return DASH
    if isinstance(value, float) and number(value) is not None:
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)


def signed(estimate: Mapping | None) -> str:
    """Returns a difference of accuracies with its interval, in points."""
    if not estimate or number(estimate.get("value")) is None:
        return DASH
    return f"{points(estimate['value'])} ({points(estimate.get('low'))} to {points(estimate.get('high'))})"


def shares(estimate: Mapping | None) -> str:
    """Returns a share with its interval, in per cent."""
    if not estimate or number(estimate.get("value")) is None:
        return DASH
    low, high = (percent(estimate.get(end)) for end in ("low", "high"))
    return f"{percent(estimate['value'])} ({low} to {high})"


def decimals(estimate: Mapping | None, digits: int = 3) -> str:
    """Returns a number with its interval."""
    if not estimate or number(estimate.get("value")) is None:
        return DASH
    low, high = (decimal(estimate.get(end), digits) for end in ("low", "high"))
    return f"{decimal(estimate['value'], digits)} ({low} to {high})"


def significants(estimate: Mapping | None) -> str:
    """Returns a number of any size with its interval."""
    if not estimate or number(estimate.get("value")) is None:
        return DASH
    value, low, high = (significant(estimate.get(end)) for end in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def estimate(value: Any, interval: Any) -> dict | None:
    """Returns a value and the two ends of its interval as one estimate; None without an interval."""
    return {"value": value, "low": interval[0], "high": interval[1]} if interval else None
