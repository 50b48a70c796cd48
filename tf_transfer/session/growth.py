"""What came to the files of a data set, went, or moved between its splits since a phase recorded them."""

from collections.abc import Mapping
from dataclasses import dataclass

from tf_transfer.errors import one_line

# What a model was trained on must not choose it, and what chose it must not test it.
_ORDER = ("train", "validation", "test")


@dataclass(frozen=True)
class Change:
    """A difference between two states of a data set.

    Attributes:
        came, went: number of different files by split; one that moved went from one split and came to another.
        leaks: texts `name (train, now test)` about files that the model has seen, and that would choose or test it.
    """

    came: Mapping[str, int]
    went: Mapping[str, int]
    leaks: tuple[str, ...]

    def told(self) -> str:
        """Returns the change in words."""
        if self.leaks:
            return f"{len(self.leaks):,} of the files it has seen are held out now, such as {self.leaks[0]}"
        parts = []
        for split in _ORDER:
            counts = {"came": self.came.get(split, 0), "went": self.went.get(split, 0)}
            if told := " and ".join(f"{n:,} {verb}" for verb, n in counts.items() if n):
                parts.append(f"{split} {told}")
        return ", ".join(parts) or "the same files under other names or labels"


def change(then: Mapping[str, Mapping[str, str]], now: Mapping[str, Mapping[str, str]]) -> Change:
    """Compares two states of a data set.

    A copy that came while its original stayed where it was is no leak by the change: `evaluate` counts copies.

    Args:
        then: digests of the files of each split, with a name each.
        now: the same.
    """
    before, after = _splits_of(then), _splits_of(now)
    leaks = []
    for digest, splits in after.items():
        old = before.get(digest, ())
        if old and not set(old) & set(splits) and (moved := max(splits)) > min(old):
            name = one_line(now[_ORDER[moved]][digest], 60)
            leaks.append(f"{name} ({_ORDER[min(old)]}, now {_ORDER[moved]})")
    came = {split: len(set(now.get(split, ())) - set(then.get(split, ()))) for split in _ORDER}
    went = {split: len(set(then.get(split, ())) - set(now.get(split, ()))) for split in _ORDER}
    return Change(came, went, tuple(sorted(leaks)))


def _splits_of(state: Mapping[str, Mapping[str, str]]) -> dict[str, list[int]]:
    """Returns the numbers of the splits in which each digest is."""
    found: dict[str, list[int]] = {}
    for number, split in enumerate(_ORDER):
        for digest in state.get(split, ()):
            found.setdefault(digest, []).append(number)
    return found
