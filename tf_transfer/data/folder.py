"""A folder of files, one sub-folder a class, with or without folders for the splits."""

import os
from collections import Counter
from collections.abc import Iterator

from tf_transfer.data.examples import Examples, is_example
from tf_transfer.data.file_source import FileSource, Row
from tf_transfer.data.splits import SPLIT_NAMES
from tf_transfer.errors import UserError, one_line


def open_folder(path: str, test_fraction: float = 0.2, *, modality: Examples, max_unreadable: int = 0) -> FileSource:
    """Opens `path/<class>/*.jpg`, or `path/train/<class>/*.jpg` with `validation` and `test` beside `train`.

    Files may be deeper inside their class folder. Files with another extension and hidden
    ones are ignored, and counted in the notes. `val` and `valid` mean `validation`.

    Args:
        path: the folder.
        test_fraction: share of every class that becomes the test split where there is none.
        modality: of the files.
        max_unreadable: how many files may be skipped because they cannot be decoded.

    Raises:
        UserError: no such folder, no examples, one class only, or a class that `train` lacks.
    """
    root = os.path.abspath(os.path.expanduser(str(path)))
    what = f"folder(path={one_line(path)})"
    if not os.path.isdir(root):
        found = "a file" if os.path.exists(root) else "nothing"
        raise UserError(f"{what}: expected a folder of class folders, found {found}.")
    notes: dict[str, list[str]] = {}
    try:
        rows = _list_examples(root, what, notes, modality)
    except OSError as e:
        raise UserError(f"{what}: {one_line(e.filename)} cannot be listed: {e.strerror}.") from e
    if not rows and (loose := [name for name in _entries(root)[1] if is_example(name, modality.endings)]):
        raise UserError(
            f"{what}: its {len(loose):,} {modality.many} stand right in it, such as {one_line(min(loose))}; expected "
            f"one sub-folder a class, named after it, with the {modality.many} of that class. A CSV with path,label "
            "does as well."
        )
    return FileSource(what, rows, test_fraction, max_unreadable, notes, modality)


def _list_examples(root: str, what: str, notes: dict[str, list[str]], modality: Examples) -> list[Row]:
    splits = _split_folders(root, what, modality)
    ignored: Counter[str] = Counter()
    if "" not in splits and (extra := [name for name in _entries(root)[0] if name not in splits]):
        notes["ignored_folders"] = [f"Folders beside train that are no splits: {one_line(', '.join(extra))}."]
    rows, empty = [], []
    for folder, split in splits.items():
        classes, loose = _entries(os.path.join(root, folder))
        ignored.update(_kind(name) for name in loose)
        for label in classes:
            paths = list(_files(os.path.join(root, folder, label), ignored, modality))
            rows += [Row(split, label, path, os.path.relpath(path, root)) for path in paths]
            if not paths:
                empty.append(one_line(os.path.join(folder, label)))
    if ignored:
        kinds = ", ".join(f"{count} {one_line(kind)}" for kind, count in sorted(ignored.items()))
        notes["ignored"] = [f"{ignored.total()} files are not taken for {modality.many} of a class: {kinds}."]
    if empty:
        notes["empty"] = [f"{len(empty)} class folders without {modality.many}: {', '.join(empty[:10])}."]
    return rows


def _split_folders(root: str, what: str, modality: Examples) -> dict[str, str]:
    """Returns the folders of the splits, with the split of each; {"": ""} where there are no splits."""
    folders, _ = _entries(root)
    splits = {name: SPLIT_NAMES[name] for name in folders if name in SPLIT_NAMES}
    below, loose = _entries(os.path.join(root, "train")) if "train" in splits else ([], [])
    # `train` can be the name of a class too: then it holds files directly.
    if below and not any(is_example(name, modality.endings) for name in loose):
        if len(set(splits.values())) < len(splits):
            raise UserError(f"{what}: {', '.join(sorted(splits))} name a split twice; keep one folder a split.")
        return splits
    if folders and len(splits) == len(folders) and "train" not in splits:
        raise UserError(f"{what}: found {', '.join(sorted(folders))} but no folder train.")
    return {"": ""}


def _entries(folder: str) -> tuple[list[str], list[str]]:
    """Returns the names of the visible sub-folders, sorted, and of all the files."""
    with os.scandir(folder) as entries:
        listed = [(entry.name, entry.is_dir()) for entry in entries]
    folders = sorted(name for name, is_folder in listed if is_folder and not name.startswith("."))
    return folders, [name for name, is_folder in listed if not is_folder]


def _files(folder: str, ignored: Counter[str], modality: Examples) -> Iterator[str]:
    """Yields the paths of the examples in a folder and below it; counts the other files."""
    for place, folders, files in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if is_example(name, modality.endings):
                yield os.path.join(place, name)
            else:
                ignored[_kind(name)] += 1


def _refuse(error: OSError) -> None:
    raise error


def _kind(name: str) -> str:
    return "hidden" if name.startswith(".") else os.path.splitext(name)[1].lower() or "without extension"
