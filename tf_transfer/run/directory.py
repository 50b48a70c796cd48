"""The run directory: the API between the phases, and the only place where a run is written."""

import contextlib
import csv
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tf_transfer.errors import UserError, one_line
from tf_transfer.phases.catalogue import TRAINED
from tf_transfer.run import atomic, records

CONFIG, RECORDS, DONE, HISTORY = "config.json", "records.jsonl", "done.json", "history.csv"
VALIDATED = "validation.npz"
# The folders of a run, each replaced and removed as a whole.
PARTS = (*TRAINED, "evaluate", "saved_model", "artefacts", "samples", "data", "tensorboard", "checkpoints", "assess")
# Folder that takes them when the run is started over.
REPLACED = "replaced"
# File in that folder while they are being moved: the configuration of the new run.
_MOVING = "moving.json"


class RunDir:
    """One run's folder.

        config.json        the options of the run
        records.jsonl      everything that was measured, one JSON object a line
        PHASE/             weights, history.csv, done.json and validation.npz of a phase that has ended
        tensorboard/PHASE  event files, where tensorboard is installed
        evaluate/          predictions and metrics        samples/    some test examples
        saved_model/1      the export                     report.html
        artefacts/TARGET   the other exported formats
        assess/            trainings and result of an assessment
        replaced/          the folders of the run before it was started over with other options

    Every file is written atomically, see `atomic`.

    Args:
        path: the folder; made by the first write.
        writes: False for a worker that is not the chief: it reads, and its writes are dropped.
    """

    def __init__(self, path: str | Path, writes: bool = True):
        self.path, self.writes = Path(path).expanduser(), writes
        self._proposed: tuple[Mapping, bool] | None = None
        # os.path: Path.exists raises where a parent folder is not readable or a name is too long.
        if os.path.exists(self.path) and not os.path.isdir(self.path):
            raise UserError(f"--run_dir={one_line(path)!r} is a file; expected a folder.")

    def config(self) -> dict | None:
        """Returns the recorded configuration, or None in a new run.

        Raises:
            UserError: the folder is not a run's: it has no configuration, but folders that a run would replace.
        """
        recorded = self.read_json(CONFIG)
        if recorded is None:
            if strange := [name for name in PARTS if os.path.exists(self.path / name)]:
                raise UserError(
                    f"--run_dir={one_line(self.path)!r} is not the folder of a run, but holds {', '.join(strange)}, "
                    "which a run would replace; give a new folder."
                )
        elif not isinstance(recorded, dict) or not all(isinstance(stage, dict) for stage in recorded.values()):
            raise UserError(f"{one_line(self.path / CONFIG)} is not the configuration of a run; use another --run_dir.")
        return recorded

    def read_json(self, name: str) -> Any:
        """Returns the content of a JSON file of the run, or None where there is none.

        Raises:
            UserError: the file is no JSON.
        """
        path = self.path / name
        if not os.path.isfile(path):
            return None
        try:
            return json.loads(path.read_text("utf-8"))
        except (ValueError, OSError) as e:
            raise UserError(f"{one_line(path)} is damaged ({one_line(e)}); use another --run_dir or mend it.") from e

    def write_json(self, name: str, value: Any) -> Path:
        """Writes a JSON file of the run."""
        return self.write_text(name, records.to_json(value, indent=1) + "\n")

    def write_text(self, name: str, text: str) -> Path:
        """Writes a text file of the run; lone surrogates of undecodable file names are escaped."""
        return self.write_bytes(name, text.encode("utf-8", "backslashreplace"))

    def write_bytes(self, name: str, content: bytes) -> Path:
        """Writes a file of the run."""
        if not self.writes:
            return self.path / name
        with self._writing(name) as target:
            atomic.write_file(target, content)
        return target

    @contextlib.contextmanager
    def write_folder(self, name: str) -> Iterator[Path]:
        """Yields a new empty folder to fill; at the end it takes the place of `name`, on an error it is removed."""
        if not self.writes:
            with tempfile.TemporaryDirectory() as nowhere:
                yield Path(nowhere)
            return
        with self._writing(name) as target, atomic.new_folder(target) as new:
            yield new

    def sweep(self) -> None:
        """Completes or removes what a crash left half written, in the folder of a run; the caller holds the lock."""
        if not self.writes or not os.path.isfile(self.path / CONFIG):
            return
        with self._telling():
            for folder in (self.path, *(self.path / name for name in PARTS), *self.path.glob("checkpoints/[!.]*")):
                atomic.sweep(folder)
            self._set_aside()

    def record(self, kind: str, **values: Any) -> dict:
        """Appends one record and returns it."""
        record = records.stamped(kind, values)
        if self.writes:
            with self._writing(RECORDS) as path:
                records.append(path, record)
        return record

    def recorded(self, phase: str) -> int:
        """Returns how many records the current attempt at a phase has made, for `rewind`."""
        return len(records.attempt(self.records(), phase))

    def rewind(self, phase: str, count: int = 0) -> None:
        """Removes the records of an unfinished attempt at a phase, see `records.rewind`."""
        if self.writes:
            with self._telling():
                records.rewind(self.path / RECORDS, phase, count)

    def records(self, kind: str | None = None) -> list[dict]:
        """Returns the records in order, of one kind or all; a line cut off by a crash is skipped."""
        return [r for r in records.read(self.path / RECORDS) if kind is None or r.get("kind") == kind]

    def done(self, phase: str) -> dict | None:
        """Returns the facts of a phase that has ended (`done.json`), or None where it has not."""
        return self.read_json(f"{phase}/{DONE}")

    def evaluated_on(self) -> str | None:
        """Returns the digest of the test examples of the last evaluation; None where it kept none."""
        done = self.done("evaluate") or {}
        # Older runs call it pictures.
        return done.get("fingerprint") or done.get("pictures")

    def validated(self, phase: str) -> dict[str, np.ndarray] | None:
        """Returns the results of a phase's model on each validation example, of `finish`; None where it has none."""
        path = self.path / phase / VALIDATED
        if not os.path.isfile(path):
            return None
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return dict(arrays)
        except (ValueError, OSError, zipfile.BadZipFile) as e:
            raise UserError(f"{one_line(path)} is damaged ({one_line(e)}); train {phase} again with --restart.") from e

    def finish(
        self,
        phase: str,
        classifier: Any,
        facts: Mapping[str, Any],
        history: Sequence[dict] = (),
        validated: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Writes a phase's trained model and its epochs, and marks the phase as done, in one atomic move.

        Args:
            phase: its name.
            classifier: its model.
            facts: of the end of the phase, `done.json`.
            history: a record an epoch.
            validated: results of each validation example, for `validated`; none without validation.
        """
        with self.write_folder(phase) as folder:
            classifier.save(folder)
            if validated:
                np.savez(folder / VALIDATED, **validated)
            with (folder / HISTORY).open("w", newline="") as f:
                # A run that another version began may have other columns in its first rows.
                columns = list(dict.fromkeys(name for row in history for name in row))
                table = csv.DictWriter(f, columns, restval="")
                table.writeheader()
                table.writerows(history)
            (folder / DONE).write_bytes(records.encoded(facts, indent=1))

    def forget(self, name: str) -> bool:
        """Removes a file or a folder of the run; returns whether it existed."""
        if not self.writes:
            return False
        with self._telling():
            return atomic.remove(self.path / name)

    def propose(self, config: Mapping, start_over: bool = False) -> None:
        """Sets the configuration that this command's first write shall record.

        Some options prove wrong only when the data is opened. Such a command writes nothing, so that its options do not
        stay for the next command, and no earlier run is set aside for one that does not begin.

        Args:
            config: the configuration.
            start_over: set aside all phases' folders first, see `start_over`.

        Raises:
            UserError: the folder cannot be written. Checked now, not after hours of training.
        """
        if not self.writes:
            return
        there = os.path.exists(self.path)
        with self._writing(CONFIG) as target:
            tempfile.TemporaryFile(dir=target.parent).close()
        if not there:
            self.path.rmdir()
        self._proposed = config, start_over

    def start_over(self, config: Mapping) -> None:
        """Sets aside all phases' folders; the records stay, and a new one says that those before it are void.

        The folders and config.json move to `replaced/`, in place of what an earlier start over put there: a mistyped
        option of the new run must not cost the old one.

        Args:
            config: the new configuration.
        """
        with self.write_folder(REPLACED) as folder:
            if os.path.isfile(self.path / CONFIG):
                shutil.copy2(self.path / CONFIG, folder / CONFIG)
            (folder / _MOVING).write_bytes(records.encoded(config, indent=1))
        self._set_aside()

    def _set_aside(self) -> None:
        """Moves all phases' folders to `replaced/`; after a crash in between, moves the rest."""
        config = self.read_json(f"{REPLACED}/{_MOVING}")
        if config is None:
            return
        for name in PARTS:
            if os.path.exists(self.path / name):
                os.replace(self.path / name, self.path / REPLACED / name)
        if [r["kind"] for r in self.records()][-1:] != ["start_over"]:
            self.record("start_over")
        self.write_json(CONFIG, config)
        os.unlink(self.path / REPLACED / _MOVING)

    @contextlib.contextmanager
    def _writing(self, name: str) -> Iterator[Path]:
        """Yields the path of a file of the run, whose folder it makes."""
        if self._proposed:
            (config, start_over), self._proposed = self._proposed, None
            with self._telling():
                self.start_over(config) if start_over else self.write_json(CONFIG, config)
        target = self.path / name
        with self._telling():
            target.parent.mkdir(parents=True, exist_ok=True)
            yield target

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        """Inside, errors of the file system become a `UserError`."""
        try:
            yield
        except OSError as e:
            # Where a file stands in the place of a folder, name that file; for other failures name the run directory.
            where = f" ({one_line(e.filename)})" if isinstance(e, (FileExistsError, NotADirectoryError)) else ""
            told = f"--run_dir={one_line(self.path)!r} cannot be written: {e.strerror or one_line(e)}{where}."
            raise UserError(told) from e


def finished_runs(parent: Path, phase: str) -> list[Path]:
    """Returns the folders in `parent` in which `phase` has ended, for messages."""
    return sorted(p.parent.parent for p in parent.glob(f"*/{phase}/{DONE}"))
