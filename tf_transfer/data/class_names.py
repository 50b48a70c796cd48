"""Names of classes that are no two classes: spelt in two ways, or several in one label."""

import itertools
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

from tf_transfer.errors import UserError, one_line

_SEPARATORS = "|;,"


def check(names: Iterable[str], what: str) -> None:
    """Refuses names that differ in nothing but case, spaces at their ends or between words, or the Unicode normal form.

    Single letters may differ in case: they are what letters are called.

    Args:
        names: of the classes, each once.
        what: name of the data set in errors.

    Raises:
        UserError: the message shows the code points by which two names differ.
    """
    seen: dict[str, str] = {}
    for name in sorted(names):
        first = seen.setdefault(_plain(name), name)
        if first != name:
            raise UserError(
                f"{what}: expected classes whose names differ, found {one_line(repr(first), 60)} and "
                f"{one_line(repr(name), 60)}, which differ only in {_kind(first, name)} ({_differ(first, name)}). Give "
                "both one name if they are one class, else names that differ in their letters."
            )


def several(labels: Sequence[str]) -> dict[str, list[str]]:
    """Returns the labels that name several classes, such as `cat|dog`, with the names.

    A label is such a list where each of its parts, between bars, semicolons or commas, is a label by itself or a part
    of another one, and one of them at least a label by itself.
    """
    names = set(labels)
    parts = {name: found for name in names if len(found := _parts(name)) > 1}
    known = Counter(part for found in parts.values() for part in set(found))
    return {
        name: found
        for name, found in parts.items()
        if all(part in names or known[part] > 1 for part in found) and names & set(found)
    }


def _parts(name: str) -> list[str]:
    separator = next((s for s in _SEPARATORS if s in name), None)
    return [part.strip() for part in name.split(separator) if part.strip()] if separator else [name]


def _plain(name: str) -> str:
    composed = " ".join(unicodedata.normalize("NFC", name).split())
    return composed if len(composed) == 1 else unicodedata.normalize("NFC", composed.lower())


def _kind(first: str, second: str) -> str:
    if unicodedata.normalize("NFC", first) == unicodedata.normalize("NFC", second):
        return "their Unicode normal form"
    return "spaces" if " ".join(first.split()) == " ".join(second.split()) else "case"


def _differ(first: str, second: str) -> str:
    """Returns the code points of two names between their common beginning and end."""
    begin = _common(first, second)
    end = _common(first[begin:][::-1], second[begin:][::-1])
    first, second = (name[begin : len(name) - end] for name in (first, second))
    points = [" ".join(f"U+{ord(c):04X}" for c in name[:8]) or "nothing" for name in (first, second)]
    return " against ".join(points)


def _common(first: str, second: str) -> int:
    """Returns the length of the common beginning."""
    pairs = zip(first, second, strict=False)
    return len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)))
