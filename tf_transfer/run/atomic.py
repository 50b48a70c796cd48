"""Atomic writes: a file or a folder is written beside its place, synced and renamed; readers see all of it or none."""

import contextlib
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

# Prefixes of the names of: what is being written, what it replaces, what is being removed.
NEW, OLD, GONE = ".new-", ".old-", ".gone-"


def write_file(target: Path, content: bytes) -> None:
    """Writes a file atomically; its folder must exist."""
    new = _beside(target)
    # Not by `tempfile`, whose files are for one user whatever the umask says.
    with new.open("xb") as file:
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            os.replace(new, target)
        except OSError:
            new.unlink()
            raise
    sync_entries(target.parent)


@contextlib.contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Yields an empty folder to fill; at the end it takes the place of `target`, on an error it is removed."""
    new, old = _beside(target), target.with_name(OLD + target.name)
    new.mkdir()
    try:
        yield new
        _sync(new)
        # 1. The old one moves away. 2. The new one moves in. After a crash between them, `sweep` puts the old one back.
        if target.exists():
            os.replace(target, old)
        os.replace(new, target)
        sync_entries(target.parent)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def reserve(folder: Path, size: int) -> None:
    """Fails where a folder has no room for a file of `size` bytes, for libraries that crash on a full disk.

    Raises:
        OSError: there is no room, by the disk, a quota or a limit of the process.
    """
    probe = folder / f"{NEW}room"
    try:
        with probe.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(1, size))
    finally:
        probe.unlink(missing_ok=True)


def remove(target: Path) -> bool:
    """Removes a file or a folder, under a rename first, so that nobody sees half of it; returns whether it existed."""
    if not os.path.lexists(target):
        return False
    gone = target.with_name(GONE + target.name)
    _discard(gone)
    os.replace(target, gone)
    _discard(gone)
    return True


def sweep(folder: Path) -> None:
    """Completes or removes what a crash left half written in a folder; no other process may be writing there."""
    for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
        if entry.name.startswith(OLD) and not os.path.lexists(place := folder / entry.name.removeprefix(OLD)):
            os.replace(entry, place)
        elif entry.name.startswith((NEW, OLD, GONE)):
            _discard(entry)


def digest(path: Path) -> str:
    """Returns 128 hex digits that identify the content of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


def _beside(target: Path) -> Path:
    """Returns a name in the folder of `target` that nothing has yet."""
    return target.with_name(NEW + secrets.token_hex(8))


def _discard(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry, ignore_errors=True)
    else:
        entry.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    """Waits until a folder and all files in it are on the disk."""
    for place, _, files in os.walk(folder):
        for name in files:
            with open(os.path.join(place, name), "rb") as file:
                os.fsync(file.fileno())
        sync_entries(place)


def sync_entries(folder: str | Path) -> None:
    """Waits until the names in a folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
