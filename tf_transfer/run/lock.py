"""One writer at a time in a run directory."""

import contextlib
import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from tf_transfer.errors import UserError, one_line

NAME = ".lock"


@contextlib.contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """Holds the folder's lock; makes the folder where needed, and takes an empty one away again.

    The lock is the operating system's and ends with the process that holds it, however that ends: a stale file is
    taken over. The file says who holds it. On a file system that knows no locks, the file alone decides, and one left
    by a dead process of this host is taken over.

    Raises:
        UserError: another process holds it, or the folder cannot be written; the message says who.
    """
    folder = Path(folder).expanduser()
    path = folder / NAME
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise UserError(f"--run_dir={one_line(folder)!r} is a file; expected a folder.")
    above = [folder, *(parent for parent in folder.parents if not parent.exists())]
    try:
        # No parent is made silently for a mistyped path that cannot be written: the error says why.
        folder.mkdir(parents=True, exist_ok=True)
        file = _acquire(path)
    except OSError as e:
        raise UserError(f"--run_dir={one_line(folder)!r} cannot be written: {e.strerror}.") from e
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
            # Nothing was begun where they are still empty.
            for made in above:
                made.rmdir()
        os.close(file)


def _acquire(path: Path) -> int:
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            if e.errno in (errno.EWOULDBLOCK, errno.EACCES) or _alive(_holder(file)):
                holder = _holder(file)
                os.close(file)
                raise UserError(_refusal(path.parent, holder)) from e
        # The one who held it may have taken the file away between the two calls: then this is no file of the folder.
        with contextlib.suppress(FileNotFoundError):
            if os.stat(path).st_ino == os.fstat(file).st_ino:
                break
        os.close(file)
    holder = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        "begun": _begun(os.getpid()),
    }
    os.ftruncate(file, 0)
    os.pwrite(file, json.dumps(holder).encode() + b"\n", 0)
    return file


def _holder(file: int) -> dict:
    try:
        holder = json.loads(os.pread(file, 4096, 0))
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) else {}


def _alive(holder: dict) -> bool:
    """True where the holder may be at work: a process of this host, or of one that cannot be asked."""
    if holder.get("host") != socket.gethostname():
        return bool(holder)
    # Another process may have its number by now: in a container started anew, mostly the same one.
    return isinstance(holder.get("pid"), int) and holder.get("begun") == _begun(holder["pid"]) is not None


def _begun(pid: int) -> str | None:
    """Returns when a process of this host was started, in ticks since the system was; None where there is none."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return None


def _refusal(folder: Path, holder: dict) -> str:
    who = "another process"
    if holder:
        who = one_line(f"process {holder.get('pid')} on {holder.get('host')}, since {holder.get('since')}")
    return (
        f"--run_dir={one_line(folder)!r} is in use by {who}. Wait for it, stop it, or use another --run_dir; "
        f"where nobody is at work any more, delete {NAME} in it."
    )
