"""A folder of files, one sub-folder a class, with or without folders for the splits."""

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from tf_transfer.data import groups, tree
from tf_transfer.data import layout as layouts
from tf_transfer.data.examples import Examples, Row
from tf_transfer.data.file_source import CARVE, FileSource
from tf_transfer.errors import UserError, one_line


def open_folder(
    path: str,
    test_fraction: float = 0.2,
    layout: str | None = None,
    *,
    modality: Examples,
    max_unreadable: int = 0,
    group_by: str | None = None,
    carve: int = CARVE,
    progress: Callable[[int, int, str], None] | None = None,
    near_copies: int | None = None,
) -> FileSource:
    """Opens `path/<class>/*.jpg`, or `path/train/<class>/*.jpg` with `validation` and `test` beside `train`.

    Files may be deeper inside their class folder. Files with another extension and hidden
    ones are ignored, and counted in the notes. Links are followed. The usual other names of
    splits are known, and folders that only hold one other folder are looked through, see `layout.find`.

    Args:
        path: the folder.
        test_fraction: share of every class that becomes the test split where there is none.
        layout: what each level of folders is, such as `CLASS/SPLIT` or `*/CLASS`; by default it is found.
        modality: of the files.
        max_unreadable: how many files may be skipped because they cannot be decoded.
        group_by: what of a path names the group of an example, see `groups.of_paths`; None: no groups.
        carve: see `file_source.FileSource`.
        progress: the same.
        near_copies: the same.

    Raises:
        UserError: no such folder, no examples, one class only, a class that `train` lacks, or a layout that may be
            read in two ways.
    """
    root = os.path.abspath(os.path.expanduser(str(path)))
    what = f"folder(path={one_line(path)})"
    if not os.path.isdir(root):
        found = "a file" if os.path.exists(root) else "nothing"
        raise UserError(f"{what}: expected a folder of class folders, found {found}.")
    try:
        top = tree.read(root, modality)
    except OSError as e:
        raise UserError(f"{what}: {one_line(e.filename)} cannot be listed: {e.strerror}.") from e
    found = layouts.follow(top, layout, what) if layout else layouts.find(top, what, modality.many)
    rows = [
        Row(split, label, os.path.join(root, name), name)
        for split, label, folder in found.classes
        for name in folder.paths()
    ]
    if not rows and (loose := top.examples):
        raise UserError(
            f"{what}: its {len(loose):,} {modality.many} stand right in it, such as {one_line(min(loose))}; expected "
            f"one sub-folder a class, named after it, with the {modality.many} of that class. A CSV with path,label "
            "does as well."
        )
    if not rows and (others := sum((folder.others for folder in top.walk()), Counter())):
        raise UserError(
            f"{what}: no {modality.one} in it, but {_listed(others)}; expected "
            f"{', '.join((*modality.endings, *modality.convertible))} files."
        )
    if group_by is not None:
        named = groups.of_paths(rows, str(group_by), what)
        rows = [replace(row, group=group) for row, group in zip(rows, named, strict=True)]
    notes = found.notes | _left_out(top, found, modality)
    return FileSource(what, rows, test_fraction, max_unreadable, notes, modality, carve, progress, near_copies)


def _left_out(top: tree.Folder, found: layouts.Layout, modality: Examples) -> dict[str, list[str]]:
    """Returns notes about files, folders and links that give no examples."""
    notes: dict[str, list[str]] = {}
    inside = [folder for _, _, place in found.classes for folder in place.walk()]
    ignored = sum((folder.others for folder in inside), Counter(found.loose))
    if ignored:
        notes["ignored"] = [
            f"{ignored.total()} files are not taken for {modality.many} of a class: {_listed(ignored)}."
        ]
    if empty := [one_line(folder.name) for _, _, folder in found.classes if not folder.count]:
        notes["empty"] = [f"{len(empty)} class folders without {modality.many}: {', '.join(empty[:10])}."]
    if loops := [one_line(name) for folder in top.walk() for name in folder.loops]:
        notes["links"] = [
            f"{len(loops)} links lead back to a folder above them and are left out: {', '.join(loops[:10])}."
        ]
    return notes


def _listed(others: Counter[str]) -> str:
    return "; ".join(f"{count} {one_line(why)}" for why, count in sorted(others.items()))
