"""A folder and all that is below it, listed once: examples by name, other files by kind."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from tf_transfer.data.examples import Kind, is_example, why_not

# Written by archivers, file servers and file systems beside the data: thumbnails, resource forks, lost blocks.
_OF_SYSTEMS = {"__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found", "__pycache__"}


@dataclass
class Folder:
    """One folder; hidden sub-folders and those of archivers and file systems are not looked into.

    Attributes:
        name: its path from the folder that was listed, "" for that one itself.
        folders: its sub-folders by name, sorted; those that are links too.
        examples: names of the files in it that hold an example.
        others: how many other files are in it, by ending and reason, see `examples.why_not`.
        loops: paths of links in it that lead back to a folder above them, which are not followed.
    """

    name: str
    folders: dict[str, "Folder"] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    loops: list[str] = field(default_factory=list)

    @cached_property
    def count(self) -> int:
        """Number of the examples in it and below."""
        return len(self.examples) + sum(folder.count for folder in self.folders.values())

    @property
    def filled(self) -> dict[str, "Folder"]:
        """The sub-folders that hold examples, at any depth."""
        return {name: folder for name, folder in self.folders.items() if folder.count}

    @property
    def base(self) -> str:
        """Its own name, without the path."""
        return os.path.basename(self.name)

    def walk(self) -> Iterator["Folder"]:
        """Yields the folder and all below it."""
        yield self
        for folder in self.folders.values():
            yield from folder.walk()

    def paths(self) -> Iterator[str]:
        """Yields the paths of all examples, from the folder that was listed."""
        return (os.path.join(folder.name, name) for folder in self.walk() for name in folder.examples)


def read(root: str, kind: Kind) -> Folder:
    """Lists a folder and all below it; follows links to folders.

    Raises:
        OSError: a folder cannot be listed.
    """
    return _read(root, "", kind, ())


def _read(root: str, name: str, kind: Kind, above: tuple[tuple[int, int], ...]) -> Folder:
    place = os.path.join(root, name) if name else root
    status = os.stat(place)
    above = (*above, (status.st_dev, status.st_ino))
    folder, below = Folder(name), []
    with os.scandir(place) as entries:
        for entry in entries:
            if entry.is_dir():
                below.append((entry.name, entry.is_symlink()))
            elif not entry.name.startswith(".") and is_example(entry.path, kind):
                folder.examples.append(entry.name)
            else:
                folder.others[why_not(entry.path, kind)] += 1
    for inner, is_link in sorted(below):
        if inner.startswith(".") or inner in _OF_SYSTEMS:
            continue
        path = os.path.join(name, inner)
        # A link to a folder above would be followed without end.
        if is_link and _identity(os.path.join(root, path)) in above:
            folder.loops.append(path)
        else:
            folder.folders[inner] = _read(root, path, kind, above)
    return folder


def _identity(place: str) -> tuple[int, int]:
    status = os.stat(place)
    return status.st_dev, status.st_ino
