"""How a folder of examples is organised: which of its sub-folders are splits, which are classes."""

import os
from collections import Counter
from collections.abc import Collection, Iterator
from typing import NamedTuple

from tf_transfer.data import split_words
from tf_transfer.data.tree import Folder
from tf_transfer.errors import UserError, one_line

SPLIT, CLASS, ANY = "SPLIT", "CLASS", "*"


class ClassFolder(NamedTuple):
    """A folder with examples of one class.

    Attributes:
        split: `train`, `validation`, `test`, or "" where the data set has no splits.
        label: name of the class.
        folder: the examples in it and below it.
    """

    split: str
    label: str
    folder: Folder


class Layout(NamedTuple):
    """Where the examples are.

    Attributes:
        classes: the folders of the classes.
        loose: files that belong to no class, by kind.
        notes: facts to report, texts by kind.
    """

    classes: list[ClassFolder]
    loose: Counter[str]
    notes: dict[str, list[str]]


def find(root: Folder, what: str, many: str) -> Layout:
    """Finds the splits and the classes.

    Looks through a folder whose examples are all below one sub-folder, such as `archive/flowers/CLASS`. The folders of
    the splits are known by their names, see `split_words`, and by the class folders in them.

    Args:
        root: the folder.
        what: name of the data set in errors.
        many: the word for examples.

    Raises:
        UserError: the splits are incomplete or named twice, or the folders may be read in two ways.
    """
    notes: dict[str, list[str]] = {}
    level = root
    while not (splits := _splits(level, what, many)) and (only := _wrapped(level)):
        level = only
    parts = {"": level}
    if splits:
        named = {split: level.folders[name] for name, split in splits.items()}
        parts = {"train": _through(named.pop("train"))}
        parts |= {s: _beside(named[s], parts["train"].filled) for s in ("validation", "test") if s in named}
        if extra := [name for name in level.folders if name not in splits]:
            notes["ignored_folders"] = [f"Folders beside train that are no splits: {one_line(', '.join(extra))}."]
    for split in ("", "train"):
        if split in parts:
            _refuse_crossing(parts[split], what, f"{SPLIT}/" if split else "")
            _refuse_hidden_splits(parts[split], what)
    if unusual := [f"{one_line(folder.name)} as {split or 'the classes'}" for split, folder in _unusual(parts)]:
        notes["layout"] = [f"Folders were read so: {', '.join(unusual)}."]
    classes = [
        ClassFolder(split, name, folder) for split, part in parts.items() for name, folder in part.folders.items()
    ]
    return Layout(classes, _loose(parts.values()), notes)


def follow(root: Folder, pattern: str, what: str) -> Layout:
    """Reads the splits and the classes off a pattern such as `SPLIT/CLASS`, `CLASS/SPLIT` or `*/CLASS`.

    Args:
        root: the folder.
        pattern: a part for each level of folders: SPLIT once at most, CLASS once, `*` for any name.
        what: name of the data set in errors.

    Raises:
        UserError: the text is no such pattern, or a folder at the level of SPLIT is not named like one.
    """
    parts = str(pattern).strip("/").split("/")
    if set(parts) - {SPLIT, CLASS, ANY} or parts.count(CLASS) != 1 or parts.count(SPLIT) > 1:
        raise UserError(
            f"{what}: layout: expected {CLASS} once, {SPLIT} once at most and {ANY} for levels that mean nothing, with "
            f"/ between, such as {SPLIT}/{CLASS}, {CLASS}/{SPLIT} or {ANY}/{CLASS}; got {one_line(pattern)!r}."
        )
    reached = [ClassFolder("", "", root)]
    above: list[Folder] = []
    for part in parts:
        above += [place.folder for place in reached]
        names = {name for place in reached for name in place.folder.filled}
        splits = split_words.resolve(names) if part == SPLIT else {}
        if part == SPLIT and (strange := sorted(names - set(splits))):
            raise UserError(
                f"{what}: layout={one_line(pattern)}: expected folders named train, validation or test in the place of "
                f"{SPLIT}, found {listed(strange)}."
            )
        reached = [
            ClassFolder(splits.get(name, place.split), name if part == CLASS else place.label, folder)
            for place in reached
            for name, folder in place.folder.folders.items()
        ]
    return Layout(reached, _loose(above), {})


def listed(names: Collection[str], most: int = 4) -> str:
    """Returns the first names in one text, with dots where there are more."""
    first = [one_line(name, 40) for name in list(names)[:most]]
    return ", ".join(first) + (", ..." if len(names) > most else "")


def _splits(level: Folder, what: str, many: str) -> dict[str, str]:
    """Returns the folders of the splits, with the split of each; {} where there are no splits."""
    read = {name: word for name in level.folders if (word := split_words.named(name))}
    exact = {name: word for name, word in read.items() if not word.rest}
    known = split_words.resolve(exact)
    train = [name for name, split in known.items() if split == "train"]
    # `train` can be the name of a class too: then it holds files directly.
    if any(_has_classes(level.folders[name]) for name in train):
        found = known | _with_affixes(level, read, set(known.values()), level.folders[train[0]])
        _refuse_twice(found, what)
        return found
    if found := _with_affixes(level, read, set(), None):
        _refuse_twice(found, what)
        return found
    if level.filled and set(level.filled) <= set(exact) - set(train):
        raise UserError(f"{what}: found {listed(sorted(exact))} but no folder train with class folders.")
    _refuse_flat(level, {name: word for name, word in read.items() if level.folders[name].count}, what, many)
    return {}


def _with_affixes(
    level: Folder, read: dict[str, split_words.Named], taken: Collection[str], train: Folder | None
) -> dict[str, str]:
    """Returns the folders whose names only contain the word of a split, as far as they are built like `train`.

    Args:
        level: the folder that holds them.
        read: what the names of its sub-folders say.
        taken: splits that have a folder already.
        train: the folder of the split `train`; None where it is to be found here too.
    """
    named = {name: split for name, split in split_words.resolve(read).items() if split not in taken}
    rest = ""
    if train is None:
        name = next((n for n, s in named.items() if s == "train" and _has_classes(level.folders[n])), "")
        if not name:
            return {}
        train, rest = level.folders[name], read[name].rest
    classes = _through(train).filled

    def alike(name: str) -> bool:
        folder = level.folders[name]
        # A word alone is a split; so is a name built like that of `train`, or a folder with one of its classes.
        return read[name].rest in ("", rest) or bool(set(_beside(folder, classes).filled) & set(classes))

    found = {name: split for name, split in named.items() if alike(name)}
    # A single folder, such as the class train_station, says nothing.
    return found if taken or len(set(found.values())) > 1 else {}


def _has_classes(folder: Folder) -> bool:
    return bool(folder.folders) and not folder.examples


def _wrapped(folder: Folder) -> Folder | None:
    """Returns the one sub-folder that all examples are in, if their classes are below it."""
    only = list(folder.filled.values())
    fits = len(only) == 1 and not folder.examples and not only[0].examples and only[0].filled
    return only[0] if fits else None


def _through(folder: Folder) -> Folder:
    while only := _wrapped(folder):
        folder = only
    return folder


def _beside(folder: Folder, classes: Collection[str]) -> Folder:
    """Returns the folder in a split that holds class folders, by the names of the training classes."""
    while len(folder.filled) == 1 and not folder.examples:
        ((name, only),) = folder.filled.items()
        wraps = set(only.folders) & set(classes) or name == folder.base or split_words.named(name)
        if name in classes or not wraps:
            break
        folder = only
    return folder


def _refuse_twice(splits: dict[str, str], what: str) -> None:
    twice = [name for name, split in splits.items() if list(splits.values()).count(split) > 1]
    if twice:
        raise UserError(f"{what}: {', '.join(sorted(splits))} name a split twice; keep one folder a split.")


def _refuse_flat(level: Folder, read: dict[str, split_words.Named], what: str, many: str) -> None:
    """Refuses folders that are all named like splits, in one manner, and hold files right in them."""
    splits = set(split_words.resolve(read).values())
    manners = {word.rest for word in read.values()} - {"", "*"}
    if len(splits) > 1 and "train" in splits and set(read) == set(level.filled) and len(manners) < 2:
        first, *_ = names = sorted(read)
        raise UserError(
            f"{what}: its folders {listed(names)} are named like splits, and their {many} stand right in them; "
            f"expected one sub-folder a class inside, such as {one_line(first)}/{CLASS}. A CSV with path,label,split "
            f"does as well; if these are the classes, give layout={CLASS}."
        )


def _refuse_crossing(level: Folder, what: str, begin: str) -> None:
    """Refuses folders that hold the same sub-folders: either may be the classes."""
    folders = level.filled
    if len(folders) < 2 or any(folder.examples for folder in folders.values()):
        return
    times = Counter(name for folder in folders.values() for name in folder.filled)
    shared = sorted(name for name, count in times.items() if count > 1)
    seen = f"{what}: its {len(folders)} folders {listed(folders)} hold the same sub-folders"
    if all(split_words.named(name) for name in times):
        raise UserError(
            f"{seen} {listed(sorted(times))}, which are named like splits. If the upper ones are the classes, give "
            f"folder(path=..., layout={begin}{CLASS}/{SPLIT})."
        )
    if len(shared) > 1 and 2 * len(shared) >= len(times):
        raise UserError(
            f"{seen} {listed(shared)}: which are the classes? For the lower ones give folder(path=..., "
            f"layout={begin}{ANY}/{CLASS}), for the upper ones layout={begin}{CLASS}; if the upper ones are splits, "
            "name them train, validation and test."
        )


def _refuse_hidden_splits(level: Folder, what: str) -> None:
    """Refuses a data set with splits of its own in the place of a class."""
    for name, folder in level.filled.items():
        words = split_words.resolve(folder.filled)
        deep = [inner for inner in words if _has_classes(folder.folders[inner])]
        if len(level.filled) > 1 and "train" in words.values() and len(set(words.values())) > 1 and deep:
            raise UserError(
                f"{what}: its folders {listed(level.filled)} would be the classes, but {one_line(name)} holds the "
                f"splits {listed(sorted(words))}: give the path of {one_line(name)}, or layout={CLASS}."
            )


def _unusual(parts: dict[str, Folder]) -> Iterator[tuple[str, Folder]]:
    """Yields the splits whose folder is not what a reader would expect by its name."""
    for split, folder in parts.items():
        word = split_words.named(folder.name)
        if folder.name and (not split or word is None or word != (split, "")):
            yield split, folder


def _loose(folders: Collection[Folder]) -> Counter[str]:
    """Counts the files that are in these folders themselves."""
    total: Counter[str] = Counter()
    for folder in folders:
        total.update(folder.others)
        total.update(f"{os.path.splitext(name)[1].lower()}, in no class folder" for name in folder.examples)
    return total
