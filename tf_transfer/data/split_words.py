"""The words that name a split, in the folders of a data set and in the column of a CSV file."""

import re
from collections.abc import Iterable
from typing import NamedTuple

_WORDS = {
    "train": ("train", "training", "trainset", "trainingset", "trn"),
    "validation": ("validation", "val", "valid", "validationset", "valset", "dev", "devel", "development", "devset"),
    "test": ("test", "testing", "tests", "testset", "testingset", "tst"),
    # The test split, or the validation split where another name is that of the test split.
    "": ("eval", "evaluation", "holdout", "heldout"),
}
_SPLITS = {word: split for split, words in _WORDS.items() for word in words}
_TOKENS = re.compile(r"[^\W\d_]+")


class Named(NamedTuple):
    """What a name says of a split.

    Attributes:
        split: `train`, `validation`, `test`, or "" for a word such as `eval`, which `resolve` decides.
        rest: the other letters of the name, `seg_*` of `seg_train`; "" where the name is the word alone.
    """

    split: str
    rest: str


def named(name: str) -> Named | None:
    """Reads a name without regard to case: a word for a split, perhaps with a prefix, a suffix and digits."""
    whole = re.sub(r"[\W_]+", "", name).casefold()
    if whole in _SPLITS:
        return Named(_SPLITS[whole], "")
    tokens = [t.casefold() for t in _TOKENS.findall(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name))]
    found = [t for t in tokens if t in _SPLITS]
    if len(found) != 1:
        return None
    return Named(_SPLITS[found[0]], "_".join("*" if t == found[0] else t for t in tokens))


def resolve(names: Iterable[str]) -> dict[str, str]:
    """Returns the split of each name that names one; words such as `eval` by the splits that the others leave open."""
    read = {name: word.split for name in names if (word := named(name))}
    taken = set(read.values())
    left = next((split for split in ("test", "validation") if split not in taken), None)
    return {name: split or left for name, split in read.items() if split or left}
