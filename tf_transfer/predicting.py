"""The predict phase: files in, labels out, with an exported model alone."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from tf_transfer import serving
from tf_transfer.console import Console
from tf_transfer.errors import UserError, one_line

_SHOWN = 20


def predict(saved_model: str, images: str, output: str, console: Console) -> int:
    """Predicts files with an exported model, prints the first and writes all.

    Args:
        saved_model: see `serving.load`.
        images: a file, a folder or a glob.
        output: a .csv or .jsonl file to write.
        console: where to speak.

    Returns:
        How many files could not be read.

    Raises:
        UserError: no model, no pictures, or an output that cannot be written.
    """
    form = {".csv": "csv", ".jsonl": "jsonl"}.get(Path(output).suffix.lower())
    if form is None:
        raise UserError(f"--predictions={one_line(output)!r}: expected a name that ends in .csv or .jsonl.")
    files = serving.find_images(images)
    model = serving.load(saved_model)
    # Opened first: hours of predictions must not end at a file that cannot be written.
    with _replacing(Path(output)) as stream:
        predictions = list(model.predict_files(files, progress=console.bar("predict")))
        serving.write_predictions(predictions, stream, form)
    for p in predictions[:_SHOWN]:
        answer = f"not read: {p.error}" if p.error else f"{one_line(p.label, 60)}  {p.probability:.4f}"
        console.line(f"{one_line(p.file, 100)}  {answer}")
    if len(predictions) > _SHOWN:
        console.line(f"... and {len(predictions) - _SHOWN:,} more")
    bad = sum(bool(p.error) for p in predictions)
    console.line(f"predict  {len(predictions) - bad:,} predicted, {bad:,} not read; all in {one_line(output)}")
    return bad


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[TextIO]:
    """Gives a stream whose content takes the place of `path` at the end, and is dropped on an error."""
    new = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with new.open("w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
            yield stream
        os.replace(new, path)
    except OSError as e:
        raise UserError(f"--predictions={one_line(path)!r} cannot be written: {e.strerror}.") from e
    finally:
        with contextlib.suppress(OSError):
            new.unlink()
