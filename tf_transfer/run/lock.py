"""File locks, which end with the process that holds them; `locked` lets one process at a time write a run directory."""

import contextlib
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import filelock

from tf_transfer.errors import UserError, one_line

NAME = ".lock"


def take(file: int, unlockable: Callable[[], bool] = lambda: True) -> bool:
    """Takes the operating system's lock of an open file, without waiting; closing the file releases it.

    Args:
        file: a descriptor.
        unlockable: called on a file system without locks; returns whether the lock counts as taken.

    Returns:
        False where another descriptor, of this process or of another, holds the lock.
    """
    try:
        return filelock.lock_descriptor(file, blocking=False)
    except OSError:
        return unlockable()


def opened(path: Path, unlockable: Callable[[int], bool] = lambda file: True) -> int | None:
    """Opens a file to read and write, creates it where needed, and takes its lock.

    Args:
        path: of the file.
        unlockable: as for `take`, called with the descriptor.

    Returns:
        A descriptor; None where another process holds the lock.

    Raises:
        OSError: the file cannot be opened.
    """
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        if not take(file, lambda file=file: unlockable(file)):
            os.close(file)
            return None
        # Its last holder may have deleted the file between the two calls: then the lock is of a deleted file.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.stat(path), os.fstat(file)):
                return file
        os.close(file)


@contextlib.contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """Holds the folder's lock inside; creates the folder where needed, and removes it at the end where it is empty.

    The lock ends with the process that holds it, even by a kill: a lock file left behind does not block. The file says
    who holds the lock. On a file system without locks the file alone decides; one that a dead process of this host left
    is taken over.

    Raises:
        UserError: another process holds the lock (the message says which), or the folder cannot be written.
    """
    folder = Path(os.path.expanduser(folder))
    path = folder / NAME
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise UserError(f"--run_dir={one_line(folder)!r} is a file; expected a folder.")
    try:
        # Weights and models are written by libraries that take text alone.
        str(folder).encode()
    except UnicodeEncodeError:
        raise UserError(
            f"--run_dir={one_line(folder)!r}: expected a name in UTF-8; rename it, or set PYTHONUTF8=1."
        ) from None
    # os.path: Path.exists raises where a name is too long.
    above = [folder, *(parent for parent in folder.parents if not os.path.exists(parent))]
    try:
        # Parents are created too; where that fails, such as for a mistyped path, the error says why.
        folder.mkdir(parents=True, exist_ok=True)
        file = opened(path, lambda file: not _alive(_holder(file)))
        if file is None:
            raise UserError(_refusal(folder))
        _sign(file)
    except OSError as e:
        raise UserError(f"--run_dir={one_line(folder)!r} cannot be written: {e.strerror}.") from e
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
            # Folders created above are removed where the command wrote nothing into them: rmdir fails on others.
            for made in above:
                made.rmdir()
        os.close(file)


def _sign(file: int) -> None:
    """Writes who holds the lock."""
    holder = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        "begun": begun(os.getpid()),
    }
    os.ftruncate(file, 0)
    os.pwrite(file, json.dumps(holder).encode() + b"\n", 0)


def _holder(file: int) -> dict:
    try:
        holder = json.loads(os.pread(file, 4096, 0))
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) else {}


def _alive(holder: dict) -> bool:
    """Whether the holder may still run: a live process of this host, or any process of another host."""
    if holder.get("host") != socket.gethostname():
        return bool(holder)
    # Its number may belong to another process by now, as in a restarted container: so its start is compared, too.
    return isinstance(holder.get("pid"), int) and holder.get("begun") == begun(holder["pid"]) is not None


def begun(pid: int) -> str | None:
    """Returns the start of a process of this host, in ticks since boot; None where there is no such process."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return None


def _refusal(folder: Path) -> str:
    who = "another process"
    with contextlib.suppress(OSError), (folder / NAME).open("rb") as file:
        if holder := _holder(file.fileno()):
            who = one_line(f"process {holder.get('pid')} on {holder.get('host')}, since {holder.get('since')}")
    return (
        f"--run_dir={one_line(folder)!r} is in use by {who}. Wait for it, stop it, or use another --run_dir; "
        f"where nobody is at work any more, delete {NAME} in it."
    )
