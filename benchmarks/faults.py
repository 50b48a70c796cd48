"""Makes things go wrong in real runs, and keeps what the user sees and what the process exits with.

python -m benchmarks.faults [--json=FILE]
"""

import argparse
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks import crash, distributed, runner

Seen = tuple[str, int]


def _told(process: subprocess.Popen) -> Seen:
    """Returns what a process said that is about the fault, on standard error or as a note, and its exit code."""
    output, error = process.communicate()
    notes = [line for line in (output or "").splitlines() if "damaged" in line or "goes on" in line]
    return "\n".join([*notes, *filter(None, error.splitlines())]), process.returncode


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def preempted(folder: Path) -> Seen:
    """SIGTERM in the middle of a phase."""
    code, error = crash.stopped(folder / "run", signal.SIGTERM)
    return error.strip(), code


def continued(folder: Path) -> Seen:
    """The same command after that."""
    crash.stopped(folder / "run", signal.SIGTERM)
    return _told(crash.start(folder / "run", stdout=subprocess.PIPE))


def second_writer(folder: Path) -> Seen:
    """A second command on a run directory that is in use."""
    first = crash.start(folder / "run")
    crash.wait_for(folder / "run", "config.json", first)
    seen = _told(crash.start(folder / "run"))
    first.kill()
    first.communicate()
    return seen


def other_options(folder: Path) -> Seen:
    """Another rate after a kill."""
    crash.stopped(folder / "run", signal.SIGKILL)
    return _told(crash.start(folder / "run", "--learning_rate=full:0.01"))


def flipped_bit(folder: Path) -> Seen:
    """A bit of the newest checkpoint flipped after a kill."""
    crash.stopped(folder / "run", signal.SIGKILL)
    _flip(max((folder / "run/checkpoints/full").glob("step-*")) / "arrays.npz")
    return _told(crash.start(folder / "run", stdout=subprocess.PIPE))


def full_disk(folder: Path) -> Seen:
    """The disk is full while a checkpoint is written (where a file system may be mounted)."""
    disk = folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2500k", "tmpfs", str(disk)], check=True)
    try:
        return _told(crash.start(disk / "run"))
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def diverged(folder: Path) -> Seen:
    """A rate far too high."""
    return _told(crash.start(folder / "run", "--learning_rate=1000", "--warmup=0"))


def rolled_back(folder: Path) -> Seen:
    """The same with `--on_nan=rollback`, which halves it twice in vain."""
    return _told(crash.start(folder / "run", "--learning_rate=1000", "--warmup=0", "--on_nan=rollback"))


def lost_worker(folder: Path) -> Seen:
    """One of two workers killed; seen by the other."""
    flags = (*distributed.BASE, "--weights=random", "--epochs=full:200", "--checkpoint_every=2", "--worker_timeout=20")
    one, other = distributed.workers(2, *flags, f"--run_dir={folder / 'run'}")
    crash.wait_for(folder / "run", "checkpoints/full/step-*", one, other)
    other.kill()
    other.communicate()
    return _told(one)


def no_saved_model(folder: Path) -> Seen:
    """A damaged SavedModel given to predict."""
    (folder / "saved_model.pb").write_bytes(b"hello")
    (folder / "x.png").write_bytes(b"")
    return _run(folder, "--phase=predict", "--saved_model=.", "--inputs=x.png", "--predictions=out.csv")


def cut_weights(folder: Path) -> Seen:
    """A weights file cut short."""
    (folder / "mine.weights.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    return _run(folder, "--phase=head", "--dataset=digits", "--backbone=small_resnet", "--weights=mine.weights.h5")


def outside(folder: Path) -> Seen:
    """A CSV whose path leaves its folder."""
    (folder / "data").mkdir()
    (folder / "data/list.csv").write_text("path,label\n../secret.png,a\n")
    return _run(
        folder, "--phase=head", "--dataset=csv(path=data/list.csv)", "--backbone=small_resnet", "--weights=random"
    )


def bad_pictures(folder: Path) -> Seen:
    """An empty file among the pictures."""
    for name in ("a/1.png", "b/1.png"):
        (folder / "data" / name).parent.mkdir(parents=True)
        (folder / "data" / name).write_bytes(b"")
    return _run(
        folder, "--phase=head", "--dataset=data", "--backbone=small_resnet", "--weights=random", "--max_unreadable=0"
    )


def _run(folder: Path, *flags: str) -> Seen:
    command = [sys.executable, str(runner.ROOT / "run.py"), *flags]
    return _told(subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))


FAULTS: tuple[Callable[[Path], Seen], ...] = (
    preempted, continued, second_writer, other_options, flipped_bit, full_disk, diverged, rolled_back, lost_worker,
    no_saved_model, cut_weights, outside, bad_pictures,
)  # fmt: skip


def measure(args: argparse.Namespace) -> dict:
    """Returns for each fault what was seen, with the folder it happened in left out."""
    found = []
    for fault in FAULTS:
        with tempfile.TemporaryDirectory() as place:
            text, code = fault(Path(place))
        title = fault.__doc__.rstrip(".")
        seen = re.sub(rf"\b{re.escape(socket.gethostname())}\b", "host", text.replace(f"{place}/", ""))
        found.append({"fault": title, "seen": seen, "code": code})
    return {"faults": found}


def render(record: Mapping) -> list[str]:
    """Returns the lines of the page: each fault with what is seen."""
    parts = ["## What you see", ""]
    for fault in record["faults"]:
        parts += [f"**{fault['fault']}** (exit code {fault['code']})", "", "```", fault["seen"], "```", ""]
    return parts


if __name__ == "__main__":
    runner.command(__doc__, measure, render)
