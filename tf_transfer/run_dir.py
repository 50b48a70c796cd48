"""The run directory: the API between the phases, and the only place where a run is written."""

import contextlib
import csv
import datetime
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tf_transfer.errors import UserError, one_line

CONFIG, RECORDS, DONE, HISTORY = "config.json", "records.jsonl", "done.json", "history.csv"
# The folders of a run: they are replaced and removed whole.
PARTS = ("source", "head", "full", "scratch", "evaluate", "saved_model", "samples", "data", "tensorboard")
# Where they go when a run is started over.
REPLACED = "replaced"


class RunDir:
    """One run's folder.

        config.json        the options of the run
        records.jsonl      everything that was measured, one JSON object a line
        PHASE/             weights, history.csv and done.json of a phase that has ended
        tensorboard/PHASE  event files, where tensorboard is installed
        evaluate/          predictions and metrics        samples/    some test pictures
        saved_model/1      the export                     report.html
        replaced/          what the run held before it was started over with other options

    Every file is written beside its place and renamed, so that a reader finds it whole or not at all.

    Args:
        path: the folder; made by the first write.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path).expanduser()
        self._proposed: tuple[Mapping, bool] | None = None
        # os.path, as Path.exists raises where a folder above must not be read or a name is too long.
        if os.path.exists(self.path) and not os.path.isdir(self.path):
            raise UserError(f"--run_dir={one_line(path)!r} is a file; expected a folder.")

    def config(self) -> dict | None:
        """Returns the recorded configuration, or None in a new run.

        Raises:
            UserError: the folder is somebody else's: it has no configuration, but folders that a run would replace.
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
        return self.write_text(name, json.dumps(value, indent=1, ensure_ascii=False, default=_plain) + "\n")

    def write_text(self, name: str, text: str) -> Path:
        """Writes a text file of the run; lone surrogates of undecodable file names are escaped."""
        return self.write_bytes(name, text.encode("utf-8", "backslashreplace"))

    def write_bytes(self, name: str, content: bytes) -> Path:
        """Writes a file of the run."""
        with self._writing(name) as target:
            with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".new-", delete=False) as f:
                f.write(content)
                f.flush()
                os.fsync(f.fileno())
            os.chmod(f.name, 0o644)
            os.replace(f.name, target)
        return target

    @contextlib.contextmanager
    def write_folder(self, name: str) -> Iterator[Path]:
        """Gives a new empty folder to fill; at the end it takes the place of `name`, on an error it goes."""
        with self._writing(name) as target:
            new = Path(tempfile.mkdtemp(dir=target.parent, prefix=".new-"))
            os.chmod(new, 0o755)
        try:
            yield new
            if target.exists():
                shutil.rmtree(target)
            os.replace(new, target)
        finally:
            shutil.rmtree(new, ignore_errors=True)

    def record(self, kind: str, **values: Any) -> dict:
        """Appends one record and returns it."""
        now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        record = {"kind": kind, "time": now, **values}
        line = json.dumps(record, ensure_ascii=False, default=_plain).encode("utf-8", "backslashreplace") + b"\n"
        with self._writing(RECORDS) as path, path.open("ab+") as f:
            if f.seek(0, os.SEEK_END):
                f.seek(-1, os.SEEK_END)
                # What a crash cut off stays a line of its own.
                line = line if f.read() == b"\n" else b"\n" + line
            f.write(line)
        return record

    def records(self, kind: str | None = None) -> list[dict]:
        """Returns the records in order, of one kind or all; a line cut off by a crash is passed over."""
        path = self.path / RECORDS
        if not os.path.isfile(path):
            return []
        found = []
        for line in path.read_text("utf-8", "replace").split("\n"):
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
        return [r for r in found if kind is None or r.get("kind") == kind]

    def done(self, phase: str) -> dict | None:
        """Returns what a phase left when it ended, or None when it did not."""
        return self.read_json(f"{phase}/{DONE}")

    def finish(self, phase: str, classifier: Any, facts: Mapping[str, Any], history: Sequence[dict] = ()) -> None:
        """Keeps a phase's trained model and its epochs, and marks the phase as done, in one move."""
        with self.write_folder(phase) as folder:
            classifier.save(folder)
            with (folder / HISTORY).open("w", newline="") as f:
                table = csv.DictWriter(f, list(history[0]) if history else [], restval="")
                table.writeheader()
                table.writerows(history)
            text = json.dumps(facts, indent=1, ensure_ascii=False, default=_plain)
            (folder / DONE).write_bytes(text.encode("utf-8", "backslashreplace"))

    def forget(self, name: str) -> bool:
        """Removes what a phase left; returns whether there was something."""
        there = os.path.exists(self.path / name)
        shutil.rmtree(self.path / name, ignore_errors=True)
        return there

    def propose(self, config: Mapping, start_over: bool = False) -> None:
        """Says what the first write of this command shall record as the configuration.

        A command that finds its options wrong, which it may only when the data is open, writes nothing: they do not
        stay for the next one, and nothing is set aside for a run that does not begin.

        Args:
            config: the configuration.
            start_over: set aside what every phase left, see `start_over`.

        Raises:
            UserError: the folder cannot be written, which is better known now than after the work.
        """
        there = os.path.exists(self.path)
        with self._writing(CONFIG) as target:
            tempfile.TemporaryFile(dir=target.parent).close()
        if not there:
            self.path.rmdir()
        self._proposed = config, start_over

    def start_over(self) -> None:
        """Sets aside what every phase left; the records stay, with one that says that those before it hold no longer.

        It goes to `replaced/`, with its config.json, in place of what an earlier start set aside: a mistyped option
        of the new run, found when its data is opened, must not cost the old one.
        """
        left = [name for name in PARTS if os.path.exists(self.path / name)]
        if left:
            with self.write_folder(REPLACED) as folder:
                # The copy first: it alone can fail, on a full disk, and then nothing has been moved.
                if os.path.isfile(self.path / CONFIG):
                    shutil.copy2(self.path / CONFIG, folder / CONFIG)
                for name in left:
                    os.replace(self.path / name, folder / name)
        self.record("start_over")

    @contextlib.contextmanager
    def _writing(self, name: str) -> Iterator[Path]:
        """Gives the path of a file of the run, in a folder that is there."""
        if self._proposed:
            (config, start_over), self._proposed = self._proposed, None
            if start_over:
                self.start_over()
            self.write_json(CONFIG, config)
        target = self.path / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            yield target
        except OSError as e:
            raise UserError(f"--run_dir={one_line(self.path)!r} cannot be written: {e.strerror}.") from e


def finished_runs(parent: Path, phase: str) -> list[Path]:
    """Returns the folders in `parent` in which `phase` has ended, for messages."""
    return sorted(p.parent.parent for p in parent.glob(f"*/{phase}/{DONE}"))


def _plain(value: Any) -> Any:
    """JSON for NumPy numbers and arrays, and for paths."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return str(value)
