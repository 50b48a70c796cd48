"""Resumes an interrupted phase: keeps its checkpoints, records and options consistent with each other."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

from tf_transfer.config import canonical
from tf_transfer.errors import UserError, one_line
from tf_transfer.phases.catalogue import PHASES
from tf_transfer.run.checkpoints import Checkpoints, Saved, leg_of, parse_every
from tf_transfer.session.session import Session

# Options that may change when an interrupted phase is resumed. `epochs` may grow, too.
_HARMLESS = {"patience"}
# Columns of a phase's history whose names in version 0.1.0 were others.
_RENAMED = {"images_per_second": "examples_per_second"}
# A phase begins with these two records, its start and its plan; without a checkpoint it goes back to them.
_FIRST_RECORDS = 2


class Resume:
    """The checkpoints of a phase together with its records in the run, for `loop.fit`.

    Args:
        session: the command.
        phase: the phase.
        identity: everything that decides what training computes, by name.
        history: the logged epochs, in order; `load` sets it back to the checkpoint's.
        leg: name of one of several trainings between which validation chooses; each has checkpoints of its own.
    """

    def __init__(self, session: Session, phase: str, identity: Mapping[str, Any], history: list, leg: str = ""):
        every = parse_every(session.config.run.checkpoint_every)
        self.checkpoints = Checkpoints(session.run, leg_of(phase, leg), every, session.console.note)
        self.run, self.phase, self.history, self.restart = session.run, phase, history, session.restart
        self.identity, self._begun, self._before = dict(identity), time.monotonic(), 0.0
        self._given = session.given
        self._found = self._first()
        self.identity |= self.kept

    def _first(self) -> Saved | None:
        found = self.checkpoints.load()
        differ = self._differences(found.facts["identity"]) if found else []
        if differ and not self.restart:
            raise UserError(
                f"--phase={self.phase} was interrupted at step {self.checkpoints.last} with other options: "
                f"{one_line('; '.join(differ), 400)}. Give the same ones to go on, or --restart to begin it anew."
            )
        # With --restart, only a training that the same command with --restart began is resumed.
        if found and not (self.restart and (differ or not found.facts["restart"])):
            self._before = found.facts["seconds"]
            return found
        self.checkpoints.clear()
        self.checkpoints.last = None
        return None

    def _differences(self, then: Mapping[str, Any]) -> list[str]:
        # Version 0.1.0 knew no other method than the phase's own.
        found, then = [], {"method": PHASES[self.phase].method} | canonical(then)
        for name in dict.fromkeys([*then, *self.identity]):
            old, new = then.get(name), self.identity.get(name)
            # Where --ema is not given, it follows from the epochs; the interrupted phase keeps its own, see `kept`.
            longer = name == "epochs" and old is not None and new >= old
            follows = name == "ema" and name not in self._given
            if old != new and not longer and not follows and name not in _HARMLESS:
                shorter = f"epochs was {old:g}, now {new:g} (more would be taken)" if name == "epochs" and old else None
                found.append(shorter or f"{name} was {old!r}, now {new!r}")
        return found

    @property
    def step(self) -> int | None:
        """The step from which training resumes, or None where it begins."""
        return self._found.step if self._found else None

    @property
    def kept(self) -> dict[str, Any]:
        """Options that a resumed phase keeps, although more epochs would give them other values."""
        if self._found is None or "ema" in self._given:
            return {}
        return {"ema": self._found.facts["identity"]["ema"]}

    @property
    def last(self) -> int | None:
        """Step of the newest checkpoint, or None."""
        return self.checkpoints.last

    @property
    def seconds(self) -> float:
        """Seconds that the phase has taken so far, earlier commands included."""
        return self._before + time.monotonic() - self._begun

    def recount(self, record: Callable[[], None], seconds: float, wait: Callable[[], None]) -> None:
        """Makes records that belong to the newest checkpoint, once, and saves it again, with them counted.

        What a crash leaves of them is removed, and they are made again.

        Args:
            record: makes them; the history is then the checkpoint's.
            seconds: that the phase has taken so far.
            wait: waits until all workers have read the checkpoint.
        """
        found = self.checkpoints.load()
        self.history[:] = found.facts["history"]
        wait()
        if found.facts["records"] > _FIRST_RECORDS:
            return
        self.run.rewind(self.phase, _FIRST_RECORDS)
        record()
        self._before += seconds - self.seconds
        best = (found.facts["fit"]["result"]["best_epoch"], found.best) if found.best else None
        self.save(found.step, found.arrays, best, found.facts["fit"])
        # `load` is to read the checkpoint that counts them, not what this command found before.
        self._found = None

    def due(self, step: int) -> bool:
        """Says whether it is time to save."""
        return self.run.writes and self.checkpoints.due(step)

    def load(self) -> Saved | None:
        """Returns the newest checkpoint, and removes the records made after it."""
        if self._found:
            self._before, self._begun = self._found.facts["seconds"], time.monotonic()
        found, self._found = self._found or self.checkpoints.load(), None
        self.run.rewind(self.phase, found.facts["records"] if found else _FIRST_RECORDS)
        rows = found.facts["history"] if found else []
        self.history[:] = [{_RENAMED.get(name, name): value for name, value in row.items()} for row in rows]
        return dataclasses.replace(found, facts=found.facts["fit"]) if found else None

    def save(self, step: int, arrays: Mapping, best: Any, facts: Mapping) -> None:
        """Writes a checkpoint."""
        self.checkpoints.save(
            step,
            arrays,
            best,
            {
                "fit": dict(facts),
                "identity": self.identity,
                "restart": self.restart,
                "records": self.run.recorded(self.phase),
                "history": self.history,
                "seconds": self.seconds,
            },
        )
