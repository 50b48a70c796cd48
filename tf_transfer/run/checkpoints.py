"""Checkpoints of a phase in training: written whole or not at all, verified, and found again after a crash.

    checkpoints/PHASE/step-000000120/   arrays.npz   facts.json   manifest.json
    checkpoints/PHASE/best-0003/        arrays.npz   facts.json   manifest.json
    checkpoints/PHASE.frozen/           the same of one of several trainings between which validation chooses

A checkpoint holds everything that the rest of the phase depends on. The best weights so far have a folder of their own,
written when they change. Arrays are in NumPy's format, read without pickle; the manifest has the digests of the other
two files. A folder whose digests differ is reported and skipped.
"""

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tf_transfer.errors import UserError, one_line
from tf_transfer.run import atomic
from tf_transfer.run.directory import RunDir

FOLDER, ARRAYS, FACTS, MANIFEST = "checkpoints", "arrays.npz", "facts.json", "manifest.json"
# How many checkpoints of a phase are kept: the newest ones.
_KEPT = 2
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def leg_of(phase: str, leg: str = "") -> str:
    """Returns the name of the folder of a phase's checkpoints, or of one of several trainings of the phase."""
    return f"{phase}.{leg}" if leg else phase


def begun(run: RunDir, phase: str) -> bool:
    """Says whether a phase has checkpoints that are of no leg."""
    return any((run.path / FOLDER / phase).glob("step-*"))


def legs(run: RunDir, phase: str) -> list[str]:
    """Returns which of several trainings of a phase have checkpoints."""
    found = (run.path / FOLDER).glob(f"{leg_of(phase, '*')}/step-*")
    return sorted({path.parent.name.partition(".")[2] for path in found})


def forget(run: RunDir, phase: str) -> None:
    """Removes all checkpoints of a phase."""
    for leg in ("", *(path.name.partition(".")[2] for path in (run.path / FOLDER).glob(leg_of(phase, "*")))):
        run.forget(f"{FOLDER}/{leg_of(phase, leg)}")


@dataclass(frozen=True)
class Every:
    """How often to save: every `steps` steps, or every `seconds` seconds; never where both are None."""

    steps: int | None = None
    seconds: float | None = None


def parse_every(text: str) -> Every:
    """Parses `--checkpoint_every`: `500` steps, `300s`, `5m`, `1h`, or `off`.

    Raises:
        UserError: it is none of these.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    number = float(found[1]) if found else 0.0
    if text.strip() == "off":
        return Every()
    if not number or (not found[2] and number != int(number)):
        raise UserError(
            f"--checkpoint_every={one_line(text)!r}: expected steps such as 500, a time such as 5m, or off."
        )
    return Every(seconds=number * _UNITS[found[2]]) if found[2] else Every(steps=int(number))


@dataclass(frozen=True)
class Saved:
    """What a checkpoint holds.

    Attributes:
        step: training steps done.
        arrays: by name.
        best: the best weights so far, or None.
        facts: everything else, as plain JSON.
    """

    step: int
    arrays: dict[str, np.ndarray]
    best: list[np.ndarray] | None
    facts: dict[str, Any]


class Unkept:
    """Stands in for `Checkpoints` where nothing is saved."""

    last = None

    def load(self) -> None:
        """Returns None: there is no checkpoint."""

    def due(self, step: int) -> bool:
        """Returns False: it is never time to save."""
        return False

    def save(self, step: int, arrays: Mapping, best: Any, facts: Mapping) -> None:
        """Saves nothing."""


class Checkpoints:
    """The checkpoints of one phase of a run.

    Args:
        run: the run directory.
        phase: the phase.
        every: when they are due.
        warn: called with a line about each damaged checkpoint.

    Attributes:
        last: step of the newest checkpoint that was written or loaded, or None.
    """

    def __init__(self, run: RunDir, phase: str, every: Every = Every(), warn: Callable[[str], None] = print):
        self.run, self.phase, self.every, self.warn = run, phase, every, warn
        self.last: int | None = None
        self._last_time = time.monotonic()
        # Best weights that this training wrote itself; others may be left from before a crash or a rollback.
        self._own: set[str] = set()

    @property
    def folder(self) -> Path:
        """The folder of the phase's checkpoints."""
        return self.run.path / FOLDER / self.phase

    def due(self, step: int) -> bool:
        """Says whether it is time to save after `step` steps."""
        if self.every.steps:
            return step // self.every.steps > (self.last or 0) // self.every.steps
        return self.every.seconds is not None and time.monotonic() - self._last_time >= self.every.seconds

    def save(
        self,
        step: int,
        arrays: Mapping[str, np.ndarray],
        best: tuple[int, Sequence[np.ndarray]] | None,
        facts: Mapping[str, Any],
    ) -> None:
        """Writes a checkpoint, then removes the older ones that it replaces.

        Args:
            step: training steps done.
            arrays: by name.
            best: number of the best epoch and its weights, or None.
            facts: everything else, as plain JSON.

        Raises:
            UserError: the checkpoint cannot be written; earlier ones stay as they are.
        """
        self.last, self._last_time = step, time.monotonic()
        if not self.run.writes:
            return
        best_name = f"best-{best[0]:04d}" if best else None
        if best and best_name not in self._own:
            self._write(best_name, {str(i): a for i, a in enumerate(best[1])}, {})
            self._own.add(best_name)
        name = f"step-{step:09d}"
        self._write(name, arrays, {"step": step, "best": best_name, "facts": facts})
        for old in [n for n in self._names("step-") if n != name][: 1 - _KEPT]:
            self.run.forget(f"{FOLDER}/{self.phase}/{old}")
        needed = {_read(self.folder / n / FACTS).get("best") for n in self._names("step-")}
        for old in set(self._names("best-")) - needed:
            self.run.forget(f"{FOLDER}/{self.phase}/{old}")

    def _write(self, name: str, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> None:
        with self.run.write_folder(f"{FOLDER}/{self.phase}/{name}") as folder:
            np.savez(folder / ARRAYS, **arrays)
            (folder / FACTS).write_text(json.dumps(facts))
            digests = {part: atomic.digest(folder / part) for part in (ARRAYS, FACTS)}
            (folder / MANIFEST).write_text(json.dumps(digests))

    def load(self) -> Saved | None:
        """Returns the newest checkpoint whose digests agree, or None; reports damaged ones and removes them."""
        names = self._names("step-")
        for name in reversed(names):
            facts = _facts(self.folder / name)
            best = facts and facts["best"]
            if facts is None or (best and _facts(self.folder / best) is None):
                damaged = best if facts else name
                self.warn(f"{one_line(self.folder / damaged)} is damaged and passed over.")
                self.run.forget(f"{FOLDER}/{self.phase}/{name}")
                continue
            weights = _arrays(self.folder / best) if best else None
            self.last, self._last_time = facts["step"], time.monotonic()
            self._own = {best} - {None}
            return Saved(
                facts["step"],
                _arrays(self.folder / name),
                [weights[str(i)] for i in range(len(weights))] if weights else None,
                facts["facts"],
            )
        if names:
            self.warn(f"no checkpoint of {self.phase} is whole: it begins again from its start.")
        return None

    def clear(self) -> None:
        """Removes all checkpoints of the phase."""
        self._own = set()
        self.run.forget(f"{FOLDER}/{self.phase}")

    def _names(self, start: str) -> list[str]:
        if not self.folder.is_dir():
            return []
        return sorted(entry.name for entry in self.folder.iterdir() if entry.name.startswith(start))


def _facts(folder: Path) -> dict | None:
    """Returns the facts in a checkpoint's folder, or None where a file differs from what was written."""
    try:
        found = {part: atomic.digest(folder / part) for part in (ARRAYS, FACTS)}
    except OSError:
        return None
    return _read(folder / FACTS) if _read(folder / MANIFEST) == found else None


def _read(path: Path) -> Any:
    """Returns the content of a JSON file; {} where it cannot be read."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return {}


def _arrays(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / ARRAYS, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}
