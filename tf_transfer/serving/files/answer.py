"""Predicts files in batches, keeps the answers of each batch, and writes the output when all files are answered."""

import collections
import contextlib
import itertools
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tf_transfer.console import Console
from tf_transfer.errors import UserError, one_line
from tf_transfer.modalities.words import Words, of_card
from tf_transfer.run import atomic
from tf_transfer.serving import Prediction, Predictor, card_of, locate
from tf_transfer.serving.files import formats
from tf_transfer.serving.files.finding import Arrivals, find_files, passed_over, state
from tf_transfer.serving.files.journal import Journal
from tf_transfer.serving.files.summary import Summary

# Seconds between two listings of a watched folder.
PAUSE = 1.0


@dataclass(frozen=True)
class Asked:
    """The request of a predict command.

    Attributes:
        inputs: files, a folder, a glob, a .csv list, see `finding.find_files`; with `watch`, a folder.
        output: a .csv, .jsonl or .parquet file to write.
        top: how many classes to name; None for the first, and in .jsonl for all.
        watch: also predict files that arrive or change, until none has for this many seconds; None: do not wait.
        restart: drop the answers of a command that did not finish.
    """

    inputs: str
    output: Path
    top: int | None = None
    watch: float | None = None
    restart: bool = False

    @classmethod
    def parse(
        cls, inputs: str | None, output: str, top: str | None, watch: str | None, restart: bool = False
    ) -> "Asked":
        """Parses the flags.

        Raises:
            UserError: a value is not valid.
        """
        if not inputs:
            raise UserError("--phase=predict: say which files with --inputs=FILE, FOLDER, GLOB or LIST.csv.")
        if top is not None and not (top.isdecimal() and int(top) > 0):
            raise UserError(f"--top={one_line(top)}: expected a whole number from 1 up.")
        made = cls(
            inputs, Path(os.path.expanduser(output)), None if top is None else int(top), _seconds(watch), restart
        )
        if any(_same(made.output, part.strip()) for part in (inputs, *inputs.split(","))):
            raise UserError(f"--predictions={one_line(output)!r} is what --inputs names: it would be written over.")
        try:
            formats.check(made.output)
        except OSError as e:
            raise UserError(f"--predictions={one_line(output)!r} cannot be written: {e.strerror}.") from e
        return made


def _same(output: Path, text: str) -> bool:
    try:
        return os.path.samefile(output, os.path.expanduser(text))
    except (OSError, ValueError):
        return False


def _seconds(watch: str | None) -> float | None:
    # The parser gives `true` for `--watch` without a value, and `false` for `--nowatch`.
    known = {None: None, "false": None, "true": math.inf}
    if watch in known:
        return known[watch]
    try:
        seconds = float(watch)
    except ValueError:
        seconds = math.nan
    if not seconds > 0:
        raise UserError(f"--watch={one_line(watch)}: expected seconds above 0, or no value to watch until stopped.")
    return seconds


def predict(saved_model: str, asked: Asked, console: Console) -> int:
    """Predicts files with an exported model, prints the first answers and the bad files, and writes the output.

    After a kill, the same call resumes, and predicts files again that have changed meanwhile. The output is written
    when it is complete; for a watched folder, repeatedly.

    Args:
        saved_model: see `serving.load`.
        asked: what to predict.
        console: prints progress and a summary.

    Returns:
        The number of files that could not be read.

    Raises:
        UserError: there is no model, there are no files, or the output cannot be written.
    """
    words = of_card(card_of(locate(saved_model)))
    files = find_files(asked.inputs, words) if asked.watch is None else []
    if others := passed_over(asked.inputs, words):
        kinds = "; ".join(f"{count:,} {one_line(why)}" for why, count in sorted(others.items()))
        total = sum(others.values())
        console.note(f"passed over in {one_line(asked.inputs)}: {total:,} files that hold no {words.one} ({kinds}).")
    if asked.watch is None and asked.output.exists():
        console.note(f"{one_line(asked.output)} is there already, and replaced when all are answered.")
    with Predictor(saved_model, top=asked.top) as predictor:
        if asked.top and asked.top > (count := len(predictor.class_names)):
            console.note(f"--top={asked.top}: the model knows {count} classes; all are named.")
        top = asked.top and min(asked.top, count)
        write = formats.FORMATS[asked.output.suffix.lower()]
        full = top is not None or write is formats.write_jsonl
        with Journal(asked.output, _work(asked, top, predictor), full, words.many, asked.restart) as journal:

            def save() -> Summary:
                summary = Summary()
                _write(asked.output, lambda stream: write(summary.of(journal), stream, top))
                return summary

            rest = _unanswered(files, journal, words.many, console) if asked.watch is None else []
            _tell_start(asked, journal, len(files), console)
            ended = True
            if asked.watch is None:
                _all(rest, predictor, journal, console)
            else:
                ended = _watch(asked, words, predictor, journal, console, save)
            summary = save()
            # After a signal, the same command resumes here.
            journal.close(finished=ended)
    summary.tell(asked.output, console)
    if not ended:
        console.line("predict  stopped watching; the same command goes on with what comes next")
    return summary.bad


def _work(asked: Asked, top: int | None, predictor: Predictor) -> dict:
    """Returns what determines the answers; makes relative paths absolute."""
    content = [predictor.path / "saved_model.pb", *sorted(predictor.path.glob("variables/*"))]
    model = [atomic.digest(file)[:32] for file in content]
    return {"--saved_model": model, "--inputs": asked.inputs, "--top": top, "working folder": os.getcwd()}


def _tell_start(asked: Asked, journal: Journal, count: int, console: Console) -> None:
    if journal.count:
        of = f" of {count:,}" if asked.watch is None else ""
        console.line(f"predict  going on: {journal.count:,}{of} are answered already")


def _unanswered(files: list[str], journal: Journal, many: str, console: Console) -> list[str]:
    """Lists the files without an answer in the journal; drops answers of files that have changed or are gone."""
    wanted, stale = collections.Counter(files), set()
    for place, (file, then) in enumerate(journal.states()):
        if wanted[file] > 0 and state(file) == then:
            wanted[file] -= 1
        else:
            stale.add(place)
    journal.drop(stale)
    if stale:
        console.note(f"{len(stale):,} {many} have changed since they were answered, or are gone: dropped.")
    rest = []
    for file in files:
        if wanted[file] > 0:
            wanted[file] -= 1
            rest.append(file)
    return rest


def _all(files: list[str], predictor: Predictor, journal: Journal, console: Console) -> None:
    """Answers files, with a progress bar."""
    show, total = console.bar("predict"), journal.count + len(files)
    if files:
        show(journal.count, total)
    for _ in _answered(files, predictor, journal):
        show(journal.count, total)


def _answered(files: list[str], predictor: Predictor, journal: Journal) -> Iterator[list[Prediction]]:
    """Answers files, batch by batch, into the journal."""
    states: collections.deque = collections.deque()

    def noted() -> Iterator[str]:
        for file in files:
            # Taken before the file is read: if it changes from here on, it is another example.
            states.append(state(file))
            yield file

    predictions = predictor.stream(noted())
    while batch := list(itertools.islice(predictions, predictor.batch_size)):
        journal.append(batch, [states.popleft() for _ in batch])
        yield batch


def _watch(
    asked: Asked, words: Words, predictor: Predictor, journal: Journal, console: Console, save: Callable
) -> bool:
    """Answers files that arrive or change in a folder; returns whether the time limit, and not a signal, ended it."""
    arrivals = Arrivals(asked.inputs, words, dict(journal.states()), console.note)
    until = "" if math.isinf(asked.watch) else f", until nothing has come for {asked.watch:g} s"
    console.line(
        f"predict  watching {one_line(asked.inputs)}{until}; Ctrl-C ends it, with all that is answered written"
    )
    last, stale, due = time.monotonic(), False, 0.0
    try:
        while arrivals.waiting or time.monotonic() - last < asked.watch:
            if files := arrivals.look():
                for batch in _answered(files, predictor, journal):
                    latest = batch[-1]
                told = one_line(f"not read: {latest.error}" if latest.error else latest.label, 60)
                stale = True
                console.line(f"predict  {arrivals.told:,} answered, the last {one_line(latest.file, 100)}  {told}")
            if files or arrivals.waiting:
                last = time.monotonic()
            if stale and time.monotonic() >= due:
                stale, due = False, _saved(journal, save)
            time.sleep(PAUSE)
    except KeyboardInterrupt:
        return False
    finally:
        journal.keep_last()
    return True


def _saved(journal: Journal, save: Callable) -> float:
    """Writes the answers so far; returns the earliest time of the next write, so that writing takes a tenth of it."""
    begun = time.monotonic()
    journal.keep_last()
    save()
    ended = time.monotonic()
    return ended + 9 * (ended - begun)


def _write(output: Path, write: Callable[[BinaryIO], None]) -> None:
    """Writes a file that replaces `output` at the end.

    Its temporary name is always the same, so that the next command overwrites what a kill left.
    """
    new = output.with_name(f".{output.name}.new")
    try:
        with new.open("wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(new, output)
        # The output must be on the disk before the journal, which has the same answers, is removed.
        atomic.sync_entries(output.parent)
    except OSError as e:
        raise UserError(f"--predictions={one_line(output)!r} cannot be written: {e.strerror or one_line(e)}.") from e
    finally:
        with contextlib.suppress(OSError):
            new.unlink()
