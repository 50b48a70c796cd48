"""Silences libraries whose messages tell a user nothing: standard error, warnings, logs."""

import contextlib
import logging
import os
import sys
import tempfile
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
