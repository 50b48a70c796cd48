"""Silences libraries whose messages tell a user nothing: standard error, warnings, logs."""

import contextlib
import logging
import os
import re
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quiet(shown_on: type[BaseException] | tuple[type[BaseException], ...] = ()) -> Iterator[None]:
    """Inside, nothing reaches standard error. Redirects file descriptor 2 itself, to which C++ writes past Python.

    Args:
        shown_on: on these errors, what was written before them is printed after all.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as written:
        os.dup2(written.fileno(), 2)
        try:
            yield
        except shown_on:
            written.seek(0)
            os.write(kept, written.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


@contextlib.contextmanager
def without_lines(pattern: str) -> Iterator[None]:
    """Inside, lines on standard error that match are dropped, also those of C libraries; others pass at once.

    Args:
        pattern: a regular expression for bytes of a line, found anywhere in it.
    """
    dropped = re.compile(pattern.encode())
    sys.stderr.flush()
    kept, (reading, writing) = os.dup(2), os.pipe()

    def forward() -> None:
        with open(reading, "rb") as lines:
            for line in lines:
                if not dropped.search(line):
                    os.write(kept, line)

    os.dup2(writing, 2)
    os.close(writing)
    thread = threading.Thread(target=forward, daemon=True)
    thread.start()
    try:
        yield
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
        os.dup2(kept, 2)
        # A child that lives on holds the pipe open.
        thread.join(timeout=1)


@contextlib.contextmanager
def without_packages(*names: str) -> Iterator[None]:
    """Inside, packages of these names are as if not installed, unless they were imported before.

    For what a library imports wherever it is installed, and this program does not use.
    """
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


@contextlib.contextmanager
def without_warnings(log: str) -> Iterator[None]:
    """Inside, Python's warnings are dropped, and all messages of a log but its errors.

    Args:
        log: name of the logger, such as `absl`.
    """
    logger = logging.getLogger(log)
    level = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)
